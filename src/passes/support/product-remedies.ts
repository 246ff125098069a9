import { intAttribute, intsAttribute } from "../../ir/attribute.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { int64Tensor } from "../../ir/tensor.js";
import { DataType, elementCount, tensorType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { intervalOf } from "../../quant/grid.js";
import { HTP_CAPABILITIES } from "../../targets/capabilities.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import type { OperandFacts } from "../../targets/operator-facts.js";
import { behindViews } from "../../targets/rules/reshaped-products.js";
import { NodeWriter } from "./node-writer.js";
import { addQdq, type Encoding, encodingAt, encodingBehind, encodingOf, recoded } from "./qdq.js";
import type { Remedy, Tools } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { replaceValue } from "./replace-value.js";
import { reshapeBehind, reshapeInput } from "./reshape-around.js";
import { insertPair } from "./separate-output.js";

const LARGEST_INT16 = 2 ** 15 - 1;

/** The right side of a product of two activations as INT16 with the zero point 0; where that is refused, on the left. */
export const keepRightBits: Remedy = (operator, tools) => {
	const { node, inputs, outputs } = operator;
	const [left, right, result] = [inputs[0], inputs[1], outputs[0]].map(
		(operand) => operand?.quantization && encodingAt(operand.quantization.node),
	);
	if (right === undefined) return false;
	if (HTP_CAPABILITIES[tools.architecture].wideProducts) {
		const read = node.inputs[1]!;
		const narrow = widenedFrom(read);
		const { lo, hi } = intervalOf(right);
		const symmetric = narrow?.finer ?? encodingOf(DataType.INT16, Math.max(-lo, hi) / LARGEST_INT16, 0);
		node.setInput(1, addQdq(node.graph!, narrow?.value ?? read, symmetric, tools.names, node));
		removeUnused(read);
		return true;
	}
	const shape = inputs[1]!.shape;
	const hasOneRank = [inputs[0], outputs[0]].every((operand) => operand?.shape?.length === shape?.length);
	if (left === undefined || result === undefined || shape === undefined || !hasOneRank) return false;
	transposeProduct(node, { left: recoded(left, DataType.UINT16), right, result }, shape.length, tools);
	return true;
};

interface Narrow {
	readonly value: Value;
	/** Its values as INT16 with the zero point 0: codes that are 128 times as many steps from 0. */
	readonly finer: Encoding;
}

/** What has codes of 8 bits, where `value` is that in a pair of 16 bits that loses none of them. */
function widenedFrom(value: Value): Narrow | undefined {
	const [dequantize, quantize] = [value.producer, value.producer?.inputs[0]?.producer];
	const source = quantize && isOnnxOp(quantize, "QuantizeLinear") ? quantize.inputs[0] : undefined;
	const [wide, encoding] = [dequantize && encodingAt(dequantize), encodingBehind(source)];
	if (source === undefined || wide === undefined || encoding === undefined) return undefined;
	if (encoding.dtype !== DataType.UINT8 && encoding.dtype !== DataType.INT8) return undefined;
	const [outer, inner] = [intervalOf(wide), intervalOf(encoding)];
	if (inner.lo < outer.lo - wide.scale / 2 || inner.hi > outer.hi + wide.scale / 2) return undefined;
	return { value: source, finer: encodingOf(DataType.INT16, encoding.scale / 128, 0) };
}

/** `MatMul(a, b)` of INT16 -> b with the zero point 0; where INT16 is refused, all of it as UINT16. */
export const symmetricProduct: Remedy = (operator, tools) => {
	const { node, inputs } = operator;
	if (HTP_CAPABILITIES[tools.architecture].wideProducts) {
		/** Of two pairs of INT16, one directly behind the other, ONNX Runtime makes one with a zero point. */
		const encoding = inputs[1]?.quantization && encodingAt(inputs[1].quantization.node);
		if (encoding === undefined) return false;
		const between = recoded(encoding, DataType.UINT16);
		node.setInput(1, addQdq(node.graph!, node.inputs[1]!, between, tools.names, node));
		return keepRightBits(operator, tools);
	}
	let done = false;
	for (const [index, input] of inputs.entries()) {
		const encoding = input?.quantization && encodingAt(input.quantization.node);
		if (encoding?.dtype !== DataType.INT16) continue;
		node.setInput(index, addQdq(node.graph!, input!.value, recoded(encoding, DataType.UINT16), tools.names, node));
		done = true;
	}
	const result = operator.outputs[0]?.quantization;
	const encoding = result && encodingAt(result.node);
	if (encoding?.dtype === DataType.INT16)
		insertPair(tools.model, node.outputs[0]!, recoded(encoding, DataType.UINT16), tools.names);
	return done;
};

/** A batch of products -> the same with rows of zeros below, up to a multiple of 8, which a Slice takes off. */
export const fillRows: Remedy = ({ node, inputs: [left], outputs: [result] }, { names }) => {
	const shape = fixedShape(left?.shape);
	const before = left?.quantization && encodingAt(left.quantization.node);
	const behind = result?.quantization && encodingAt(result.quantization.node);
	if (shape === undefined || before === undefined || behind === undefined) return false;
	const [rank, rows] = [shape.length, shape.at(-2)!];
	const writer = new NodeWriter(node, names);
	const amounts = new Array<number>(2 * rank).fill(0).with(-2, Math.ceil(rows / 8) * 8 - rows);
	const pads = writer.constant("pads", int64Tensor([amounts.length], amounts));
	const filled = addQdq(node.graph!, writer.emit("Pad", [node.inputs[0], pads], {}, "filled"), before, names, node);
	const product = writer.emit("MatMul", [filled, node.inputs[1]], {}, "products");
	const rounded = addQdq(node.graph!, product, behind, names, node);
	const bounds = [0, rows, rank - 2].map((bound, at) =>
		writer.constant(["starts", "ends", "axes"][at]!, int64Tensor([1], [bound])),
	);
	writer.give(0, writer.emit("Slice", [rounded, ...bounds], {}, "taken"));
	writer.finish();
	return true;
};

/** `MatMul(view of x, w)` -> `Gemm(Reshape(x), w)`, on all rows as one matrix. */
export const multiplyAsGemm: Remedy = ({ node, inputs: [left, right], outputs: [result] }, { model, names }) => {
	const [shape, output] = [fixedShape(left?.shape), fixedShape(result?.shape)];
	if (shape === undefined || output === undefined || right?.shape?.length !== 2) return false;
	const view = node.inputs[0]!;
	const rows = elementCount(shape.slice(0, -1));
	node.setInput(0, behindViews(view));
	reshapeInput(node, 0, [rows, shape.at(-1)!], names);
	removeUnused(view);
	if (shape.length !== 2) reshapeBehind(model, node, { result: [rows, output.at(-1)!], output }, names);
	if (isOnnxOp(node, "Gemm")) return true;
	node.graph!.replaceNode(node, { op: "Gemm", name: node.name, inputs: [...node.inputs], outputs: [...node.outputs] });
	return true;
};

/** `QLinearMatMul(a, b)` -> `QuantizeLinear(MatMul(DequantizeLinear(a), DequantizeLinear(b)))`. */
export const multiplyDequantized: Remedy = ({ node, inputs }, { names }) => {
	const [left, leftScale, leftZero, right, rightScale, rightZero, scale, zero] = node.inputs;
	const isOne = (operand: OperandFacts | undefined) => elementCount(fixedShape(operand?.shape) ?? [0]) === 1;
	if (!isOne(inputs[1]) || !isOne(inputs[6]) || right === undefined) return false;
	const writer = new NodeWriter(node, names);
	const columns = isOne(inputs[4]) ? {} : { axis: intAttribute(1) };
	const factors = [
		writer.emit("DequantizeLinear", [left, leftScale, leftZero], {}, "left"),
		writer.emit("DequantizeLinear", [right, rightScale, rightZero], columns, "right"),
	];
	writer.give(
		0,
		writer.emit("QuantizeLinear", [writer.emit("MatMul", factors, {}, "product"), scale, zero], {}, "codes"),
	);
	writer.finish();
	return true;
};

interface ProductEncodings {
	readonly left: Encoding;
	readonly right: Encoding;
	readonly result: Encoding;
}

/** `MatMul(a, b)` -> `Transpose(MatMul(Transpose(b), Transpose(a)))`, quantized in between. */
function transposeProduct(node: Node, encodings: ProductEncodings, rank: number, { model, names }: Tools): void {
	const graph = node.graph!;
	const [left, right] = [node.inputs[0]!, node.inputs[1]!];
	node.setInput(0, addQdq(graph, transposed(right, rank, names, node), encodings.right, names, node));
	node.setInput(1, addQdq(graph, transposed(left, rank, names, node), encodings.left, names, node));
	const product = node.outputs[0]!;
	const result = graph.createValue(names.fresh(`${product.name}_result`), product.type);
	replaceValue(model, product, result, names.fresh(`${product.name}_transposed`));
	const { type } = product;
	if (type?.kind === "tensor" && type.shape !== undefined) {
		const [rows, columns] = type.shape.slice(-2);
		product.type = tensorType(type.elementType, [...type.shape.slice(0, -2), columns!, rows!]);
	}
	const { next } = node;
	const rounded = addQdq(graph, product, encodings.result, names, next);
	addTranspose(rounded, result, rank, names, next);
}

function transposed(value: Value, rank: number, names: NameScope, before: Node): Value {
	const made = value.graph.createValue(names.fresh(`${value.name}_swapped`));
	addTranspose(value, made, rank, names, before);
	return made;
}

function addTranspose(from: Value, to: Value, rank: number, names: NameScope, before: Node | undefined): void {
	const perm = [...Array(rank - 2).keys(), rank - 1, rank - 2];
	const name = names.fresh(`${to.name}_Transpose`);
	const attributes = { perm: intsAttribute(perm) };
	from.graph.createNode({ op: "Transpose", name, inputs: [from], outputs: [to], attributes }, before);
}
