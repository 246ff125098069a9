import { stringOf } from "../../ir/attribute.js";
import type { Model } from "../../ir/model.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { nodeLabel } from "../../ir/walk.js";
import { constantOf } from "../../weights/constant.js";
import { scalarOf } from "../../weights/numbers.js";
import { dataCodes, floatInputs, isFloatOperand, resultCodes } from "../float-sides.js";
import { isNearestResize } from "../nearest-resize.js";
import type { OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";
import { soughtBehindFloats } from "./behind-floats.js";
import { LINEAR } from "./producers.js";
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

function hasFloatKernel(node: Node): boolean {
	if (isOnnxOp(node, "Pad")) return stringOf(node, "mode") === "edge" || stringOf(node, "mode") === "reflect";
	return isNearestResize(node) || isPower(node) || isOnnxOp(node, ...FLOAT_KERNELS);
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

/** For every node the operator on codes that does not compile behind its floats. */
const failingBehind = (model: Model) =>
	soughtBehindFloats(model, {
		failing: FAILING,
		joining: ["Add", "Sub", "Mul", "Max", "Min", "Concat"],
		images: IMAGE,
	});

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
			remedy: "quantize what it reads and makes with one type",
			appliedBy: "legalize-operators",
			broken(operator, { analysis }) {
				const reason = reasonForFloats(operator);
				const failing = reason === undefined ? undefined : analysis(failingBehind).get(operator.node);
				return failing && `${reason}, and ${failing.op.type} '${nodeLabel(failing)}' is behind it`;
			},
		},
	],
};
