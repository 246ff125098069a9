import { intAttribute, intOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { int64Tensor } from "../../ir/tensor.js";
import { DataType, elementCount } from "../../ir/types.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import { codesBehind } from "../../targets/raw-codes.js";
import { isDefault } from "../../targets/rules/default-value.js";
import { addConstant } from "../../weights/constant.js";
import { numbersOf } from "../../weights/numbers.js";
import { isOutputUsed, NodeWriter } from "./node-writer.js";
import { addParameters, encodingAt, sameEncoding } from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { reshapeAround } from "./reshape-around.js";
import { smallConstantOf } from "./small-constant.js";
import { spreadKernel } from "./spread-kernel.js";
import { normalizeFlat } from "./written-out.js";

/** What an operator reads of defaults, which whoever runs the model may replace, as constants. */
export const keepDefaults: Remedy = ({ node }, { model }) => {
	const defaults = node.inputs.filter(isDefault).filter((value) => value.graph === model.graph);
	for (const value of defaults) model.graph.removeInput(value);
	return defaults.length > 0;
};

/** An operator without the names of optional outputs that nobody reads. */
export const dropOutputs: Remedy = ({ node }) => {
	const last = node.outputs.findLastIndex((output) => output.uses.length > 0 || output.isGraphOutput);
	const unused = node.outputs.slice(Math.max(last, 0) + 1);
	for (const output of unused) node.removeOutput(output);
	return unused.length > 0;
};

/** Outputs of the graph with the shapes that they have. */
export const restateShapes: Remedy = ({ outputs }) => {
	for (const { value, shape } of outputs) {
		if (value.isGraphOutput && value.type?.kind === "tensor") value.type = { ...value.type, shape };
	}
	return true;
};

/** `GatherND(data, indices)` along batches -> `GatherND(data, Concat(place in the batch, indices))`. */
const countBatches: Remedy = ({ node, inputs: [data, indices] }, { names }) => {
	const batches = intOf(node, "batch_dims", 0);
	const [from, at] = [fixedShape(data?.shape), fixedShape(indices?.shape)];
	if (from === undefined || at === undefined) return false;
	const writer = new NodeWriter(node, names);
	const shape = [...at.slice(0, -1), batches];
	const places = Array.from({ length: elementCount(shape) }, (_, index) => {
		const axis = index % batches;
		const inner = elementCount(shape.slice(axis + 1, -1));
		return Math.floor(Math.floor(index / batches) / inner) % at[axis]!;
	});
	const place = writer.constant("places", int64Tensor(shape, places));
	const all = writer.emit("Concat", [place, node.inputs[1]], { axis: intAttribute(at.length - 1) }, "indices");
	node.setInput(1, all);
	node.attributes.delete("batch_dims");
	return true;
};

/** A GatherND of constant places in many axes -> one of rows, with a Reshape in front and one behind. */
const gatherRows: Remedy = ({ node, inputs: [data, indices], outputs: [output] }, { model, names }) => {
	const [from, at, to] = [data, indices, output].map((operand) => fixedShape(operand?.shape));
	const places = indices?.constant && Array.from(numbersOf(indices.constant));
	if (from === undefined || at === undefined || to === undefined || places === undefined) return false;
	const depth = at.at(-1)!;
	const count = elementCount(at.slice(0, -1));
	const rows = Array.from({ length: count }, (_, row) => {
		const place = places.slice(row * depth, (row + 1) * depth);
		return place.reduce((sum, index, axis) => sum * from[axis]! + (index < 0 ? index + from[axis]! : index), 0);
	});
	const width = elementCount(from.slice(depth));
	node.setInput(1, addConstant(node.graph!, names.fresh(`${node.name}_rows`), int64Tensor([count, 1], rows), node));
	const shapes = { input: [elementCount(from.slice(0, depth)), width], result: [count, width], output: to };
	reshapeAround(model, node, shapes, names);
	return true;
};

/** An operator in a form that is not taken -> another that computes the same. */
export const otherForm: Remedy = (operator, tools) => {
	const { node, inputs } = operator;
	if (isOnnxOp(node, "GatherND"))
		return (intOf(node, "batch_dims", 0) === 0 ? gatherRows : countBatches)(operator, tools);
	if (isOnnxOp(node, "LayerNormalization", "RMSNormalization")) return normalizeFlat(operator, tools);
	if (isOnnxOp(node, "Conv")) return spreadKernel(operator, tools);
	const [input] = node.inputs;
	const isOfOne = isOnnxOp(node, "Max", "Mean", "Min", "Sum") && node.inputs.length === 1;
	if (isOfOne || isOnnxOp(node, "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd")) {
		node.graph!.replaceNode(node, { op: "Identity", name: node.name, inputs: [input], outputs: [...node.outputs] });
		return true;
	}
	const dtype = inputs[0]?.dtype;
	if (!isOnnxOp(node, "GridSample") || (dtype !== DataType.FLOAT && dtype !== DataType.FLOAT16)) return false;
	const writer = new NodeWriter(node, tools.names);
	node.setInput(1, writer.emit("Cast", [node.inputs[1]], { to: intAttribute(dtype) }, "grid"));
	return true;
};

/** An operator on codes -> `DequantizeLinear -> operator -> QuantizeLinear`, in the encoding that the codes have. */
export const computeOnValues: Remedy = ({ node }, { names }) => {
	const sources = isOnnxOp(node, "Concat") ? node.inputs : node.inputs.slice(0, 1);
	const encodings = sources.map((value) => {
		const quantizer = value?.producer ?? codesBehind(node);
		return quantizer && encodingAt(quantizer);
	});
	const [encoding] = encodings;
	if (encoding === undefined || encodings.some((one) => one === undefined || !sameEncoding(one, encoding)))
		return false;
	const graph = node.graph!;
	for (const [index, codes] of sources.entries()) {
		const value = graph.createValue(names.fresh(`${codes!.name}_values`));
		const inputs = [codes, ...addParameters(graph, codes!.name, encoding, names, node)];
		const name = names.fresh(`${codes!.name}_DQ`);
		graph.createNode({ op: "DequantizeLinear", name, inputs, outputs: [value] }, node);
		node.setInput(index, value);
	}
	const before = node.next;
	const outputs = [...node.outputs];
	const { op, name, inputs, attributes } = node;
	node.releaseOutputs(outputs);
	const values = outputs.map((codes) => graph.createValue(names.fresh(`${codes.name}_values`)));
	graph.replaceNode(node, { op, name, inputs: [...inputs], outputs: values, attributes });
	for (const [index, codes] of outputs.entries()) {
		const parameters = addParameters(graph, codes.name, encoding, names, before);
		const label = names.fresh(`${codes.name}_Q`);
		const quantizer = { op: "QuantizeLinear", name: label, inputs: [values[index]!, ...parameters], outputs: [codes] };
		graph.createNode(quantizer, before);
	}
	return true;
};

/** A Dropout that is not told to drop anything, and whose mask nobody reads -> Identity. */
export const dropNothing: Remedy = ({ node }) => {
	const [data, , training] = node.inputs;
	const isIdle = training === undefined || smallConstantOf(training)?.values[0] === 0;
	if (!isOnnxOp(node, "Dropout") || !isIdle || data === undefined || isOutputUsed(node, 1)) return false;
	const [output] = node.outputs;
	node.graph!.replaceNode(node, { op: "Identity", name: node.name, inputs: [data], outputs: [output!] });
	return true;
};

/** An operator that gives back what it reads, its first input -> Identity. */
export const passOn: Remedy = ({ node }) => {
	node.graph!.replaceNode(node, {
		op: "Identity",
		name: node.name,
		inputs: [node.inputs[0]],
		outputs: [...node.outputs],
	});
	return true;
};
