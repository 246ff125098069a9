import { intAttribute, intOf } from "../../ir/attribute.js";
import type { Node } from "../../ir/node.js";
import { floatTensor, int64Tensor } from "../../ir/tensor.js";
import { elementCount } from "../../ir/types.js";
import { codeOf, intervalOf } from "../../quant/grid.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import type { OperandFacts } from "../../targets/operator-facts.js";
import { rowsBehind } from "../../targets/rules/turned-views.js";
import { numbersOf } from "../../weights/numbers.js";
import { encodingOfOperand } from "./encoding-remedies.js";
import { isOutputUsed, NodeWriter } from "./node-writer.js";
import { addParameters, addQdq, addQuantizedConstant, codesTensor } from "./qdq.js";
import type { Remedy, Tools } from "./remedy.js";

/** `DQ -> node` -> `DQ -> Max(least code) -> Q -> DQ -> node`: the same codes, and an operator that views do not pass. */
function raise(node: Node, index: number, operand: OperandFacts | undefined, { names }: Tools): boolean {
	const encoding = encodingOfOperand(operand);
	if (encoding === undefined) return false;
	const graph = node.graph!;
	const least = { shape: [], values: [intervalOf(encoding).lo], dtype: encoding.dtype };
	const lowest = addQuantizedConstant(graph, `${node.name}_least`, least, names, node);
	const raised = graph.createValue(names.fresh(`${operand!.value.name}_raised`), operand!.value.type);
	const name = names.fresh(`${node.name}_Max`);
	graph.createNode({ op: "Max", name, inputs: [operand!.value, lowest], outputs: [raised] }, node);
	node.setInput(index, addQdq(graph, raised, encoding, names, node));
	return true;
}

/** A Max in front of what an operator reads first. */
export const raiseInput: Remedy = ({ node, inputs: [input] }, tools) => raise(node, 0, input, tools);

/** A Max in front of both operands. */
export const raiseBoth: Remedy = ({ node, inputs }, tools) =>
	inputs.map((operand, index) => raise(node, index, operand, tools)).includes(true);

/** `Pad(x)` behind one axis -> `Concat(x, numbers)`. */
export const appendRows: Remedy = (operator, { names }) => {
	const { node, inputs, outputs } = operator;
	const [count, shape] = [rowsBehind(operator), fixedShape(outputs[0]?.shape)];
	const encoding = encodingOfOperand(inputs[0]);
	const stored = inputs[2]?.constant;
	if (count === undefined || shape === undefined || encoding === undefined) return false;
	if (inputs[2] !== undefined && stored === undefined) return false;
	const number = stored === undefined ? 0 : numbersOf(stored)[0]!;
	const axis = shape.length - 2;
	const rows = shape.with(axis, count);
	const writer = new NodeWriter(node, names);
	const isCode = intervalOf(encoding).lo <= number && number <= intervalOf(encoding).hi;
	const codes = new Array<number>(elementCount(rows)).fill(codeOf(number, encoding));
	const numbers = isCode
		? writer.emit(
				"DequantizeLinear",
				[
					writer.constant("codes", codesTensor(encoding.dtype, rows, codes)),
					...addParameters(node.graph!, `${node.name}_rows`, encoding, names, node),
				],
				{},
				"rows",
			)
		: writer.constant("rows", floatTensor(rows, new Array<number>(elementCount(rows)).fill(number)));
	writer.give(0, writer.emit("Concat", [node.inputs[0], numbers], { axis: intAttribute(axis) }, "longer"));
	writer.finish();
	return true;
};

/** `Gather(x)` or `Slice(x)` of the first column -> `Gather(Reshape(x))` of every fourth number, in its shape. */
export const gatherFirsts: Remedy = ({ node, inputs: [input], outputs: [output] }, { names }) => {
	const [from, to] = [fixedShape(input?.shape), fixedShape(output?.shape)];
	if (from === undefined || to === undefined) return false;
	const count = elementCount(from);
	const width = from.at(-1)!;
	const writer = new NodeWriter(node, names);
	const vector = writer.constant("vector", int64Tensor([1], [count]));
	const all = writer.emit("Reshape", [node.inputs[0], vector], {}, "all");
	const firsts = Array.from({ length: count / width }, (_, row) => row * width);
	const indices = writer.constant("indices", int64Tensor([firsts.length], firsts));
	const taken = writer.emit("Gather", [all, indices], { axis: intAttribute(0) }, "taken");
	const shape = writer.constant("shape", int64Tensor([to.length], to));
	writer.give(0, writer.emit("Reshape", [taken, shape], {}, "shaped"));
	writer.finish();
	return true;
};

/** The numbers of `TopK(x)` -> `GatherElements(x, indices)`. */
export const gatherLargest: Remedy = ({ node, outputs: [numbers] }, { names }) => {
	const [input] = node.inputs;
	if (numbers === undefined || input === undefined || node.outputs.length !== 2) return false;
	const writer = new NodeWriter(node, names);
	const attributes = Object.fromEntries(node.attributes);
	const [, indices] = writer.emitSeveral("TopK", node.inputs, ["numbers", "indices"], attributes);
	const axis = { axis: intAttribute(intOf(node, "axis", -1)) };
	const order = isOutputUsed(node, 1) ? writer.emit("Identity", [indices], {}, "order") : undefined;
	writer.give(0, writer.emit("GatherElements", [input, indices], axis, "gathered"));
	if (order !== undefined) writer.give(1, order);
	writer.finish();
	return true;
};
