import { intOf, intsAttribute, intsOf } from "../../ir/attribute.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { int64Tensor } from "../../ir/tensor.js";
import { tensorType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import type { TypeSource } from "../../targets/type-source.js";
import { addConstant } from "../../weights/constant.js";
import { GraphWriter } from "./node-writer.js";
import { addQdq, encodingBehind } from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { smallConstantOf } from "./small-constant.js";

/** Axes that a Transpose between Reshapes may have; a v68 fails to compile those of five. */
const LARGEST_RANK = { v68: 4, others: 5 };

/**
 * `Reshape -> Transpose -> Reshape` of more than five axes -> the same of fewer: those that stay beside each other are one.
 * Where these are too many, several Transposes, each of which exchanges two of four axes.
 */
export const joinAxes: Remedy = ({ node }, { names, architecture, types }) => {
	if (!isOnnxOp(node, "Transpose")) return false;
	const [from, to] = [node.inputs[0]!, node.outputs[0]!].map((value) => currentShape(value, types));
	if (from === undefined || from.length <= LARGEST_RANK.others) return false;
	const path = valuesTo(node.inputs[0]!);
	const first = path.at(-1)?.producer;
	const ends = to && readersOf(node.outputs[0]!, to);
	if (first === undefined || !isOnnxOp(first, "Reshape") || ends === undefined) return false;
	const groups = joinedAxes(from, intsOf(node, "perm").length > 0 ? intsOf(node, "perm") : reversed(from.length));
	const order = [...groups.keys()].sort((a, b) => groups[a]![0]! - groups[b]![0]!);
	const lengthOf = (at: number) => groups[at]!.reduce((length, axis) => length * from[axis]!, 1);
	const isFew = groups.length <= (architecture === "v68" ? LARGEST_RANK.v68 : LARGEST_RANK.others);
	const turns = isFew ? [wholeTurn(order, lengthOf)] : exchanges(order, lengthOf);
	reshapeTo(first, turns[0]!.shape, names.fresh(`${first.outputs[0]!.name}_joined`));
	for (const { reshape, shape } of ends) reshapeTo(reshape, shape, names.fresh(`${reshape.outputs[0]!.name}_shape`));
	const last = turns.at(-1)!;
	turnBefore(node, turns, names);
	node.attributes.set("perm", intsAttribute(last.perm));
	for (const value of path) restate(value, turns[0]!.shape);
	const result = last.perm.map((axis) => last.shape[axis]!);
	for (const value of ends.flatMap(({ values }) => values)) restate(value, result);
	return true;
};

/** A Transpose of what was reshaped. */
interface Turn {
	readonly shape: readonly number[];
	readonly perm: readonly number[];
}

/** `order` tells, of every group of axes as they are, where it goes; `lengthOf`, by where it goes, how long it is. */
function wholeTurn(order: readonly number[], lengthOf: (at: number) => number): Turn {
	return { shape: order.map(lengthOf), perm: order.map((_, at) => order.indexOf(at)) };
}

/** The same, as exchanges of two neighbours out of four axes. */
function exchanges(order: readonly number[], lengthOf: (at: number) => number): Turn[] {
	const turns: Turn[] = [];
	let current = [...order];
	for (const to of order.keys()) {
		const from = current.indexOf(to);
		if (from === to) continue;
		let end = from + 1;
		while (end < current.length && current[end] === current[end - 1]! + 1) end++;
		const parts = [current.slice(0, to), current.slice(to, from), current.slice(from, end), current.slice(end)];
		const shape = parts.map((part) => part.reduce((length, at) => length * lengthOf(at), 1));
		turns.push({ shape, perm: [0, 2, 1, 3] });
		current = [parts[0]!, parts[2]!, parts[1]!, parts[3]!].flat();
	}
	return turns;
}

/** All `turns` but the last in front of `node`, with Reshapes between, quantized as what it reads. */
function turnBefore(node: Node, turns: readonly Turn[], names: NameScope): void {
	const encoding = encodingBehind(node.inputs[0]);
	const rounded = (value: Value) =>
		encoding === undefined ? value : addQdq(node.graph!, value, encoding, names, node);
	const writer = new GraphWriter(node.graph!, names, node.name || node.outputs[0]!.name, node);
	let value = node.inputs[0]!;
	for (const [at, { perm }] of turns.slice(0, -1).entries()) {
		const turned = rounded(writer.emit("Transpose", [value], { perm: intsAttribute(perm) }, "turned"));
		const { shape } = turns[at + 1]!;
		const stated = writer.constant("shape", int64Tensor([shape.length], shape));
		value = rounded(writer.emit("Reshape", [turned, stated], {}, "reshaped"));
	}
	node.setInput(0, value);
}

/** The shape that a value has now: those that were inferred are from before anything was changed. */
export function currentShape(value: Value, types: TypeSource): readonly number[] | undefined {
	const stated = value.type?.kind === "tensor" ? fixedShape(value.type.shape) : undefined;
	return stated ?? fixedShape(types.shapeOf(value));
}

const reversed = (rank: number) => Array.from({ length: rank }, (_, axis) => rank - 1 - axis);

/** The axes of a permutation in the order behind it, those in a row that were in a row before together, without those of length 1. */
function joinedAxes(shape: readonly number[], perm: readonly number[]): number[][] {
	const real = [...shape.keys()].filter((axis) => shape[axis] !== 1);
	const groups: number[][] = [];
	for (const axis of perm) {
		if (shape[axis] === 1) continue;
		const last = groups.at(-1)?.at(-1);
		if (last !== undefined && real.indexOf(axis) === real.indexOf(last) + 1) groups.at(-1)!.push(axis);
		else groups.push([axis]);
	}
	return groups.length === 0 ? [[perm[0]!]] : groups;
}

/** `value` and what it comes out of through quantizers, as long as nothing else reads these; the last is the first computed. */
function valuesTo(value: Value): Value[] {
	const values = [value];
	for (let at = value; at.uses.length === 1 && !at.isGraphOutput; values.push(at)) {
		const producer = at.producer;
		if (producer === undefined || !isOnnxOp(producer, "QuantizeLinear", "DequantizeLinear")) return values;
		at = producer.inputs[0]!;
	}
	return [];
}

/** A Reshape that reads a value, what is between both, and what it makes. */
interface End {
	readonly reshape: Node;
	readonly shape: readonly number[];
	readonly values: readonly Value[];
}

/** The Reshapes that read `value` of shape `from`, through quantizers; undefined where something else does, or what they make is computed. */
function readersOf(value: Value, from: readonly number[], values: readonly Value[] = [value]): End[] | undefined {
	if (value.isGraphOutput || value.uses.length === 0) return undefined;
	const ends: End[] = [];
	for (const { node } of value.uses) {
		const output = node.outputs[0]!;
		if (isOnnxOp(node, "QuantizeLinear", "DequantizeLinear")) {
			const behind = readersOf(output, from, [...values, output]);
			if (behind === undefined) return undefined;
			ends.push(...behind);
			continue;
		}
		const stated = smallConstantOf(node.inputs[1])?.values;
		if (!isOnnxOp(node, "Reshape") || stated === undefined) return undefined;
		const copiesZeros = intOf(node, "allowzero", 0) === 0;
		const shape = Array.from(stated, (length, axis) => (length === 0 && copiesZeros ? from[axis]! : length));
		ends.push({ reshape: node, shape, values });
	}
	return ends;
}

function reshapeTo(reshape: Node, shape: readonly number[], name: string): void {
	const old = reshape.inputs[1]!;
	reshape.setInput(1, addConstant(reshape.graph!, name, int64Tensor([shape.length], shape), reshape));
	reshape.attributes.delete("allowzero");
	removeUnused(old);
}

function restate(value: Value, shape: readonly number[]): void {
	if (value.type?.kind === "tensor") value.type = tensorType(value.type.elementType, shape);
}
