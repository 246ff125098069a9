import { intAttribute } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { floatTensor, int64Tensor } from "../../ir/tensor.js";
import { DataType, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { codeOf } from "../../quant/grid.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import { leadingFill } from "../../targets/leading-fill.js";
import { type Fill, lostFill, storedOf } from "../../targets/lost-fill.js";
import type { OperandFacts, OperatorFacts } from "../../targets/operator-facts.js";
import { numbersOf } from "../../weights/numbers.js";
import { NodeWriter } from "./node-writer.js";
import { addParameters, addQdq, codesTensor, type Encoding, encodingAt, encodingBehind } from "./qdq.js";
import type { Remedy, Tools } from "./remedy.js";

/**
 * `Concat(x, equal numbers)` or `Pad(x)` -> `Concat(x, the same and one more, another one) -> Q -> DQ -> Slice`, which takes
 * that off again: numbers that differ are written. What the Pad adds elsewhere, a Pad in front adds.
 */
export const appendAnother: Remedy = (operator, tools) => {
	const { node, inputs, outputs } = operator;
	const fill = lostFill(operator, tools.types, tools.architecture);
	const shape = fixedShape(outputs[0]?.shape);
	const isPad = isOnnxOp(node, "Pad");
	const number = isPad ? paddedNumber(inputs[2]) : numberOf(inputs[1]);
	if (fill === undefined || shape === undefined || number === undefined) return false;
	if (inputs[0]!.dtype !== DataType.FLOAT) return false;
	const quantizer = outputs[0]!.quantization?.node;
	const behind = quantizer && encodingAt(quantizer);
	const encoding = isPad ? encodingBehind(node.inputs[0]) : encodingBehind(node.inputs[1]);

	const writer = new NodeWriter(node, tools.names);
	const before = isPad ? padElsewhere(operator, fill, writer, tools) : node.inputs[0]!;
	const parametersOf = (name: string, of: Encoding) => addParameters(node.graph!, name, of, tools.names, node);
	const along = { shape: shape.with(fill.axis, fill.count + 1), axis: fill.axis, another: fill.count };
	const numbers = constantRows(writer, along, { number, encoding }, parametersOf);
	const longer = writer.emit("Concat", [before, numbers], { axis: intAttribute(fill.axis) }, "longer");
	const rounded = behind === undefined ? longer : addQdq(node.graph!, longer, behind, tools.names, node);
	writer.give(0, cut(writer, rounded, { axis: fill.axis, from: 0, to: shape[fill.axis]! }));
	writer.finish();
	return true;
};

/**
 * `Concat(equal numbers, x)` or `Pad(x)` -> `Concat(another number, the same, x) -> Q -> DQ -> Slice`, which takes the first
 * row off again.
 */
export const prependAnother: Remedy = (operator, tools) => {
	const { node, inputs, outputs } = operator;
	const fill = leadingFill(operator, tools.types);
	const shape = fixedShape(outputs[0]?.shape);
	const isPad = isOnnxOp(node, "Pad");
	const number = isPad ? paddedNumber(inputs[2]) : numberOf(inputs[0]);
	const behind = outputs[0]!.quantization && encodingAt(outputs[0]!.quantization.node);
	if (fill === undefined || shape === undefined || number === undefined || behind === undefined) return false;
	const encoding = encodingBehind(node.inputs[0]);

	const writer = new NodeWriter(node, tools.names);
	const parametersOf = (name: string, of: Encoding) => addParameters(node.graph!, name, of, tools.names, node);
	const along = { shape: shape.with(fill.axis, fill.count + 1), axis: fill.axis, another: 0 };
	const first = constantRows(writer, along, { number, encoding }, parametersOf);
	const others = (isPad ? node.inputs.slice(0, 1) : node.inputs.slice(1)).map((input) => input!);
	const longer = writer.emit("Concat", [first, ...others], { axis: intAttribute(fill.axis) }, "longer");
	const rounded = addQdq(node.graph!, longer, behind, tools.names, node);
	writer.give(0, cut(writer, rounded, { axis: fill.axis, from: 1, to: fill.all + 1 }));
	writer.finish();
	return true;
};

function cut(
	writer: NodeWriter,
	value: Value,
	{ axis, from, to }: { readonly axis: number; readonly from: number; readonly to: number },
): Value {
	const bounds = [from, to, axis].map((bound, at) =>
		writer.constant(["starts", "ends", "axes"][at]!, int64Tensor([1], [bound])),
	);
	return writer.emit("Slice", [value, ...bounds], {}, "cut");
}

/** The one number of a constant. */
function numberOf(operand: OperandFacts | undefined): number | undefined {
	const { constant, quantization } = operand ?? {};
	if (constant !== undefined) return numbersOf(constant)[0];
	const { codes, scale, zeroPoint } = quantization ?? {};
	const quantized = codes === undefined && operand && storedOf(operand);
	if (quantized) return numbersOf(quantized)[0];
	if (codes === undefined || scale === undefined || zeroPoint === undefined) return undefined;
	return (numbersOf(codes)[0]! - zeroPoint) * scale;
}

function paddedNumber(operand: OperandFacts | undefined): number | undefined {
	return operand === undefined ? 0 : numberOf(operand);
}

/** What a Pad adds along other axes than that of `fill`. */
function padElsewhere({ node, inputs }: OperatorFacts, { axis }: Fill, writer: NodeWriter, tools: Tools): Value {
	const source = node.inputs[0]!;
	const rank = inputs[0]!.shape!.length;
	const amounts = Array.from(numbersOf(inputs[1]!.constant!));
	const stated = inputs[3]?.constant === undefined ? undefined : Array.from(numbersOf(inputs[3].constant));
	const count = amounts.length / 2;
	const at = stated === undefined ? axis : stated.findIndex((one) => (one + rank) % rank === axis);
	const others = amounts.with(count + at, 0);
	if (others.every((amount) => amount === 0)) return source;
	const pads = writer.constant("pads", int64Tensor([others.length], others));
	const padded = writer.emit(
		"Pad",
		[source, pads, ...node.inputs.slice(2)],
		Object.fromEntries(node.attributes),
		"padded",
	);
	const encoding = encodingBehind(source);
	return encoding === undefined ? padded : addQdq(node.graph!, padded, encoding, tools.names, node);
}

interface Appended {
	readonly number: number;
	/** Of codes; undefined where the numbers are floats. */
	readonly encoding: Encoding | undefined;
}

/** Where constant rows go, and which of them is of another number. */
interface Rows {
	readonly shape: readonly number[];
	readonly axis: number;
	readonly another: number;
}

/** A constant of one number but for one row. */
function constantRows(
	writer: NodeWriter,
	{ shape, axis, another }: Rows,
	{ number, encoding }: Appended,
	parametersOf: (name: string, encoding: Encoding) => readonly Value[],
): Value {
	const inner = elementCount(shape.slice(axis + 1));
	const fill = (usual: number, other: number) =>
		Array.from({ length: elementCount(shape) }, (_, at) =>
			Math.floor(at / inner) % shape[axis]! === another ? other : usual,
		);
	if (encoding === undefined) return writer.constant("numbers", floatTensor(shape, fill(number, number + 1)));
	const code = codeOf(number, encoding);
	const codes = codesTensor(encoding.dtype, shape, fill(code, code === encoding.max ? code - 1 : code + 1));
	const stored = writer.constant("codes", codes);
	return writer.emit("DequantizeLinear", [stored, ...parametersOf(stored.name, encoding)], {}, "numbers");
}
