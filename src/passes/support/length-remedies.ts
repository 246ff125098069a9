import { intAttribute, intOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { intervalOf } from "../../quant/grid.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import { resultCodes } from "../../targets/float-sides.js";
import type { OperatorFacts } from "../../targets/operator-facts.js";
import { pooledCodes } from "../../targets/pooled-codes.js";
import { encodeFloats } from "./island-remedies.js";
import { NodeWriter } from "./node-writer.js";
import { axesOf } from "./normalization.js";
import { addQdq, coveringEncoding, type Encoding, encodingAt, recoded, sameEncoding } from "./qdq.js";
import type { Remedy, Tools } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { smallConstantOf } from "./small-constant.js";

/**
 * A ReduceL2 between codes -> LpNormalizations in place of the Divs by it; what else reads it gets a ReduceSum.
 */
export const separateLength: Remedy = (operator, tools) => {
	const { node, inputs } = operator;
	const pool = pooledCodes(node);
	if (pool !== undefined) return quantizeBefore(pool, tools);
	if (inputs[0]?.quantization === undefined) return encodeFloats(node, 0, DataType.UINT16, tools.names);
	const encoding = encodingAt(inputs[0].quantization.node);
	const rank = inputs[0].shape?.length;
	const axes = axesOf(node)?.map((axis) => (axis < 0 ? axis + (rank ?? 0) : axis));
	if (encoding === undefined || rank === undefined || axes === undefined) return false;
	const [axis] = axes.length === 1 ? axes : [];
	const quotients = quotientsOf(operator, encoding.scale);
	const own = axis === undefined ? [] : quotients.filter((quotient) => isOfOwn(quotient, operator, tools));
	for (const quotient of own) normalize(quotient, axis!);
	if (node.graph === undefined) return true;
	return sumProducts(operator, encoding, axis, tools) || own.length > 0;
};

/** `MaxPool -> Q` -> `Q -> DQ -> MaxPool -> Q` */
function quantizeBefore(pool: Node, { names }: Tools): boolean {
	const quantizer = pool.outputs[0]!.uses.find((use) => isOnnxOp(use.node, "QuantizeLinear"))!.node;
	const encoding = encodingAt(quantizer);
	if (encoding === undefined) return false;
	pool.setInput(0, addQdq(pool.graph!, pool.inputs[0]!, encoding, names, pool));
	return true;
}

/** Div(x, |x|) -> LpNormalization(x) */
function normalize(quotient: Node, axis: number): void {
	const [dividend, divisor] = quotient.inputs;
	quotient.graph!.replaceNode(quotient, {
		op: "LpNormalization",
		name: quotient.name,
		inputs: [dividend],
		outputs: [...quotient.outputs],
		attributes: { axis: intAttribute(axis), p: intAttribute(2) },
	});
	removeUnread(divisor!);
}

/** Takes away what made `value`, where nobody reads it. */
function removeUnread(value: Value): void {
	const { producer } = value;
	const isRead = ({ uses, isGraphOutput }: Value) => uses.length > 0 || isGraphOutput;
	if (producer === undefined || producer.outputs.some(isRead)) {
		removeUnused(value);
		return;
	}
	const inputs = new Set(producer.inputs);
	producer.remove();
	for (const input of inputs) if (input !== undefined) removeUnread(input);
}

/** The Divs by the result of `norm`, also where that is repeated, or kept from 0 by less than a `step` of the values. */
function quotientsOf({ node: norm }: OperatorFacts, step: number): Node[] {
	const quotients: Node[] = [];
	const open = [norm.outputs[0]!];
	for (let value = open.pop(); value !== undefined; value = open.pop()) {
		for (const { node, index } of value.uses) {
			if (isOnnxOp(node, "Div") && index === 1) quotients.push(node);
			else if (keepsLength(node, index, step)) open.push(node.outputs[0]!);
		}
	}
	return quotients;
}

/** Does `quotient` divide what `norm` reads, each vector by its own length? */
function isOfOwn(quotient: Node, { node: norm, inputs }: OperatorFacts, { types }: Tools): boolean {
	const [shape, result] = [inputs[0]!.shape, types.shapeOf(quotient.outputs[0]!)].map(fixedShape);
	if (intOf(norm, "keepdims", 1) !== 1 || shape === undefined || `${shape}` !== `${result}`) return false;
	return isSame(quotient.inputs[0]!, norm.inputs[0]!);
}

/** Is what `node` makes of the length at its input `index` the length where any value is a step from 0? */
function keepsLength(node: Node, index: number, step: number): boolean {
	if (isOnnxOp(node, "QuantizeLinear", "DequantizeLinear", "Expand", "Identity")) return index === 0;
	const isBelow = (limit: Value | undefined) => {
		const values = smallConstantOf(limit)?.values;
		return values !== undefined && Array.from(values).every((value) => value <= step);
	};
	if (isOnnxOp(node, "Clip")) {
		return index === 0 && node.inputs[2] === undefined && (node.inputs[1] === undefined || isBelow(node.inputs[1]));
	}
	return isOnnxOp(node, "Max") && node.inputs.every((input, at) => at === index || isBelow(input));
}

/** Do both stand for the same codes? */
function isSame(a: Value, b: Value): boolean {
	if (a === b) return true;
	const [one, other] = [a.producer, b.producer];
	if (one === undefined || other === undefined) return false;
	if (!isOnnxOp(one, "DequantizeLinear") || !isOnnxOp(other, "DequantizeLinear")) return false;
	const [first, second] = [encodingAt(one), encodingAt(other)];
	if (first === undefined || second === undefined || !sameEncoding(first, second)) return false;
	const sourceOf = (codes: Value) =>
		codes.producer !== undefined && isOnnxOp(codes.producer, "QuantizeLinear") ? codes.producer.inputs[0]! : codes;
	return sourceOf(one.inputs[0]!) === sourceOf(other.inputs[0]!);
}

/** |x| as the sum of x times x / |x| along one axis, as the root of the sum of squares along several. */
function sumProducts(operator: OperatorFacts, encoding: Encoding, axis: number | undefined, tools: Tools): boolean {
	const { node } = operator;
	const { names } = tools;
	const codes = resultCodes(operator);
	const result = codes && encodingAt(codes.node);
	if (result === undefined) return false;
	const writer = new NodeWriter(node, names);
	const pair = (value: Value, lo: number, hi: number) =>
		addQdq(node.graph!, value, coveringEncoding(DataType.UINT16, { lo, hi }), names, node);
	const [input, axes] = node.inputs;
	const wide = recoded(encoding, DataType.UINT16);
	const x = encoding.dtype === DataType.UINT16 ? input! : addQdq(node.graph!, input!, wide, names, node);
	const { lo, hi } = intervalOf(wide);
	const largest = Math.max(hi, -lo);
	const keepdims = intAttribute(intOf(node, "keepdims", 1));
	const sum = (value: Value) => writer.emit("ReduceSum", [value, axes], { keepdims }, "sum");
	if (axis === undefined) {
		const square = pair(writer.emit("Mul", [x, x], {}, "square"), 0, largest ** 2);
		writer.give(0, writer.emit("Sqrt", [pair(sum(square), 0, intervalOf(result).hi ** 2)], {}, "length"));
	} else {
		const unit = writer.emit("LpNormalization", [x], { axis: intAttribute(axis), p: intAttribute(2) }, "unit");
		const product = pair(writer.emit("Mul", [x, pair(unit, -1, 1)], {}, "product"), 0, largest);
		writer.give(0, sum(product));
	}
	writer.finish();
	return true;
}
