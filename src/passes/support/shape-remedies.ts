import { intAttribute, intOf, intsAttribute, intsOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { int64Tensor } from "../../ir/tensor.js";
import { DataType, elementCount, tensorType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import type { OperatorFacts } from "../../targets/operator-facts.js";
import { addConstant, constantOf } from "../../weights/constant.js";
import { numbersOf } from "../../weights/numbers.js";
import { joinBesideAxis } from "./axis-remedies.js";
import { NodeWriter } from "./node-writer.js";
import { addQdq, encodingAt, encodingBehind, recoded } from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { replaceValue } from "./replace-value.js";
import { addReshape, reshapeAround, reshapeBehind, reshapeInput } from "./reshape-around.js";

/** Shapes, where all are fixed. */
function staticShapes({ inputs, outputs }: OperatorFacts): { input: number[]; output: number[] } | undefined {
	const [input, output] = [inputs[0]?.shape, outputs[0]?.shape];
	const isFixed = (shape: typeof input): shape is number[] => shape?.every((dim) => typeof dim === "number") === true;
	return isFixed(input) && isFixed(output) ? { input, output } : undefined;
}

/** The rows of an operator on the last axis as one matrix. */
export const flatten: Remedy = (operator, { model, names }) => {
	const shapes = staticShapes(operator);
	if (shapes === undefined || !isOfLastAxis(operator, shapes.input.length)) return false;
	const { input, output } = shapes;
	const isMatMul = isOnnxOp(operator.node, "MatMul");
	if (isMatMul && (operator.weight?.shape.length !== 2 || operator.weight.site.input !== 1)) return false;
	const rows = input.slice(0, -1).reduce((a, b) => a * b, 1);
	const [matrix, result] = [
		[rows, input.at(-1)!],
		[rows, output.at(-1)!],
	];
	reshapeAround(model, operator.node, { input: matrix, result, output }, names, isMatMul);
	return true;
};

/** A Concat over the last axis as one of matrices, of all rows each. */
export const joinRows: Remedy = ({ node, inputs, outputs }, { model, names }) => {
	const output = fixedShape(outputs[0]?.shape);
	const lengths = inputs.map((input) => input?.shape?.at(-1));
	if (output === undefined || !lengths.every((length) => typeof length === "number")) return false;
	const rows = elementCount(output.slice(0, -1));
	for (const [index, length] of lengths.entries()) reshapeInput(node, index, [rows, length], names);
	node.attributes.set("axis", intAttribute(-1));
	reshapeBehind(model, node, { result: [rows, output.at(-1)!], output }, names);
	return true;
};

/** A MatMul of several batches as one of a single batch. */
export const joinBatches: Remedy = ({ node, inputs, outputs }, { model, names }) => {
	const [left, right, output] = [...inputs, outputs[0]].map((operand) => fixedShape(operand?.shape));
	if (left === undefined || right === undefined || output === undefined) return false;
	if ([left, right].some((shape) => shape.slice(0, -2).join() !== output.slice(0, -2).join())) return false;
	const joined = (shape: readonly number[]) => [elementCount(shape.slice(0, -2)), ...shape.slice(-2)];
	reshapeInput(node, 0, joined(left), names);
	reshapeInput(node, 1, joined(right), names);
	reshapeBehind(model, node, { result: joined(output), output }, names);
	return true;
};

/** Operators along the axis that their attribute names, the last by default. */
const ALONG_AXIS = [
	...["LayerNormalization", "LogSoftmax", "LpNormalization", "RMSNormalization", "SimplifiedLayerNormalization"],
];

/** Operators that tell axes apart in other ways. */
const OF_AXES = [
	...[
		"ArgMax",
		"ArgMin",
		"BatchNormalization",
		"CumSum",
		"GlobalMaxPool",
		"Pad",
		"ReduceL2",
		"ReduceMax",
		"ReduceMin",
		"ReduceSum",
	],
	...["Slice", "TopK"],
];

/** Does the operator treat every row alike? */
function isOfLastAxis({ node, inputs }: OperatorFacts, rank: number): boolean {
	if (isOnnxOp(node, "MatMul")) return true;
	if (isOnnxOp(node, ...OF_AXES)) return false;
	if (!isOnnxOp(node, ...ALONG_AXIS))
		return inputs.slice(1).every((input) => input?.shape !== undefined && elementCount(input.shape as number[]) === 1);
	const axis = intOf(node, "axis", -1);
	return node.outputs.length === 1 && (axis === -1 || axis === rank - 1);
}

/** Positions in three dimensions as in two: [N, C, d, h, w] as [N, C, d * h, w]. */
const joinPositions: Remedy = (operator, { model, names }) => {
	const shapes = staticShapes(operator);
	if (shapes?.input.length !== 5) return false;
	const joined = ([batch, channels, depth, height, width]: readonly number[]) => [
		batch!,
		channels!,
		depth! * height!,
		width!,
	];
	const around = { input: joined(shapes.input), result: joined(shapes.output), output: shapes.output };
	reshapeAround(model, operator.node, around, names);
	return true;
};

/** An operator by element on operands of one shape, and vectors, on matrices. */
const joinOperands: Remedy = ({ node, inputs, outputs }, { model, names }) => {
	const output = fixedShape(outputs[0]?.shape);
	if (output === undefined) return false;
	const isWhole = inputs.map((input) => input?.shape?.join() === output.join());
	if (!inputs.every((input, index) => isWhole[index] || (input?.shape?.length ?? 2) < 2)) return false;
	const matrix = [elementCount(output.slice(0, -1)), output.at(-1)!];
	for (const index of inputs.keys()) if (isWhole[index]) reshapeInput(node, index, matrix, names);
	reshapeBehind(model, node, { result: matrix, output }, names);
	return true;
};

/** A reduction over axes beside each other: those before, these, and those behind are one axis each. */
const joinReduced: Remedy = (operator, { model, names }) => {
	const { node } = operator;
	const shapes = staticShapes(operator);
	const axes = shapes && reducedAxes(node, shapes.input.length);
	if (axes === undefined || axes.length === 0) return false;
	const [first, end] = [axes[0]!, axes.at(-1)! + 1];
	if (end - first !== axes.length) return false;
	const { input, output } = shapes!;
	const [before, reduced, behind] = [input.slice(0, first), input.slice(first, end), input.slice(end)].map(
		elementCount,
	) as [number, number, number];
	if (constantOf(node.inputs[1]) === undefined) node.attributes.set("axes", intsAttribute([1]));
	else node.setInput(1, addConstant(node.graph!, names.fresh(`${node.name}_axis`), int64Tensor([1], [1]), node));
	node.attributes.delete("keepdims");
	reshapeAround(model, node, { input: [before, reduced, behind], result: [before, 1, behind], output }, names);
	return true;
};

/** What a reduction is over, from the first axis on; undefined where that is computed. */
function reducedAxes(node: Node, rank: number): number[] | undefined {
	const stored = constantOf(node.inputs[1])?.tensor;
	if (stored === undefined && node.inputs[1] !== undefined) return undefined;
	const stated = stored === undefined ? intsOf(node, "axes") : Array.from(numbersOf(stored));
	return stated.map((axis) => (axis < 0 ? axis + rank : axis)).sort((a, b) => a - b);
}

/** An operator of too many dimensions with fewer. */
export const lowerRank: Remedy = (operator, tools) => {
	const { node } = operator;
	if (isOnnxOp(node, "BatchNormalization", "GlobalMaxPool")) return joinPositions(operator, tools);
	if (isOnnxOp(node, "ReduceL2", "ReduceLogSumExp")) return joinReduced(operator, tools);
	if (flatten(operator, tools) || joinBesideAxis(operator, tools)) return true;
	return isOnnxOp(node, "Max", "Min") && joinOperands(operator, tools);
};

/** The last two axes of the input exchanged, of which one has one element: for operators over both. */
export const exchangeLengths: Remedy = (operator, { names }) => {
	const { node } = operator;
	const input = node.inputs[0]!;
	const encoding = encodingBehind(input);
	const shape = staticShapes(operator)?.input;
	if (shape === undefined || encoding === undefined) return false;
	const line = node.graph!.createValue(names.fresh(`${input.name}_line`));
	const exchanged = [...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!];
	addReshape(node, { from: input, to: line, shape: exchanged, name: input.name, suffix: "line" }, names, node);
	node.setInput(0, addQdq(node.graph!, line, encoding, names, node));
	return true;
};

/** A ReduceMean over two axes, of which one has one element, over the other. */
export const reduceLonger: Remedy = (operator, { model, names }) => {
	const { node } = operator;
	const shapes = staticShapes(operator);
	if (!isOnnxOp(node, "ReduceMean") || shapes === undefined) return false;
	const { input, output } = shapes;
	const stored = constantOf(node.inputs[1])?.tensor;
	const axes = reducedAxes(node, input.length) ?? [];
	const longer = axes.find((axis) => input[axis] !== 1) ?? axes[0]!;
	if (stored === undefined) node.attributes.set("axes", intsAttribute([longer]));
	else node.setInput(1, addConstant(node.graph!, names.fresh(`${node.name}_axis`), int64Tensor([1], [longer]), node));
	if (intOf(node, "keepdims", 1) === 1) return true;
	node.attributes.delete("keepdims");
	reshapeBehind(model, node, { result: input.with(longer, 1), output }, names);
	return true;
};

/** One more axis, of length 1, in front of the last. */
export const addAxis: Remedy = (operator, { model, names }) => {
	const shapes = staticShapes(operator);
	if (shapes === undefined) return false;
	const longer = (shape: readonly number[]) => shape.toSpliced(-1, 0, 1);
	const around = { input: longer(shapes.input), result: longer(shapes.output), output: shapes.output };
	reshapeAround(model, operator.node, around, names);
	return true;
};

/** 16 rows or positions, the last axis but one or the last, as four times four; of a Gemm, which takes a matrix only, as 17. */
export const square: Remedy = (operator, tools) => {
	const shapes = staticShapes(operator);
	if (shapes === undefined) return false;
	if (isOnnxOp(operator.node, "Gemm")) return addRow(operator, tools);
	const { input, output } = shapes;
	const isMatMul = isOnnxOp(operator.node, "MatMul");
	const isRows = input.at(-2) === 16 && input.slice(0, -2).every((dim) => dim === 1);
	if (!isRows && (isMatMul || input.at(-1) !== 16)) return false;
	const squared = (shape: readonly number[]) => (isRows ? [4, 4, shape.at(-1)!] : [1, shape[1]!, 4, 4]);
	const around = { input: squared(input), result: squared(output), output };
	reshapeAround(tools.model, operator.node, around, tools.names, isMatMul);
	return true;
};

/** `Reshape` -> `Q -> DQ -> Reshape -> Q -> DQ -> Reshape` by way of a vector, in the encoding that is in front or behind, the vector as another type of 16 bits. */
export const throughVector: Remedy = (operator, { model, names }) => {
	const { node } = operator;
	const shapes = staticShapes(operator);
	const [source, output] = [node.inputs[0]!, node.outputs[0]!];
	const quantizer = output.uses.find((use) => isOnnxOp(use.node, "QuantizeLinear"))?.node;
	const encoding = encodingBehind(source) ?? (quantizer && encodingAt(quantizer));
	if (shapes === undefined || encoding === undefined) return false;
	const graph = node.graph!;
	const vector = graph.createValue(names.fresh(`${source.name}_vector`));
	const result = graph.createValue(names.fresh(`${output.name}_reshaped`));
	const { name } = output;
	replaceValue(model, output, result, names.fresh(`${name}_before`));
	const length = [elementCount(shapes.input)];
	const from = encodingBehind(source) === undefined ? addQdq(graph, source, encoding, names, node) : source;
	addReshape(node, { from, to: vector, shape: length, name: source.name, suffix: "vector" }, names, node);
	const other = recoded(encoding, encoding.dtype === DataType.UINT16 ? DataType.INT16 : DataType.UINT16);
	const rounded = addQdq(graph, vector, other, names, node);
	addReshape(node, { from: rounded, to: result, shape: shapes.output, name, suffix: "shaped" }, names, node);
	node.remove();
	return true;
};

/**
 * `DQ -> MatMul -> Q` -> `DQ -> Pad -> Q -> DQ -> MatMul -> Q -> DQ -> Slice -> Q`: a matrix with one more row of zeros, which
 * is cut off again, each pair in the encoding of its neighbour. For MatMul, with the Add behind it, and Gemm.
 */
export const addRow: Remedy = (operator, { model, names }) => {
	const { node, inputs, weight, fusedAdd, result } = operator;
	const shapes = staticShapes(operator);
	const source = node.inputs[0]!;
	const encoding = encodingBehind(source);
	const behind = result && encodingAt(result.node);
	const isVector = (inputs[2]?.shape ?? []).slice(0, -1).every((dim) => dim === 1);
	if (shapes === undefined || weight?.site.input !== 1 || intOf(node, "transA", 0) !== 0 || !isVector) return false;
	if (encoding === undefined || behind === undefined || shapes.input.length < 2) return false;
	const graph = node.graph!;
	const axis = shapes.input.length - 2;
	const rows = shapes.input[axis]!;
	const constant = (name: string, numbers: readonly number[], before: Node | undefined) =>
		addConstant(graph, names.fresh(name), int64Tensor([numbers.length], numbers), before);

	const pads = new Array<number>(2 * shapes.input.length).fill(0);
	pads[shapes.input.length + axis] = 1;
	const padded = graph.createValue(names.fresh(`${source.name}_padded`));
	const amounts = constant(`${source.name}_pads`, pads, node);
	const label = names.fresh(`${source.name}_Pad`);
	graph.createNode({ op: "Pad", name: label, inputs: [source, amounts], outputs: [padded] }, node);
	node.setInput(0, addQdq(graph, padded, encoding, names, node));

	const last = fusedAdd?.node ?? node;
	const output = last.outputs[0]!;
	const before = last.next;
	const rest = graph.createValue(names.fresh(`${output.name}_rows`));
	const { name } = output;
	replaceValue(model, output, rest, names.fresh(`${name}_padded`));
	for (const value of new Set([node.outputs[0]!, output])) lengthen(value, axis);
	const bounds = [[0], [rows], [axis]].map((numbers, index) =>
		constant(`${name}_${["starts", "ends", "axes"][index]}`, numbers, before),
	);
	const rounded = addQdq(graph, output, behind, names, before);
	const slice = names.fresh(`${name}_Slice`);
	graph.createNode({ op: "Slice", name: slice, inputs: [rounded, ...bounds], outputs: [rest] }, before);
	return true;
};

function lengthen(value: Value, axis: number): void {
	const { type } = value;
	if (type?.kind !== "tensor" || type.shape === undefined) return;
	const longer = type.shape.map((dim, index) => (index === axis && typeof dim === "number" ? dim + 1 : dim));
	value.type = tensorType(type.elementType, longer);
}

/** A Gather with indices of several axes -> Gather with a row of them, Reshape. */
export const gatherRow: Remedy = ({ node, inputs: [data, indices], outputs: [output] }, { names }) => {
	const [from, at, to] = [data, indices, output].map((operand) => fixedShape(operand?.shape));
	if (from === undefined || at === undefined || to === undefined) return false;
	const writer = new NodeWriter(node, names);
	const shape = (label: string, lengths: readonly number[]) =>
		writer.constant(label, int64Tensor([lengths.length], lengths));
	const row = writer.emit("Reshape", [node.inputs[1], shape("row_shape", [elementCount(at)])], {}, "row");
	const taken = writer.emit("Gather", [node.inputs[0], row], Object.fromEntries(node.attributes), "taken");
	const encoding = encodingBehind(node.inputs[0]);
	const rounded = encoding === undefined ? taken : addQdq(node.graph!, taken, encoding, names, node);
	writer.give(0, writer.emit("Reshape", [rounded, shape("shape", to)], {}, "shaped"));
	writer.finish();
	return true;
};
