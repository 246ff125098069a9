import { isOnnxOp } from "../../ir/node.js";
import type { RuleGroup } from "../rule.js";

export const EMBEDDING_RULES: RuleGroup = {
	title: "Embedding tables",
	rules: [
		{
			id: "htp/gather-table",
			about: "A table that Gather reads is float or has one scale.",
			consequence: "refused",
			measured:
				"DequantizeLinear refused with one scale a channel, with block scales and with LPBQ; UINT16, INT8, UINT8 with one scale are right",
			remedy: "store the table as UINT16 with one scale, or as float",
			appliedBy: "legalize-operators",
			broken({ node, inputs }) {
				const table = inputs[0]?.quantization;
				if (!isOnnxOp(node, "Gather") || table?.codes === undefined || table.granularity === "tensor") return undefined;
				return `table '${table.node.inputs[0]!.name}' has one scale a ${table.granularity}`;
			},
		},
	],
};
