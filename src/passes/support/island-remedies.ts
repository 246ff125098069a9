import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import type { Interval } from "../../quant/grid.js";
import { dataCodes, floatInputs, isFloatOperand, resultCodes } from "../../targets/float-sides.js";
import type { OperatorFacts, QuantizationFacts } from "../../targets/operator-facts.js";
import { knownInterval } from "./known-interval.js";
import { addQdq, addQuantizedConstant, coveringEncoding, type Encoding, encodingAt, recoded } from "./qdq.js";
import { quantizeOperand } from "./quantize-addends.js";
import type { Remedy, Tools } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { insertPair } from "./separate-output.js";
import { smallConstantOf } from "./small-constant.js";
import { wantedInterval } from "./wanted-interval.js";

/** Operators that other rules have computed on floats: their types are not made one again. */
const FLOAT_ON_PURPOSE: readonly string[] = ["Div", "Elu", "Reciprocal"];

/** Operators whose results are values that they read. */
const MOVES: readonly string[] = ["Resize", "Gather"];

/** Reductions to what lies between the elements. */
const BETWEEN: readonly string[] = ["ReduceMean", "ReduceMax", "ReduceMin"];

/** Above it 16 bits leave nothing of what is around 1. */
const LARGEST_EXPONENTIAL = 2 ** 12;

/** Below the least that a GELU makes, which is at -0.75. */
const LEAST_GELU = -0.171;

const OTHER_SIGN: Readonly<Partial<Record<DataType, DataType>>> = {
	[DataType.UINT8]: DataType.INT8,
	[DataType.INT8]: DataType.UINT8,
	[DataType.UINT16]: DataType.INT16,
	[DataType.INT16]: DataType.UINT16,
};

/** Puts pairs around an operator that has floats at one end: constants in codes, what is computed by what is known of it. */
export const encodeIsland: Remedy = (operator, tools) => {
	const { node, outputs } = operator;
	const { model, names } = tools;
	const type = sixteenBits(dataCodes(operator) ?? resultCodes(operator));
	const inputs = floatInputs(operator).map((index) => encodeFloats(node, index, type, names));
	if (inputs.length > 0) return inputs.includes(true);
	const behind = encodingOf(resultCodes(operator));
	if (behind !== undefined) return joinTypes(operator, behind, tools);
	const [output] = outputs;
	if (!isFloatOperand(output) || output.value.producer === undefined) return false;
	const moved = isOnnxOp(node, ...MOVES) ? encodingOf(dataCodes(operator)) : undefined;
	const interval = intervalOfFloats(output.value);
	const encoding = moved ?? (interval && coveringEncoding(type, interval));
	if (encoding !== undefined) insertPair(model, output.value, encoding, names);
	return encoding !== undefined;
};

function encodingOf(codes: QuantizationFacts | undefined): Encoding | undefined {
	return codes && encodingAt(codes.node);
}

function sixteenBits(codes: QuantizationFacts | undefined): DataType {
	return codes?.dtype === DataType.INT16 ? DataType.INT16 : DataType.UINT16;
}

/** Makes the floats that `node` reads at `index` codes; says whether enough is known of them. */
export function encodeFloats(node: Node, index: number, dtype: DataType, names: NameScope): boolean {
	const value = node.inputs[index]!;
	const constant = smallConstantOf(value);
	if (constant !== undefined) {
		node.setInput(index, addQuantizedConstant(node.graph!, value.name, { ...constant, dtype }, names, node));
		removeUnused(value);
		return true;
	}
	const interval = intervalOfFloats(value);
	if (interval === undefined) return false;
	node.setInput(index, addQdq(node.graph!, value, coveringEncoding(dtype, interval), names, node));
	return true;
}

/** What the readers can tell apart of what `value` can be. */
function intervalOfFloats(value: Value): Interval | undefined {
	const [known, wanted] = [knownInterval(value, undefined, mapped), wantedInterval(value)];
	if (known === undefined || wanted === undefined) return known ?? wanted;
	const both = { lo: Math.max(known.lo, wanted.lo), hi: Math.min(known.hi, wanted.hi) };
	return both.lo > both.hi ? known : both;
}

/** What follows from the input of a function that only rises or falls, or of a reduction to what lies between. */
function mapped({ producer }: Value): Interval | undefined {
	if (producer === undefined || !isOnnxOp(producer, "Sqrt", "Exp", "Neg", "Gelu", ...BETWEEN)) return undefined;
	const input = knownInterval(producer.inputs[0], undefined, mapped);
	if (input === undefined || isOnnxOp(producer, ...BETWEEN)) return input;
	const { lo, hi } = input;
	if (isOnnxOp(producer, "Gelu")) return { lo: lo < 0 ? LEAST_GELU : 0, hi: Math.max(hi, 0) };
	if (isOnnxOp(producer, "Neg")) return { lo: -hi, hi: -lo };
	if (isOnnxOp(producer, "Sqrt")) return { lo: Math.sqrt(Math.max(lo, 0)), hi: Math.sqrt(Math.max(hi, 0)) };
	return Math.exp(hi) < LARGEST_EXPONENTIAL ? { lo: Math.exp(lo), hi: Math.exp(hi) } : undefined;
}

/** One type at both ends, one encoding where values are only moved: the wider one in front, or the one in front behind, too. */
function joinTypes(operator: OperatorFacts, behind: Encoding, { model, names }: Tools): boolean {
	const { node, outputs } = operator;
	const before = encodingOf(dataCodes(operator));
	if (before === undefined || isOnnxOp(node, ...FLOAT_ON_PURPOSE)) return false;
	const output = outputs[0]!.value;
	if (isOnnxOp(node, ...MOVES)) {
		// ONNX Runtime makes one of two pairs of one type
		const other = before.dtype === behind.dtype ? OTHER_SIGN[behind.dtype] : undefined;
		if (other !== undefined) insertPair(model, output, recoded(behind, other), names);
		insertPair(model, output, before, names);
		return true;
	}
	if (bitsPerElement(before.dtype)! < bitsPerElement(behind.dtype)!) {
		node.setInput(0, addQdq(node.graph!, node.inputs[0]!, recoded(before, behind.dtype), names, node));
	} else insertPair(model, output, recoded(behind, before.dtype), names);
	return true;
}

/** Floats beside codes as codes. */
export const encodeOperands: Remedy = ({ node, inputs }, { names }) => {
	const coded = inputs.findIndex((input) => input?.quantization !== undefined);
	if (coded < 0 || isOnnxOp(node, "Mean")) return false;
	const isFloat = (index: number) => index !== coded && inputs[index]?.dtype === DataType.FLOAT;
	const encode = (index: number) =>
		quantizeOperand(node, index, names, coded) ||
		(inputs[index]?.quantization === undefined &&
			encodeFloats(node, index, inputs[coded]!.quantization!.dtype!, names));
	const done = inputs.map((_, index) => isFloat(index) && encode(index));
	return done.includes(true);
};
