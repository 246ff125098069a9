import { intAttribute, intOf, intsAttribute, intsOf, stringOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { int64Tensor } from "../../ir/tensor.js";
import { elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import { takenElements } from "../../targets/nearest-resize.js";
import type { OperatorFacts } from "../../targets/operator-facts.js";
import { numbersOf } from "../../weights/numbers.js";
import { coverWindows } from "./average-pool.js";
import { unsign } from "./encoding-remedies.js";
import { NodeWriter } from "./node-writer.js";
import { joinPads, padToWindows, takeTaps } from "./pool-remedies.js";
import { addQdq, type Encoding, encodingAt, encodingBehind } from "./qdq.js";
import type { Remedy, Tools } from "./remedy.js";
import { spreadKernel } from "./spread-kernel.js";

/** Writes what takes the place of an operator: what only moves elements stays in the encoding that they have. */
export class Rewrite {
	readonly writer: NodeWriter;
	readonly #encoding: Encoding | undefined;
	readonly #operator: OperatorFacts;
	readonly #tools: Tools;

	constructor(operator: OperatorFacts, tools: Tools) {
		this.writer = new NodeWriter(operator.node, tools.names);
		this.#operator = operator;
		this.#tools = tools;
		this.#encoding = encodingBehind(operator.node.inputs[0]);
	}

	integers(label: string, numbers: readonly number[], shape: readonly number[] = [numbers.length]): Value {
		return this.writer.constant(label, int64Tensor(shape, numbers));
	}

	/** `value` behind a pair of quantizers, where the input is. */
	rounded(value: Value): Value {
		const { node } = this.#operator;
		return this.#encoding === undefined ? value : addQdq(node.graph!, value, this.#encoding, this.#tools.names, node);
	}

	/** The elements `indices` along `axis`. */
	elements(value: Value, axis: number, indices: readonly number[]): Value {
		const at = this.integers("indices", indices);
		return this.rounded(this.writer.emit("Gather", [value, at], { axis: intAttribute(axis) }, "taken"));
	}

	finish(value: Value): true {
		this.writer.give(0, value);
		this.writer.finish();
		return true;
	}
}

const reversed = (length: number) => Array.from({ length }, (_, at) => length - 1 - at);

/** A nearest Resize, or a Pad that repeats elements -> a Gather for each axis. */
export const takeElements: Remedy = (operator, tools) => {
	const isPad = isOnnxOp(operator.node, "Pad");
	const axes = isPad
		? paddedElements(operator)
		: takenElements(operator)?.map(({ axis, asked }) => [axis, asked] as const);
	const [first, ...others] = axes ?? [];
	if (first === undefined) return false;
	const rewrite = new Rewrite(operator, tools);
	let value = operator.node.inputs[0]!;
	for (const [axis, indices] of [first, ...others]) value = rewrite.elements(value, axis, indices);
	return rewrite.finish(value);
};

/** By axis, which elements of its input a Pad of mode edge, reflect or wrap puts out; undefined where that is not known. */
function paddedElements({ node, inputs }: OperatorFacts): [number, number[]][] | undefined {
	const shape = fixedShape(inputs[0]?.shape);
	const [pads, axesTensor] = [inputs[1]?.constant, inputs[3]?.constant];
	const isKnown = pads !== undefined && (node.inputs[3] === undefined || axesTensor !== undefined);
	const pick = PADDING[stringOf(node, "mode") ?? "constant"];
	if (shape === undefined || pick === undefined || !isKnown) return undefined;
	const amounts = Array.from(numbersOf(pads));
	const stated = axesTensor === undefined ? [...shape.keys()] : Array.from(numbersOf(axesTensor));
	const result: [number, number[]][] = [];
	for (const [at, given] of stated.entries()) {
		const axis = given < 0 ? given + shape.length : given;
		const [begin, end] = [amounts[at]!, amounts[at + stated.length]!];
		const length = shape[axis]!;
		if (begin === 0 && end === 0) continue;
		result.push([axis, Array.from({ length: begin + length + end }, (_, to) => pick(to - begin, length))]);
	}
	return result;
}

const modulo = (value: number, length: number) => ((value % length) + length) % length;

/** By mode, which of `length` elements is at `at`, a place that may lie outside. */
const PADDING: Readonly<Record<string, (at: number, length: number) => number>> = {
	edge: (at, length) => Math.min(Math.max(at, 0), length - 1),
	wrap: modulo,
	reflect(at, length) {
		if (length === 1) return 0;
		const period = 2 * (length - 1);
		const place = modulo(at, period);
		return place < length ? place : period - place;
	},
};

/** A CumSum from the end, or without its own element -> Gather backwards, Pad by one element. */
const sumForwards: Remedy = (operator, tools) => {
	const { node, inputs } = operator;
	const shape = fixedShape(inputs[0]?.shape);
	const stated = inputs[1]?.constant && numbersOf(inputs[1].constant)[0];
	if (shape === undefined || stated === undefined) return false;
	const axis = stated < 0 ? stated + shape.length : stated;
	const backwards = intOf(node, "reverse", 0) === 1 ? reversed(shape[axis]!) : undefined;
	const rewrite = new Rewrite(operator, tools);
	let value = node.inputs[0]!;
	if (backwards !== undefined) value = rewrite.elements(value, axis, backwards);
	if (intOf(node, "exclusive", 0) === 1) {
		const pads = new Array<number>(2 * shape.length).fill(0);
		pads[axis] = 1;
		pads[axis + shape.length] = -1;
		value = rewrite.rounded(rewrite.writer.emit("Pad", [value, rewrite.integers("pads", pads)], {}, "moved"));
	}
	value = rewrite.writer.emit("CumSum", [value, node.inputs[1]]);
	if (backwards === undefined) return rewrite.finish(value);
	const result = operator.outputs[0]!.quantization;
	const encoding = result && encodingAt(result.node);
	const sums = encoding === undefined ? value : addQdq(node.graph!, value, encoding, tools.names, node);
	const at = rewrite.integers("indices", backwards);
	return rewrite.finish(rewrite.writer.emit("Gather", [sums, at], { axis: intAttribute(axis) }, "taken"));
};

/** The last of equal elements -> the first of them, backwards, counted from the end. */
const lastIndex: Remedy = (operator, tools) => {
	const { node, inputs } = operator;
	const shape = fixedShape(inputs[0]?.shape);
	if (shape === undefined) return false;
	const axis = (intOf(node, "axis", 0) + shape.length) % shape.length;
	const rewrite = new Rewrite(operator, tools);
	const backwards = rewrite.elements(node.inputs[0]!, axis, reversed(shape[axis]!));
	const attributes = new Map(node.attributes);
	attributes.delete("select_last_index");
	const found = rewrite.writer.emit(node.op.type, [backwards], Object.fromEntries(attributes), "from_end");
	const last = rewrite.integers("last", [shape[axis]! - 1], []);
	return rewrite.finish(rewrite.writer.emit("Sub", [last, found], {}, "index"));
};

/** A MaxPool of three dimensions -> one over the last two and one over the first, with Reshapes around them. */
const poolInTurns: Remedy = (operator, tools) => {
	const { node, inputs, outputs } = operator;
	const [from, to] = [fixedShape(inputs[0]?.shape), fixedShape(outputs[0]?.shape)];
	const isPlain = node.outputs.length === 1 && !intsOf(node, "dilations").some((dilation) => dilation !== 1);
	if (from?.length !== 5 || to === undefined || !isPlain || stringOf(node, "auto_pad") !== undefined) return false;
	const kernel = intsOf(node, "kernel_shape");
	const [strides, pads] = [intsOf(node, "strides"), intsOf(node, "pads")];
	const rewrite = new Rewrite(operator, tools);
	const shaped = (value: Value, shape: readonly number[]) =>
		rewrite.rounded(rewrite.writer.emit("Reshape", [value, rewrite.integers("shape", shape)], {}, "shaped"));
	const pooled = (value: Value, axes: readonly (number | undefined)[]) => {
		const of = (list: readonly number[], fallback: number) =>
			axes.map((axis) => (axis === undefined ? fallback : (list[axis] ?? fallback)));
		const attributes = {
			kernel_shape: intsAttribute(of(kernel, 1)),
			strides: intsAttribute(of(strides, 1)),
			pads: intsAttribute([...of(pads, 0), ...of(pads.slice(3), 0)]),
			ceil_mode: intAttribute(intOf(node, "ceil_mode", 0)),
		};
		return rewrite.rounded(rewrite.writer.emit("MaxPool", [value], attributes, "largest"));
	};
	const [batch, channels, depth] = from as [number, number, number];
	let value = shaped(node.inputs[0]!, [batch, channels * depth, ...from.slice(3)]);
	value = pooled(value, [1, 2]);
	value = shaped(value, [batch, channels, depth, to[3]! * to[4]!]);
	value = pooled(value, [0, undefined]);
	return rewrite.finish(rewrite.writer.emit("Reshape", [value, rewrite.integers("shape", to)], {}, "volume"));
};

/** A Pad behind another one -> one Pad; of several axes -> one of all but the last, and one of the last alone, in a shape that keeps the two apart. */
export const padInTurns: Remedy = (operator, tools) => {
	if (joinPads(operator, tools)) return true;
	const { node, inputs, outputs } = operator;
	const [pads, axes] = [inputs[1]?.constant, inputs[3]?.constant];
	const [from, to] = [fixedShape(inputs[0]?.shape), fixedShape(outputs[0]?.shape)];
	if (pads === undefined || from === undefined || to === undefined) return false;
	const amounts = Array.from(numbersOf(pads));
	const count = amounts.length / 2;
	const rank = from.length;
	const stated = axes === undefined ? [...Array(count).keys()] : Array.from(numbersOf(axes));
	const isLast = (at: number) => (stated[at % count]! + rank) % rank === rank - 1;
	const rewrite = new Rewrite(operator, tools);
	const padded = (value: Value, numbers: readonly number[], rest: Node["inputs"]) => {
		const operands = [value, rewrite.integers("pads", numbers), ...rest];
		return rewrite.rounded(rewrite.writer.emit("Pad", operands, Object.fromEntries(node.attributes), "padded"));
	};
	const shaped = (value: Value, shape: readonly number[]) =>
		rewrite.writer.emit("Reshape", [value, rewrite.integers("shape", shape)], {}, "shaped");
	const others = amounts.map((amount, at) => (isLast(at) ? 0 : amount));
	const [source] = node.inputs;
	const first = others.some((amount) => amount !== 0) ? padded(source!, others, node.inputs.slice(2)) : source!;
	const [front, behind] = amounts.filter((_, at) => isLast(at)) as [number, number];
	const rows = [elementCount(to.slice(0, -1)), 1, 1, from.at(-1)!];
	const apart = rewrite.rounded(shaped(first, rows));
	return rewrite.finish(shaped(padded(apart, [0, 0, 0, front, 0, 0, 0, behind], node.inputs.slice(2, 3)), to));
};

/** An operator in a mode that the compiler refuses, or gets wrong -> others that do the same. */
export const otherMode: Remedy = (operator, tools) => {
	const { node } = operator;
	if (isOnnxOp(node, "Pad") && (stringOf(node, "mode") ?? "constant") === "constant") return unsign(operator, tools);
	if (isOnnxOp(node, "Resize", "Pad")) return takeElements(operator, tools);
	if (isOnnxOp(node, "CumSum")) return sumForwards(operator, tools);
	if (isOnnxOp(node, "ArgMax", "ArgMin")) return lastIndex(operator, tools);
	if (isOnnxOp(node, "AveragePool")) return coverWindows(operator, tools);
	if (isOnnxOp(node, "ConvTranspose")) return spreadKernel(operator, tools);
	if (!isOnnxOp(node, "MaxPool")) return false;
	if (intsOf(node, "dilations").some((dilation) => dilation !== 1)) return takeTaps(operator, tools);
	if (intOf(node, "ceil_mode", 0) === 1 && intsOf(node, "kernel_shape").length < 3)
		return padToWindows(operator, tools);
	return poolInTurns(operator, tools);
};
