import { intsOf, stringOf } from "../../ir/attribute.js";
import type { Model } from "../../ir/model.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { elementCount } from "../../ir/types.js";
import { nodeLabel } from "../../ir/walk.js";
import { hasIntegerActivations } from "../../weights/activation.js";
import { constantOf } from "../../weights/constant.js";
import { scalarOf } from "../../weights/numbers.js";
import { fixedShape } from "../fixed-shape.js";
import { dataCodes, floatInputs, isFloatOperand, resultCodes } from "../float-sides.js";
import { isNearestResize } from "../nearest-resize.js";
import type { OperatorFacts } from "../operator-facts.js";
import { reducedAxes } from "../reduced-axes.js";
import type { RuleGroup } from "../rule.js";
import { soughtBehind, soughtBehindFloats } from "./behind-floats.js";
import { isComputed, LINEAR } from "./producers.js";
import { typeName } from "./type-name.js";

/** Operators for which a v68 has a kernel of its own on floats, beside the modes in `hasFloatKernel`. */
const FLOAT_KERNELS: readonly string[] = [
	"Sub",
	"Div",
	"Max",
	"Min",
	"Where",
	"Exp",
	"Sqrt",
	"Gelu",
	"Elu",
	"HardSigmoid",
	"LogSoftmax",
	"Round",
	"Reciprocal",
	"ReduceSum",
	"LpNormalization",
	"CumSum",
	"Gather",
];

/** Those that htp/float-operand-v68 is about where the result is quantized. */
const OF_OPERANDS: readonly string[] = ["Sub", "Div", "Max", "Min", "Where"];

/** Operators that turn images, and so what is joined with them. */
const IMAGE: readonly string[] = [
	"Conv",
	"ConvTranspose",
	"AveragePool",
	"MaxPool",
	"GlobalAveragePool",
	"GlobalMaxPool",
	"InstanceNormalization",
	"Resize",
];

/** Operators on codes that do not compile where floats went into these. */
const FAILING: readonly string[] = [
	...LINEAR,
	...IMAGE,
	"Div",
	"Pad",
	"Pow",
	"Split",
	"Gather",
	"Floor",
	"Reciprocal",
	"Where",
	"CumSum",
	"LeakyRelu",
	"PRelu",
	"ReduceL2",
	"SpaceToDepth",
];

/** Operators on floats that do not compile where floats of such kernels go in. */
const FAILING_FLOATS: readonly string[] = [
	...LINEAR,
	"Einsum",
	"Mul",
	"Pow",
	"MaxPool",
	"GlobalMaxPool",
	"BatchNormalization",
	"Floor",
	"LeakyRelu",
	"PRelu",
	"ReduceL2",
	"Softplus",
	"Sign",
	"Expand",
	"ArgMax",
	"GatherND",
];

/** Operators behind which floats are as others. */
const SETTLING: readonly string[] = ["LayerNormalization", "AveragePool", "GlobalAveragePool", "Mish", "TopK"];

/** So they are behind reductions over one axis, a linear Resize, and sums and products of codes. */
function settles(node: Node): boolean {
	if (isOnnxOp(node, "ReduceMean", "ReduceMax", "ReduceMin")) {
		const axes = constantOf(node.inputs[1])?.tensor.shape ?? [intsOf(node, "axes").length];
		return elementCount(axes) === 1;
	}
	if (isOnnxOp(node, "Resize")) return !isNearestResize(node);
	return isOnnxOp(node, ...SETTLING) || (isOnnxOp(node, "Add", "Mul") && !computesOnFloats(node));
}

function hasFloatKernel(node: Node): boolean {
	if (isOnnxOp(node, "Pad")) return stringOf(node, "mode") === "edge" || stringOf(node, "mode") === "reflect";
	return isNearestResize(node) || isPower(node) || isOnnxOp(node, ...FLOAT_KERNELS);
}

/**
 * Is a mean over the last axis and others, or a length of vectors over such or of several images? Means of images are pools,
 * and what is behind other lengths compiles.
 */
function isFloatReduction({ node, inputs: [input] }: OperatorFacts): boolean {
	const shape = fixedShape(input?.shape);
	if (shape === undefined || !isOnnxOp(node, "ReduceMean", "ReduceL2")) return false;
	const axes = reducedAxes(node, shape.length);
	const isOfLast = axes.size === 0 || (axes.size > 1 && axes.has(shape.length - 1));
	if (isOfLast && shape.length > 1) return true;
	return isOnnxOp(node, "ReduceL2") && shape.length === 4 && shape[0]! > 1;
}

/** A square is a product. */
function isPower(node: Node): boolean {
	return isOnnxOp(node, "Pow") && scalarOf(constantOf(node.inputs[1])) !== 2;
}

