import { isOnnxOp } from "../../ir/node.js";
import type { RuleGroup } from "../rule.js";

export const ANOMALY_RULES: RuleGroup = {
	title: "Faults of this version of the compiler",
	rules: [
		{
			id: "htp/layer-norm-16-rows",
			about:
				"A MatMul or Gemm behind a LayerNormalization has not exactly 16 rows, unless its weight is LPBQ in the double-dq form.",
			consequence: "wrong",
			measured:
				"-1 dB with weights of one scale a channel and in the exact-BQ form; right for 1 to 15, 17 and more rows",
			remedy: "compile for another number of rows, or make the weight LPBQ",
			appliedBy: "bq-to-lpbq",
			broken({ node, weight, inputs }, context) {
				if (weight === undefined || !isOnnxOp(node, "MatMul", "Gemm")) return undefined;
				const isAffected =
					weight.scheme === "per-channel" || (weight.scheme === "block" && context.blockQuantOptimization);
				const shape = inputs[0]?.shape;
				const rows = shape
					?.slice(0, -1)
					.reduce<number>((product, dim) => product * (typeof dim === "number" ? dim : 0), 1);
				if (!isAffected || rows !== 16) return undefined;
				let producer = inputs[0]!.quantization?.node.inputs[0]?.producer?.inputs[0]?.producer;
				while (producer !== undefined && isOnnxOp(producer, "Reshape", "QuantizeLinear", "DequantizeLinear")) {
					producer = producer.inputs[0]?.producer;
				}
				if (producer === undefined || !isOnnxOp(producer, "LayerNormalization")) return undefined;
				return `its 16 rows come out of LayerNormalization '${producer.name}'`;
			},
		},
	],
};
