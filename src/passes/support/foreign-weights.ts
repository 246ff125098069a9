import type { Model } from "../../ir/model.js";
import type { Node } from "../../ir/node.js";
import { dataTypeName } from "../../ir/types.js";
import { allNodes, nodeLabel } from "../../ir/walk.js";
import { constantOf } from "../../weights/constant.js";
import type { WeightEntry } from "../infra/report.js";

/** Operators that take a quantized weight themselves, without a DequantizeLinear, and the input that is it. */
const OPERATORS: Readonly<Record<string, Readonly<Record<string, number>>>> = {
	"": { QLinearMatMul: 3, QLinearConv: 3, MatMulInteger: 1, ConvInteger: 1 },
	"com.microsoft": {
		DynamicQuantizeMatMul: 1,
		MatMulBnb4: 1,
		MatMulIntegerToFloat: 1,
		QAttention: 1,
		QGemm: 3,
		QLinearConv: 3,
		QMoE: 2,
	},
};

/** The constant weights of such operators, as entries that say why they stay. */
export function foreignWeights(model: Model): WeightEntry[] {
	const entries: WeightEntry[] = [];
	for (const { node, site } of allNodes(model)) {
		const weight = constantOf(node.inputs[weightInput(node) ?? -1]);
		if (weight === undefined) continue;
		const { name } = weight.value;
		entries.push({
			weight: name,
			node: nodeLabel(node),
			op: node.op.type,
			graph: site.path,
			shape: weight.tensor.shape,
			dtype: dataTypeName(weight.tensor.dtype),
			status: "kept",
			code: "weight/operator",
			message: `weight '${name}' belongs to ${node.op.type}, expected a DequantizeLinear in front of MatMul, Gemm or Conv`,
		});
	}
	return entries;
}

function weightInput({ op }: Node): number | undefined {
	return OPERATORS[op.domain === "ai.onnx" ? "" : op.domain]?.[op.type];
}