/** Why a v68 computes the operator on floats; undefined where it does not, or where another rule says so. */
function reasonForFloats(operator: OperatorFacts): string | undefined {
	const { node, inputs, outputs } = operator;
	if (!hasFloatKernel(node)) return undefined;
	const [before, behind] = [dataCodes(operator), resultCodes(operator)];
	if (isOnnxOp(node, "Gather") && (before?.codes ?? inputs[0]?.constant) !== undefined) return undefined;
	const isOthers =
		isOnnxOp(node, ...OF_OPERANDS) &&
		outputs[0]?.quantization !== undefined &&
		inputs.some((operand) => operand?.quantization !== undefined);
	const [float] = floatInputs(operator);
	if (float !== undefined) {
		return isOthers ? undefined : `${node.op.type} reads the floats '${inputs[float]!.value.name}'`;
	}
	if (behind === undefined) {
		return isFloatOperand(outputs[0]) ? `the result of ${node.op.type} is not quantized` : undefined;
	}
	if (before === undefined) return undefined;
	if (before.dtype !== behind.dtype) {
		return `${node.op.type} is from ${typeName(before.dtype)} to ${typeName(behind.dtype)}`;
	}
	if (!isNearestResize(node) && !isOnnxOp(node, "Gather")) return undefined;
	if (before.scale === behind.scale && before.zeroPoint === behind.zeroPoint) return undefined;
	return `${node.op.type} reads steps of ${before.scale} around ${before.zeroPoint} and writes ${behind.scale} around ${behind.zeroPoint}`;
}

/** Why a v68 reduces floats otherwise than it reduces codes; undefined where it does not. */
function reasonForReduction(operator: OperatorFacts): string | undefined {
	const isOnFloats = isFloatOperand(operator.outputs[0]) || isFloatOperand(operator.inputs[0]);
	if (!isOnFloats || !isFloatReduction(operator)) return undefined;
	return `${operator.node.op.type} goes over several axes or images of floats`;
}

/** For every node the operator on codes that does not compile behind its floats. */
const failingBehind = (model: Model) =>
	soughtBehindFloats(model, {
		settles: (node) => isOnnxOp(node, "ReduceMax") && settles(node),
		failing: FAILING,
		joining: ["Add", "Sub", "Mul", "Max", "Min", "Concat"],
		images: IMAGE,
	});

/** Does it compute on floats, at an input or at its end? A constant makes a product one on floats. */
function computesOnFloats(node: Node): boolean {
	return node.inputs.some((value, index) => {
		if (value === undefined || !(index === 0 || isOnnxOp(node, "Mul") || isComputed(value))) return false;
		return !hasIntegerActivations(node, index);
	});
}

/** For every node the operator on floats that does not compile behind it. */
const failingFloats = (model: Model) =>
	soughtBehind(
		model,
		(node) => isOnnxOp(node, ...FAILING_FLOATS) && computesOnFloats(node),
		(node) => settles(node) || hasFloatKernel(node),
	);

export const FLOAT_ISLAND_RULES: RuleGroup = {
	title: "Floats between codes",
	rules: [
		{
			id: "htp/float-island-v68",
			about:
				"No operator that a v68 computes on floats (Sub, Div, Max, Min, Where, Exp, Sqrt, Gelu, Elu, HardSigmoid, LogSoftmax, Round, Reciprocal, ReduceSum, LpNormalization, CumSum, Gather, Pow but for squares, Resize to the nearest, Pad with mode edge or reflect) reads or makes floats, codes of two types or, where it moves values only, of two encodings, in front of codes that products, image operators and their like read.",
			consequence: "refused",
			until: "v68",
			measured:
				"'memory allocation related error' with what was computed so, quantized, going into MatMul, Gemm, Conv, pools, Div, Pad, Resize, Split, Gather, Where and others, directly or further on, or into an Add or Mul beside images; 68 to 97 dB with a pair in between; right in front of Mul, Add, Softmax, Relu, Tanh, reductions and outputs, and with Add, Mul, Sigmoid, Tanh, Relu, Softmax, ReduceMean and pools on floats",
			remedy:
				"quantize what it reads and makes with one type, or, where its range is not known, take the largest of twice its floats",
			appliedBy: "legalize-operators",
			broken(operator, { analysis }) {
				const reason = reasonForFloats(operator);
				const failing = reason === undefined ? undefined : analysis(failingBehind).get(operator.node);
				return failing && `${reason}, and ${failing.op.type} '${nodeLabel(failing)}' is behind it`;
			},
		},
		{
			id: "htp/float-chain-v68",
			about:
				"What a v68 computes on floats with such an operator, or a ReduceMean or ReduceL2 over the last axis and others, is not read, directly or further on, by a Mul, Pow, linear operator, Einsum, MaxPool, BatchNormalization, Floor, LeakyRelu, PRelu, ReduceL2, Softplus, Sign, Expand, ArgMax or GatherND on floats, but for behind a LayerNormalization, AveragePool, GlobalAveragePool, Mish, TopK, linear Resize, a ReduceMean, ReduceMax or ReduceMin over one axis, or an Add or Mul on codes.",
			consequence: "refused",
			until: "v68",
			measured:
				"'memory allocation related error' with Exp, Sqrt, Sub, Div, Max, Reciprocal, LogSoftmax, ReduceSum and Pow in front of these, with ReduceMean and ReduceL2 over the last axis and others, and ReduceL2 of several images; also with Add, Relu, Sigmoid, Softmax, Transpose, Reshape, Concat, Slice or a pair of quantizers in between: normalizations and attention written out on floats; 137 dB and more with the largest of twice the same in between, and from v69 on",
			remedy: "take the largest of twice the same in between, which is the same",
			appliedBy: "legalize-operators",
			broken(operator, { analysis, known }) {
				const { node } = operator;
				if (known.isFolded(node) || analysis(failingBehind).has(node)) return undefined;
				const reason = reasonForFloats(operator) ?? reasonForReduction(operator);
				const failing = reason === undefined ? undefined : analysis(failingFloats).get(node);
				return failing && `${reason}, and ${failing.op.type} '${nodeLabel(failing)}' computes on floats behind it`;
			},
		},
	],
};
