import { intAttribute, intOf, intsAttribute, intsOf } from "../../ir/attribute.js";
import type { Model } from "../../ir/model.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { int64Tensor } from "../../ir/tensor.js";
import { elementCount, tensorType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import type { TypeSource } from "../../targets/type-source.js";
import { addConstant } from "../../weights/constant.js";
import { currentShape } from "./rank-remedies.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { reshapeBehind } from "./reshape-around.js";
import { smallConstantOf } from "./small-constant.js";

/** The target has no more axes. */
export const MAX_RANK = 5;

const VIEWS: readonly string[] = ["Reshape", "Squeeze", "Unsqueeze", "Flatten"];
const QUANTIZERS: readonly string[] = ["QuantizeLinear", "DequantizeLinear"];

/** Operators on each element, whose inputs are broadcast. */
const ELEMENTWISE: readonly string[] = [
	..."Abs Add And Cast Clip Div Equal Erf Exp Gelu Greater HardSigmoid HardSwish Identity LeakyRelu Less Log Max Min Mul".split(
		" ",
	),
	..."Neg Not Or Pow Reciprocal Relu Sigmoid Sqrt Sub Tanh Where".split(" "),
];

/** Operators along the axis that their attribute names. */
const ALONG_AXIS: readonly string[] = ["Concat", "Split", "Softmax", "Gather"];

const REDUCTIONS: readonly string[] = ["ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"];

/** Which axis goes, by value. */
type Axes = Map<Value, number>;

/**
 * Values of more than five axes that hang together, one axis of which has the length 1 in all of them -> the same without it:
 * what computes them has other axes, Reshapes around keep what others read. As exporters write the batch of deformable
 * attention and of windows.
 */
export const dropUnitAxis: Remedy = ({ node }, { model, names, types }) => {
	if (isOnnxOp(node, ...VIEWS)) return false;
	const shapes = new Shapes(types);
	const start = [...node.inputs, ...node.outputs].find((value) => value !== undefined && shapes.isDeep(value));
	const lengths = start && shapes.of(start);
	if (start === undefined || lengths === undefined) return false;
	for (const [axis, length] of lengths.entries()) {
		const axes = length === 1 ? axesFrom(start, axis, shapes) : undefined;
		if (axes === undefined) continue;
		dropAxes(axes, shapes, model, names);
		return true;
	}
	return false;
};

class Shapes {
	readonly types: TypeSource;

	constructor(types: TypeSource) {
		this.types = types;
	}

	of(value: Value): readonly number[] | undefined {
		return currentShape(value, this.types);
	}

	isDeep(value: Value): boolean {
		return (this.of(value)?.length ?? 0) > MAX_RANK;
	}
}

/** The axes that go together with `axis` of `start`; undefined where not all can. */
function axesFrom(start: Value, axis: number, shapes: Shapes): Axes | undefined {
	const axes: Axes = new Map([[start, axis]]);
	for (const [value, at] of axes) {
		const isFixed = value.isGraphInput || value.isGraphOutput || value.initializer !== undefined;
		if (isFixed || shapes.types.elementTypeOf(value) === undefined || value.producer === undefined) return undefined;
		for (const node of [value.producer, ...value.uses.map((use) => use.node)]) {
			const found = axesAt(node, value, at, shapes);
			if (found === undefined) return undefined;
			for (const [other, otherAxis] of found) {
				if (!shapes.isDeep(other)) continue;
				if ((axes.get(other) ?? otherAxis) !== otherAxis || shapes.of(other)![otherAxis] !== 1) return undefined;
				axes.set(other, otherAxis);
			}
		}
	}
	return axes;
}

/** Where `axis` of `value` is in what else `node` reads and makes; undefined where it cannot go. */
function axesAt(node: Node, value: Value, axis: number, shapes: Shapes): [Value, number][] | undefined {
	const [input, output] = [node.inputs[0], node.outputs[0]];
	if (input === undefined || output === undefined) return undefined;
	if (isOnnxOp(node, ...VIEWS)) return value === input || value === output ? [] : undefined;
	if (isOnnxOp(node, ...QUANTIZERS)) {
		const scale = node.inputs[1] && shapes.of(node.inputs[1]);
		const isOne = scale !== undefined && elementCount(scale) === 1;
		return isOne ? [input, output].map((one) => [one, axis]) : undefined;
	}
	if (isOnnxOp(node, "Transpose")) {
		const perm = permOf(node, shapes);
		return value === input ? [[output, perm.indexOf(axis)]] : [[input, perm[axis]!]];
	}
	if (isOnnxOp(node, ...ELEMENTWISE)) return broadcastAxes(node, value, axis, shapes);
	if (isOnnxOp(node, "Slice")) {
		const along = smallConstantOf(node.inputs[3])?.values;
		const rank = shapes.of(input)?.length;
		if (along === undefined || rank === undefined) return undefined;
		return Array.from(along, (one) => (one + rank) % rank).includes(axis)
			? undefined
			: [input, output].map((one) => [one, axis]);
	}
	if (isOnnxOp(node, ...REDUCTIONS)) {
		const along = reducedAxes(node, shapes);
		if (along === undefined || along.includes(axis) || value !== input) return undefined;
		return [[input, axis]];
	}
	return isOnnxOp(node, ...ALONG_AXIS) ? axesAlong(node, value, axis, shapes) : undefined;
}

/** The axes that a reduction names and leaves out, counted from the front; undefined where it keeps them or they are computed. */
function reducedAxes(node: Node, shapes: Shapes): readonly number[] | undefined {
	const rank = shapes.of(node.inputs[0]!)?.length;
	const stated = node.inputs[1] === undefined ? intsOf(node, "axes") : smallConstantOf(node.inputs[1])?.values;
	if (rank === undefined || stated === undefined || stated.length === 0 || intOf(node, "keepdims", 1) !== 0)
		return undefined;
	return Array.from(stated, (one) => (one + rank) % rank);
}

function permOf(node: Node, shapes: Shapes): readonly number[] {
	const perm = intsOf(node, "perm");
	const rank = shapes.of(node.inputs[0]!)!.length;
	return perm.length > 0 ? perm : Array.from({ length: rank }, (_, at) => rank - 1 - at);
}

function broadcastAxes(node: Node, value: Value, axis: number, shapes: Shapes): [Value, number][] | undefined {
	const rank = shapes.of(node.outputs[0]!)?.length;
	if (rank === undefined) return undefined;
	const fromEnd = shapes.of(value)!.length - axis;
	const found: [Value, number][] = [];
	for (const operand of [...node.inputs, node.outputs[0]]) {
		if (operand === undefined) continue;
		const shape = shapes.of(operand);
		if (shape === undefined) return undefined;
		if (shape.length < fromEnd) continue;
		if (!shapes.isDeep(operand)) return undefined;
		found.push([operand, shape.length - fromEnd]);
	}
	return found;
}

/** The axis that the attribute names, counted from the front. */
function alongOf(node: Node, shapes: Shapes): number {
	const rank = shapes.of(node.inputs[0]!)!.length;
	const along = intOf(node, "axis", isOnnxOp(node, "Softmax") ? -1 : 0);
	return along < 0 ? along + rank : along;
}

function axesAlong(node: Node, value: Value, axis: number, shapes: Shapes): [Value, number][] | undefined {
	const along = alongOf(node, shapes);
	if (!isOnnxOp(node, "Gather")) {
		const operands = isOnnxOp(node, "Concat") ? node.inputs : node.inputs.slice(0, 1);
		return along === axis ? undefined : [...operands, ...node.outputs].map((operand) => [operand!, axis]);
	}
	const [data, indices] = node.inputs;
	const more = shapes.of(indices!)?.length;
	if (more === undefined || value === indices || !shapes.isDeep(data!)) return undefined;
	const shift = more - 1;
	const at = value === data ? axis : axis < along ? axis : axis - shift;
	if (at === along || (value !== data && axis >= along && axis < along + more)) return undefined;
	return [
		[data!, at],
		[node.outputs[0]!, at < along ? at : at + shift],
	];
}

/** Rewrites everything around `axes`. */
function dropAxes(axes: Axes, shapes: Shapes, model: Model, names: NameScope): void {
	const nodes = new Set<Node>();
	for (const value of axes.keys())
		for (const node of [value.producer!, ...value.uses.map((use) => use.node)]) nodes.add(node);
	const left = (value: Value) => {
		const shape = shapes.of(value)!;
		return axes.has(value) ? shape.toSpliced(axes.get(value)!, 1) : shape;
	};
	for (const node of nodes) {
		if (isOnnxOp(node, ...VIEWS)) reshapeTo(node, left(node.outputs[0]!), names);
		else if (isOnnxOp(node, "Transpose")) {
			const gone = axes.get(node.inputs[0]!)!;
			const perm = permOf(node, shapes).filter((at) => at !== gone);
			node.attributes.set("perm", intsAttribute(perm.map((at) => (at > gone ? at - 1 : at))));
		} else if (isOnnxOp(node, "Slice")) sliceAlong(node, axes.get(node.inputs[0]!)!, shapes, names);
		else if (isOnnxOp(node, ...REDUCTIONS))
			reduceAlong(node, axes.get(node.inputs[0]!)!, { axes, shapes, model, names });
		else if (isOnnxOp(node, ...ALONG_AXIS)) {
			const [along, gone] = [alongOf(node, shapes), axes.get(node.inputs[0]!)!];
			node.attributes.set("axis", intAttribute(along > gone ? along - 1 : along));
			restore(node, along, gone, { axes, shapes, model, names });
		}
	}
	for (const value of axes.keys()) value.type = tensorType(shapes.types.elementTypeOf(value)!, left(value));
}

interface Dropping {
	readonly axes: Axes;
	readonly shapes: Shapes;
	readonly model: Model;
	readonly names: NameScope;
}

/** Puts the axis back behind a Gather that makes no more than five. */
function restore(node: Node, along: number, gone: number, { axes, shapes, model, names }: Dropping): void {
	const output = node.outputs[0]!;
	if (!isOnnxOp(node, "Gather") || axes.has(output)) return;
	const shape = shapes.of(output)!;
	const at = gone < along ? gone : gone + shapes.of(node.inputs[1]!)!.length - 1;
	reshapeBehind(model, node, { result: shape.toSpliced(at, 1), output: shape }, names);
}

function reshapeTo(view: Node, shape: readonly number[], names: NameScope): void {
	const [input, old] = view.inputs;
	const output = view.outputs[0]!;
	const stated = addConstant(
		view.graph!,
		names.fresh(`${output.name}_shape`),
		int64Tensor([shape.length], shape),
		view,
	);
	if (isOnnxOp(view, "Reshape")) {
		view.setInput(1, stated);
		view.attributes.delete("allowzero");
	} else view.graph!.replaceNode(view, { op: "Reshape", name: view.name, inputs: [input!, stated], outputs: [output] });
	if (old !== undefined) removeUnused(old);
}

/** A reduction over the axes that are left of those that it named, and the axis back behind it. */
function reduceAlong(node: Node, gone: number, { shapes, model, names }: Dropping): void {
	const along = reducedAxes(node, shapes)!;
	const left = along.map((one) => (one > gone ? one - 1 : one));
	const old = node.inputs[1];
	if (old === undefined) node.attributes.set("axes", intsAttribute(left));
	else {
		const name = names.fresh(`${node.outputs[0]!.name}_axes`);
		node.setInput(1, addConstant(node.graph!, name, int64Tensor([left.length], left), node));
		removeUnused(old);
	}
	const shape = shapes.of(node.outputs[0]!)!;
	const at = gone - along.filter((one) => one < gone).length;
	reshapeBehind(model, node, { result: shape.toSpliced(at, 1), output: shape }, names);
}

function sliceAlong(node: Node, gone: number, shapes: Shapes, names: NameScope): void {
	const old = node.inputs[3]!;
	const rank = shapes.of(node.inputs[0]!)!.length;
	const along = Array.from(smallConstantOf(old)!.values, (one) => (one + rank) % rank);
	const axes = int64Tensor(
		[along.length],
		along.map((one) => (one > gone ? one - 1 : one)),
	);
	node.setInput(3, addConstant(node.graph!, names.fresh(`${node.outputs[0]!.name}_axes`), axes, node));
	removeUnused(old);
}
