import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { nodeLabel } from "../../ir/walk.js";
import { constantOf } from "../../weights/constant.js";
import { eachNumber, scalarOf } from "../../weights/numbers.js";
import { clipLimits } from "../clip-limits.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import { CODES, codeInterval } from "../readers.js";
import type { RuleContext, RuleGroup } from "../rule.js";
import { isBlockProduct, isIntegerProduct, LINEAR } from "./producers.js";

/** Operators that only move values. */
const VIEWS: readonly string[] = ["Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity"];

/** Operators whose results are never negative. */
const NEVER_NEGATIVE: readonly string[] = [
	"Relu",
	"Sigmoid",
	"HardSigmoid",
	"Softmax",
	"Softplus",
	"Exp",
	"Abs",
	"Sqrt",
	"ReduceL1",
	"ReduceL2",
	"ReduceSumSquare",
	"ReduceLogSumExp",
];

/** Operators whose results are not negative where no input is. */
const KEEP_SIGN: readonly string[] = [
	...VIEWS,
	"Add",
	"Mul",
	"Div",
	"Pow",
	"Sum",
	"Mean",
	"Min",
	"Concat",
	"Expand",
	"Tile",
	"Slice",
	"Split",
	"Gather",
	"Pad",
	"Reciprocal",
	"ReduceMean",
	"ReduceSum",
	"ReduceMax",
	"ReduceMin",
	"MaxPool",
	"AveragePool",
	"GlobalAveragePool",
	"GlobalMaxPool",
	"Clip",
	"Resize",
];

/** How far to look back for what makes a value. */
const DEPTH = 12;

/** Can `value` be negative, as far as the operators tell that it comes from? Of a graph input nobody knows: no. */
function canBeNegative(value: Value, depth = DEPTH): boolean {
	const constant = constantOf(value)?.tensor;
	if (constant !== undefined) {
		let isNegative = false;
		eachNumber(constant, (number) => {
			isNegative = number < 0;
			return !isNegative;
		});
		return isNegative;
	}
	const { producer } = value;
	if (producer === undefined) return false;
	if (depth === 0 || isOnnxOp(producer, ...NEVER_NEGATIVE)) return false;
	if (isOnnxOp(producer, "QuantizeLinear", "DequantizeLinear")) {
		const source = producer.inputs[0]!;
		if (isSmallestCode(producer.inputs[2])) return false;
		return source.producer === undefined || constantOf(source) !== undefined || canBeNegative(source, depth - 1);
	}
	const inputs = producer.inputs.filter((input) => input !== undefined);
	if (isOnnxOp(producer, "Mul") && inputs[0] === inputs[1]) return false;
	if (isOnnxOp(producer, "Clip") && (clipLimits(producer)?.lo ?? -1) >= 0) return false;
	if (isOnnxOp(producer, "Pow")) return canBeNegative(inputs[0]!, depth - 1) && !isEven(inputs[1]!);
	if (isOnnxOp(producer, "Max")) return inputs.every((input) => canBeNegative(input, depth - 1));
	if (isOnnxOp(producer, ...KEEP_SIGN)) return inputs.some((input) => canBeNegative(input, depth - 1));
	return true;
}

function isSmallestCode(zeroPoint: Value | undefined): boolean {
	const constant = constantOf(zeroPoint);
	const smallest = constant && CODES[constant.tensor.dtype]?.min;
	return smallest !== undefined && scalarOf(constant) === smallest;
}

function isEven(exponent: Value): boolean {
	const tensor = constantOf(exponent)?.tensor;
	let even = tensor !== undefined;
	if (tensor !== undefined) {
		eachNumber(tensor, (number) => {
			even &&= number % 2 === 0;
			return even;
		});
	}
	return even;
}

/** The operator that makes the values of a QuantizeLinear, views aside. */
function maker(value: Value | undefined): Node | undefined {
	let producer = value?.producer;
	while (producer !== undefined && isOnnxOp(producer, ...VIEWS)) producer = producer.inputs[0]?.producer;
	return producer;
}

function isFloatInput(value: Value | undefined, { types }: RuleContext): boolean {
	if (value === undefined) return false;
	const dtype = constantOf(value)?.tensor.dtype ?? types.elementTypeOf(value);
	if (dtype !== undefined && dtype !== DataType.FLOAT && dtype !== DataType.FLOAT16) return false;
	if (constantOf(value) !== undefined) return true;
	return value.producer === undefined || !isOnnxOp(value.producer, "DequantizeLinear");
}

