import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement } from "../../ir/types.js";
import { nodeLabel } from "../../ir/walk.js";
import { resultCodes } from "../float-sides.js";
import { isNearestResize } from "../nearest-resize.js";
import { pooledCodes } from "../pooled-codes.js";
import type { RuleGroup } from "../rule.js";
import { isComputed, LINEAR } from "./producers.js";

/** Operators that do not compile behind a ReduceL2. */
const FAILING: readonly string[] = [
	...LINEAR,
	"AveragePool",
	"MaxPool",
	"GlobalAveragePool",
	"GlobalMaxPool",
	"InstanceNormalization",
	"BatchNormalization",
	"Pad",
	"SpaceToDepth",
	"CumSum",
	"GatherElements",
	"Where",
];

/** Those that do not behind one of 16 bits. */
const FAILING_WIDE: readonly string[] = ["Div", "Reciprocal", "Max", "Min", "Floor", "LeakyRelu"];

/** Operators behind which nothing fails where they also read what does not come from the ReduceL2. */
const JOINING: readonly string[] = ["Add", "Sub", "Mul"];

/** The first operator behind `norm` that does not compile there. */
function failingBehind(norm: Node, isWide: boolean): Node | undefined {
	const reached = new Set(norm.outputs);
	const seen = new Set<Node>();
	const open = [...norm.outputs];
	for (let value = open.pop(); value !== undefined; value = open.pop()) {
		for (const { node } of value.uses) {
			if (seen.has(node)) continue;
			const others = node.inputs.filter((input) => isComputed(input) && !reached.has(input!));
			if (fails(node, others.length > 0, isWide)) return node;
			const isJoined = isOnnxOp(node, ...JOINING) && others.length > 0;
			if (isJoined || isOnnxOp(node, "LayerNormalization")) continue;
			seen.add(node);
			for (const output of node.outputs) reached.add(output);
			open.push(...node.outputs);
		}
	}
	return undefined;
}

function fails(node: Node, isJoining: boolean, isWide: boolean): boolean {
	if (isOnnxOp(node, "Concat")) return isJoining;
	if (isOnnxOp(node, "Resize")) return isNearestResize(node);
	return isOnnxOp(node, ...FAILING) || (isWide && isOnnxOp(node, ...FAILING_WIDE));
}

export const VECTOR_LENGTH_RULES: RuleGroup = {
	title: "Lengths of vectors",
	rules: [
		{
			id: "htp/norm-layout",
			about:
				"Between a ReduceL2 whose result is quantized, or goes into a MaxPool whose result is, and a linear operator, pool, Resize to the nearest, InstanceNormalization, BatchNormalization, Pad, SpaceToDepth, CumSum, GatherElements, Where, or Concat with something else, of 16 bits also a Div, Reciprocal, Max, Min, Floor or LeakyRelu, there is a LayerNormalization, or an Add, Sub or Mul with what does not come from it.",
			consequence: "refused",
			until: "v68",
			measured:
				"the graph fails to compile ('memory allocation related error') directly behind it and behind views, Clip, Expand, Sqrt, Softmax, reductions and functions of single elements, over any axis, from codes and from floats, with 16 and 8 bits: vectors divided by their lengths, as in the attention of EdgeNeXt; with zeros subtracted some compile, 65 to 87 dB; 82 dB with LpNormalization in place of Div, 63 to 90 with the sum of what that makes times the values, 36 to 62 with 8 bits",
			remedy:
				"write what is divided by its own length as LpNormalization, other lengths as the sum of LpNormalization times the values, those over several axes as the root of the sum of squares",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node } = operator;
				if (!isOnnxOp(node, "ReduceL2")) return undefined;
				const pool = pooledCodes(node);
				if (pool !== undefined) return `the codes of ${pool.op.type} '${nodeLabel(pool)}' are made in front of it`;
				const dtype = resultCodes(operator)?.dtype;
				const failing = dtype === undefined ? undefined : failingBehind(node, bitsPerElement(dtype) === 16);
				return failing && `${failing.op.type} '${nodeLabel(failing)}' is behind it`;
			},
		},
	],
};
