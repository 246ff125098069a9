import { intAttribute } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { floatTensor, int64Tensor } from "../../ir/tensor.js";
import { DataType, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { codeOf } from "../../quant/grid.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import { type Fill, lostFill } from "../../targets/lost-fill.js";
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
	const fill = lostFill(operator, tools.types);
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
	const numbers = appended(
		writer,
		shape.with(fill.axis, fill.count + 1),
		fill.axis,
		{ number, encoding },
		parametersOf,
	);
	const longer = writer.emit("Concat", [before, numbers], { axis: intAttribute(fill.axis) }, "longer");
	const rounded = behind === undefined ? longer : addQdq(node.graph!, longer, behind, tools.names, node);
	const bounds = [0, shape[fill.axis]!, fill.axis].map((bound, at) =>
		writer.constant(["starts", "ends", "axes"][at]!, int64Tensor([1], [bound])),
	);
	writer.give(0, writer.emit("Slice", [rounded, ...bounds], {}, "cut"));
	writer.finish();
	return true;
};

/** The one number of a constant. */
function numberOf(operand: OperandFacts | undefined): number | undefined {
	const { constant, quantization } = operand ?? {};
	if (constant !== undefined) return numbersOf(constant)[0];
	const { codes, scale, zeroPoint } = quantization ?? {};
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

/** A constant of `shape` of one number, with another one at the end of `axis`. */
function appended(
	writer: NodeWriter,
	shape: readonly number[],
	axis: number,
	{ number, encoding }: Appended,
	parametersOf: (name: string, encoding: Encoding) => readonly Value[],
): Value {
	const inner = elementCount(shape.slice(axis + 1));
	const fill = (usual: number, last: number) =>
		Array.from({ length: elementCount(shape) }, (_, at) =>
			Math.floor(at / inner) % shape[axis]! === shape[axis]! - 1 ? last : usual,
		);
	if (encoding === undefined) return writer.constant("numbers", floatTensor(shape, fill(number, number + 1)));
	const code = codeOf(number, encoding);
	const codes = codesTensor(encoding.dtype, shape, fill(code, code === encoding.max ? code - 1 : code + 1));
	const stored = writer.constant("codes", codes);
	return writer.emit("DequantizeLinear", [stored, ...parametersOf(stored.name, encoding)], {}, "numbers");
}