/** The type of the codes that `value` is dequantized from; undefined of constant ones. */
function codeTypeOf(value: Value | undefined, { types }: RuleContext): DataType | undefined {
	const dequantizer = value?.producer;
	if (dequantizer === undefined || !isOnnxOp(dequantizer, "DequantizeLinear")) return undefined;
	const codes = dequantizer.inputs[0]!;
	return constantOf(codes) === undefined ? types.elementTypeOf(codes) : undefined;
}

/** Does the operator read codes of another type than `made`, and therefore compute in fp16? */
function convertsTypes(node: Node, made: DataType | undefined, context: RuleContext): boolean {
	return node.inputs.some((input) => {
		const read = codeTypeOf(input, context);
		return read !== undefined && made !== undefined && read !== made;
	});
}

/** Does the operator that makes a value to be quantized, in codes of the type `made`, compute in fp16? */
function makesFloats(node: Node, made: DataType | undefined, context: RuleContext): boolean {
	if (convertsTypes(node, made, context)) return true;
	if (isOnnxOp(node, ...LINEAR)) return !isIntegerProduct(node, context);
	return isBlockProduct(node, context) || node.inputs.some((input) => isFloatInput(input, context));
}

/** Does the operator compute in fp16 what it reads dequantized? Those with quantized weights read the codes. */
function readsFloats(operator: OperatorFacts, context: RuleContext): boolean {
	const { node, weight, inputs, outputs } = operator;
	if (convertsTypes(node, (operator.result ?? outputs[0]?.quantization)?.dtype, context)) return true;
	if (weight !== undefined && weight.scheme !== "float") return false;
	const result = outputs[0]?.quantization;
	if (isOnnxOp(node, ...VIEWS)) {
		const own = inputs[0]?.quantization;
		return result !== undefined && (result.scale !== own?.scale || result.zeroPoint !== own?.zeroPoint);
	}
	return result === undefined || node.inputs.some((input) => isFloatInput(input, context));
}

/** The quantizer that makes the codes of an input, where it cuts negative values off that it can be given. */
function cuttingQuantizer({ quantization }: OperandFacts): Node | undefined {
	const quantizer = quantization?.node.inputs[0]?.producer;
	if (quantizer === undefined || !isOnnxOp(quantizer, "QuantizeLinear")) return undefined;
	const isCutting = codeInterval(quantization!)?.lo === 0 && canBeNegative(quantizer.inputs[0]!);
	return isCutting ? quantizer : undefined;
}

export const SATURATION_RULES: RuleGroup = {
	title: "Saturation",
	rules: [
		{
			id: "htp/lost-saturation",
			about:
				"A QuantizeLinear and DequantizeLinear between two operators that are computed in fp16, as those between codes of two types are, too, cut nothing off: the compiler leaves such pairs out.",
			consequence: "wrong",
			since: "v69",
			measured:
				"-3 to 5 dB with a zero point of 0 behind signed values: between a MatMul with float or float block weights, a LayerNormalization, a Mul or Add of a float constant and another of these, a Reshape in front of another encoding or a float result; -6 to 5 dB where both go from one type to another, such as UINT16 to UINT8 and back: Mul, Add, Tanh, Neg, Slice, Reshape, ReduceMean, MatMul, LayerNormalization in front, and these, Softmax and Concat behind; right where one side is computed on integers; so is 0 dB where a graph input of both signs goes into float block weights",
			remedy: "put a Relu behind it, and the same QuantizeLinear and DequantizeLinear again",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				const { node, inputs } = operator;
				if (isOnnxOp(node, "QuantizeLinear", "DequantizeLinear", "Relu", "Clip") || !readsFloats(operator, context))
					return undefined;
				for (const input of inputs) {
					const quantizer = input && cuttingQuantizer(input);
					const producer = maker(quantizer?.inputs[0]);
					const made = input?.quantization?.dtype;
					if (quantizer === undefined || producer === undefined || !makesFloats(producer, made, context)) continue;
					return `QuantizeLinear '${nodeLabel(quantizer)}' cuts off what is negative of the result of ${producer.op.type} '${nodeLabel(producer)}'`;
				}
				return undefined;
			},
		},
	],
};
