import { isOnnxOp } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import { numbersOf } from "../../weights/numbers.js";
import { fixedShape } from "../fixed-shape.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";
import { formOf } from "./compiled-form.js";

function rankOfActivation({ node, weight, inputs }: OperatorFacts): number | undefined {
	if (!isOnnxOp(node, "MatMul") || weight === undefined) return undefined;
	return inputs[weight.site.input === 0 ? 1 : 0]?.shape?.length;
}

/** Operators that were refused with rank 5. */
const RANK_FOUR: readonly string[] = [
	...[
		"ArgMax",
		"ArgMin",
		"Atan",
		"BatchNormalization",
		"Ceil",
		"Cos",
		"CumSum",
		"Elu",
		"Floor",
		"Gelu",
		"GlobalMaxPool",
		"HardSwish",
	],
	...["LayerNormalization", "Log", "LogSoftmax", "LpNormalization", "Max", "Min", "Mish", "Neg", "RMSNormalization"],
	...["ReduceL2", "ReduceLogSumExp", "Round", "Selu", "Sign", "SimplifiedLayerNormalization", "Sin", "Softplus"],
	...["Sqrt", "Tanh", "TopK"],
];

export const SHAPE_RULES: RuleGroup = {
	title: "Shapes and ranks",
	rules: [
		{
			id: "htp/static-shape",
			about: "All dimensions are fixed.",
			consequence: "refused",
			measured: "nodes with symbolic dimensions are left to the CPU",
			remedy: "fix the dimensions, as in `--dim batch=1`",
			appliedBy: "fix-shapes",
			broken({ node, inputs }) {
				const found: string[] = [];
				for (const input of new Set(inputs)) {
					if (input?.value.isGraphInput !== true || input.value.uses[0]?.node !== node) continue;
					for (const [index, dim] of input.shape?.entries() ?? []) {
						if (typeof dim !== "number")
							found.push(`dimension ${index} of input '${input.value.name}' is ${dim ?? "not known"}`);
					}
				}
				if (found.length > 0) return found.join(", ");
				return undefined;
			},
		},
		{
			id: "htp/output-shape",
			about: "Outputs of the graph have the shapes that they are stated to have.",
			consequence: "refused",
			measured:
				"the operator that makes the output is left to the CPU: Slice, Gather, Resize, ReduceSum, Reshape, on v73",
			remedy: "state the shape that follows from the inputs'",
			appliedBy: "legalize-operators",
			broken({ outputs }) {
				for (const { value, shape } of outputs) {
					const stated =
						value.isGraphOutput && value.type?.kind === "tensor" ? fixedShape(value.type.shape) : undefined;
					const actual = fixedShape(shape);
					if (stated === undefined || actual === undefined || `${stated}` === `${actual}`) continue;
					return `output '${value.name}' is [${actual.join(", ")}], and stated to be [${stated.join(", ")}]`;
				}
				return undefined;
			},
		},
		{
			id: "htp/rank",
			about: "Nothing has more than five dimensions.",
			consequence: "refused",
			measured:
				"rank 6 and 7 refused for Relu, Add, Reshape, Transpose, Exp and Gather, on floats and codes; of a Reshape, Transpose and Reshape that cut images into windows some are taken where the batch is 1",
			remedy:
				"permute fewer axes at a time, those that stay beside each other as one; leave out an axis of length 1; gather with a row of indices",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs }, { known }) {
				if (known.isFolded(node) || isOnnxOp(node, "Shape", "Size", "QuantizeLinear", "DequantizeLinear"))
					return undefined;
				const rank = Math.max(...[...inputs, ...outputs].map((operand) => operand?.shape?.length ?? 0));
				return rank <= 5 ? undefined : `${node.op.type} has rank ${rank}, expected 5 at most`;
			},
		},
		{
			id: "htp/lpbq-vector",
			about: "The activation of an LPBQ MatMul is no vector.",
			consequence: "crash",
			measured: "segmentation fault with rank 1",
			remedy: "put a Reshape to rank 2 in front and one behind",
			appliedBy: "legalize-activations",
			broken(operator) {
				if (operator.weight?.scheme !== "lpbq" || rankOfActivation(operator) !== 1) return undefined;
				return "the activation has rank 1, expected 2, 3 or 4";
			},
		},
		{
			id: "htp/matmul-rank",
			about: "The activation of a MatMul with a constant weight has rank 2, 3 or 4; with a float weight also 1.",
			consequence: "refused",
			measured: "rank 1 and 5 are refused; with LPBQ rank 5 fails when the graph is finalized",
			remedy: "put a Reshape in front and one behind",
			appliedBy: "legalize-operators",
			broken(operator) {
				const rank = rankOfActivation(operator);
				const scheme = operator.weight?.scheme;
				if (rank === undefined || (rank >= 2 && rank <= 4)) return undefined;
				if (rank === 1 && (scheme === "lpbq" || scheme === "float")) return undefined;
				return `the activation has rank ${rank}, expected 2, 3 or 4`;
			},
		},
		{
			id: "htp/operator-rank",
			about: `These have rank 4 at most: ${RANK_FOUR.join(", ")}; on floats HardSigmoid, too.`,
			consequence: "refused",
			measured:
				"refused with rank 5, between quantized values and on floats; right with 1 to 4; others such as Relu, Sigmoid, Softmax, Exp, Add, Mul and Transpose are right with rank 5 too",
			remedy: "put a Reshape in front and one behind",
			appliedBy: "legalize-operators",
			broken(operator) {
				const { node, inputs } = operator;
				const ranks = isOnnxOp(node, "Max", "Min") ? inputs : inputs.slice(0, 1);
				const rank = Math.max(...ranks.map((input) => input?.shape?.length ?? 0));
				if (rank <= 4) return undefined;
				if (!isOnnxOp(node, ...RANK_FOUR) && !(isOnnxOp(node, "HardSigmoid") && formOf(operator) === "float"))
					return undefined;
				return `the input has rank ${rank}, expected 4 at most`;
			},
		},
		{
			id: "htp/integer-rank",
			about: "Inputs and outputs of the graph that are INT64 have rank 4 at most.",
			consequence: "crash",
			measured:
				"the compiler's process ends (SIGSEGV) with an output of rank 5, behind a Cast or the indices of a TopK, and the graph fails to compile ('memory allocation related error') with an input of rank 5, on v68, v73, v79 and v81; right with rank 4, and as INT32",
			remedy: "make it INT32, or put a Reshape in front of the output or behind the input, outside of the model",
			broken({ node, inputs, outputs }) {
				const isDeep = (operand: OperandFacts | undefined) =>
					operand?.dtype === DataType.INT64 && operand.shape?.length === 5;
				const input = inputs.find((one) => one?.value.isGraphInput === true && one.value.uses[0]?.node === node);
				const found = isDeep(input) ? input : outputs.find((one) => one.value.isGraphOutput && isDeep(one));
				return found && `'${found.value.name}' is INT64 [${found.shape!.join(", ")}]`;
			},
		},
		{
			id: "htp/gather-rank",
			about: "The result of a Gather with indices of rank 2 or more has rank 4 at most.",
			consequence: "wrong",
			measured:
				"between codes -3 to 0 dB with rank 5 along any axis but the first, where the graph fails to compile ('memory allocation related error'), as it does with indices of rank 5; on floats it fails to run; on every architecture; 140 dB with a row of indices, 71 to 135 dB with rank 4",
			remedy: "gather with a row of indices, and put a Reshape behind",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs }, { known }) {
				const [indices, result] = [inputs[1]?.shape?.length ?? 0, outputs[0]?.shape?.length];
				if (!isOnnxOp(node, "Gather") || indices < 2 || result !== 5 || known.isFolded(node)) return undefined;
				return `its indices have rank ${indices}, and its result has rank 5`;
			},
		},
		{
			id: "htp/empty",
			about: "No value has a dimension of 0.",
			consequence: "refused",
			measured: "the graph fails to compile: Gather of no elements, on v79",
			remedy: "compute it outside of the model",
			broken({ outputs }, { known }) {
				const empty = outputs.find(({ value, shape }) => shape?.includes(0) && !known.has(value));
				return empty && `'${empty.value.name}' is [${empty.shape!.join(", ")}]`;
			},
		},
		{
			id: "htp/instance-norm-rank",
			about: "An InstanceNormalization between codes has rank 4.",
			consequence: "wrong",
			measured:
				"in a PoolFormer, whose GroupNorm exporters write with rank 3, the second one is at -2 to 1 dB on v68, v73, v79 and v81, or the graph fails to compile ('memory allocation related error'); 59 and 70 dB with rank 4, wherever the axis of length 1 is; small models with two of rank 3 are right",
			remedy: "put a Reshape in front and one behind",
			appliedBy: "legalize-operators",
			broken(operator) {
				const rank = operator.inputs[0]?.shape?.length;
				if (!isOnnxOp(operator.node, "InstanceNormalization") || rank !== 3 || formOf(operator) === "float")
					return undefined;
				return "the input has rank 3, expected 4";
			},
		},
		{
			id: "htp/relu-rank",
			about: "A Relu on floats has rank 4 at most.",
			consequence: "crash",
			until: "v68",
			measured:
				"the compiler's process ends with rank 5 on floats, behind a Reshape, an Add or as the only operator; right with rank 4, between codes, and as Clip, PRelu or LeakyRelu",
			remedy: "put a Reshape in front and one behind",
			appliedBy: "legalize-operators",
			broken(operator) {
				const rank = operator.inputs[0]?.shape?.length;
				if (!isOnnxOp(operator.node, "Relu") || rank !== 5 || formOf(operator) !== "float") return undefined;
				return "the input is of floats and has rank 5, expected 4 at most";
			},
		},
		{
			id: "htp/tile-ones",
			about: "A Tile of rank 5 repeats along one axis at least.",
			consequence: "crash",
			measured:
				"the compiler's process ends (SIGSEGV) with repeats of 1 alone, of 16 and 8 bits, on every architecture; right with a 2 on any axis, of ranks 1 to 4, and as Identity or Expand",
			remedy: "Identity in its place",
			appliedBy: "legalize-operators",
			broken({ node, inputs }) {
				const repeats = isOnnxOp(node, "Tile") ? inputs[1]?.constant : undefined;
				if (repeats === undefined || inputs[0]?.shape?.length !== 5) return undefined;
				return numbersOf(repeats).every((count) => count === 1) ? "all repeats are 1" : undefined;
			},
		},
	],
};
