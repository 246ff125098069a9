import { intOf, intsAttribute, intsOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { int64Tensor } from "../../ir/tensor.js";
import { tensorType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import type { TypeSource } from "../../targets/type-source.js";
import { addConstant } from "../../weights/constant.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { smallConstantOf } from "./small-constant.js";

/** Axes that a Transpose between Reshapes may have; a v68 fails to compile those of five. */
const LARGEST_RANK = { v68: 4, others: 5 };

/** `Reshape -> Transpose -> Reshape` of more than five axes -> the same of fewer: those that stay beside each other are one. */
export const joinAxes: Remedy = ({ node }, { names, architecture, types }) => {
	if (!isOnnxOp(node, "Transpose")) return false;
	const [from, to] = [node.inputs[0]!, node.outputs[0]!].map((value) => currentShape(value, types));
	if (from === undefined || from.length <= LARGEST_RANK.others) return false;
	const path = valuesTo(node.inputs[0]!);
	const first = path.at(-1)?.producer;
	const ends = to && readersOf(node.outputs[0]!, to);
	if (first === undefined || !isOnnxOp(first, "Reshape") || ends === undefined) return false;
	const groups = joinedAxes(from, intsOf(node, "perm").length > 0 ? intsOf(node, "perm") : reversed(from.length));
	if (groups.length > (architecture === "v68" ? LARGEST_RANK.v68 : LARGEST_RANK.others)) return false;
	const order = [...groups.keys()].sort((a, b) => groups[a]![0]! - groups[b]![0]!);
	const lengthOf = (at: number) => groups[at]!.reduce((length, axis) => length * from[axis]!, 1);
	reshapeTo(first, order.map(lengthOf), names.fresh(`${first.outputs[0]!.name}_joined`));
	for (const { reshape, shape } of ends) reshapeTo(reshape, shape, names.fresh(`${reshape.outputs[0]!.name}_shape`));
	node.attributes.set("perm", intsAttribute([...groups.keys()].map((at) => order.indexOf(at))));
	for (const value of path) restate(value, order.map(lengthOf));
	for (const value of ends.flatMap(({ values }) => values)) restate(value, [...groups.keys()].map(lengthOf));
	return true;
};

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
