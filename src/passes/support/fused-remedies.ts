import { floatAttribute, intAttribute } from "../../ir/attribute.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { floatTensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import { type Interval, intervalOf } from "../../quant/grid.js";
import { hardSwishStart, limitedResult, limitingBefore } from "../../targets/cut-range.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import { inputFacts } from "../../targets/operator-facts.js";
import { reducedAxes } from "../../targets/reduced-axes.js";
import type { TypeSource } from "../../targets/type-source.js";
import { halfOf } from "./half-tensor.js";
import { NodeWriter } from "./node-writer.js";
import { addQdq, addQuantizedConstant, codeRange, coveringEncoding, encodingAt, encodingOf } from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { reshapeBehind } from "./reshape-around.js";
import { insertPair } from "./separate-output.js";

/** A scale so much larger differs, and has every value of 16 bits keep its code. */
const DIFFERENT_SCALE = 1 + 2 ** -18;

/** `Mul(x, Sigmoid(x))` -> `Mul(DQ(Q(x)), Sigmoid(x))`, whose pair has another scale: no longer one operator for the compiler. */
export const separateGate: Remedy = ({ node, inputs }, { names }) => {
	const index = inputs.findIndex((input) => !isSigmoid(input?.quantization?.node));
	const encoding = inputs[index]?.quantization && encodingAt(inputs[index].quantization.node);
	if (encoding === undefined) return false;
	const other = encodingOf(encoding.dtype, encoding.scale * DIFFERENT_SCALE, encoding.zeroPoint);
	node.setInput(index, addQdq(node.graph!, inputs[index]!.value, other, names, node));
	return true;
};

/** A ReduceSum -> one that keeps its axes, and a Reshape that takes them off. */
export const keepAxes: Remedy = ({ node, outputs: [output], inputs: [input] }, { model, names }) => {
	const [from, to] = [fixedShape(input?.shape), fixedShape(output?.shape)];
	if (from === undefined || to === undefined) return false;
	const axes = reducedAxes(node, from.length);
	node.attributes.set("keepdims", intAttribute(1));
	const result = from.map((length, axis) => (axes.has(axis) ? 1 : length));
	reshapeBehind(model, node, { result, output: to }, names);
	return true;
};

function isSigmoid(dequantize: Node | undefined): boolean {
	const maker = dequantize?.inputs[0]?.producer?.inputs[0]?.producer;
	return maker !== undefined && isOnnxOp(maker, "Sigmoid");
}

/**
 * `Clip -> Q` -> `Clip -> Q -> DQ -> Q` whose first encoding ends where the limits are, its own and those in front of it; where
 * 0, which every encoding has, is outside of these, `Max -> Q -> DQ -> Min -> Q`.
 */
export const quantizeWithinLimits: Remedy = ({ node, outputs: [output] }, { model, names, types }) => {
	const limited = limitedResult(node, types);
	const behind = limited && encodingAt(limited.result.node);
	if (behind === undefined) return false;
	const range = intervalOf(behind);
	const within = { lo: Math.max(limited!.all.lo, range.lo), hi: Math.min(limited!.all.hi, range.hi) };
	if (within.lo > within.hi) return false;
	if (within.lo <= 0 && within.hi >= 0) insertPair(model, output!.value, coveringEncoding(behind.dtype, within), names);
	else return writeLimits(node, within, types, names);
	return true;
};

/** `HardSwish(x)` -> `Mul(x, DQ(Q(HardSigmoid(x))))`. */
export const writeHardSwish: Remedy = ({ node, inputs: [input] }, { names }) => {
	const before = input?.quantization && encodingAt(input.quantization.node);
	if (before === undefined) return false;
	const writer = new NodeWriter(node, names);
	const attributes = { alpha: floatAttribute(1 / 6), beta: floatAttribute(0.5) };
	const gate = writer.emit("HardSigmoid", [input!.value], attributes, "gate");
	const { min, max } = codeRange(before.dtype);
	const quantized = addQdq(node.graph!, gate, encodingOf(before.dtype, 1 / (max - min), min), names, node);
	writer.give(0, writer.emit("Mul", [input!.value, quantized], {}, "product"));
	writer.finish();
	return true;
};

/**
 * A Clip or Relu, and those in front of it with no codes between, as Max and Min, which the compiler does not take for what a
 * quantizer does anyway.
 */
function writeLimits(last: Node, { lo, hi }: Interval, types: TypeSource, names: NameScope): boolean {
	const row: Node[] = [];
	for (let node: Node | undefined = last; node !== undefined; node = limitingBefore(node)) row.push(node);
	const first = row.at(-1)!;
	const { quantization } = inputFacts(first.inputs[0]!, types);
	const encoding = quantization && encodingAt(quantization.node);
	const isKept = row.every((node) => isOnnxOp(node, "Clip") || (isOnnxOp(node, "Relu") && lo >= 0));
	if (encoding === undefined || !isKept) return false;
	const graph = last.graph!;
	const [result] = last.outputs;
	const stored = (name: string, limit: number) =>
		addQuantizedConstant(
			graph,
			`${last.name}_${name}`,
			{ shape: [], values: [limit], dtype: encoding.dtype },
			names,
			last,
		);
	const raised = graph.createValue(names.fresh(`${result!.name}_raised`), result!.type);
	const name = names.fresh(`${last.name}_Max`);
	graph.createNode({ op: "Max", name, inputs: [first.inputs[0]!, stored("lo", lo)], outputs: [raised] }, last);
	const inputs = [addQdq(graph, raised, encoding, names, last), stored("hi", hi)];
	const limits = row.flatMap((node) => node.inputs.slice(1));
	graph.replaceNode(last, { op: "Min", name: last.name, inputs, outputs: [result!] });
	for (const node of row.slice(1)) node.remove();
	for (const limit of limits) if (limit !== undefined) removeUnused(limit);
	return true;
}

/** `DQ -> HardSwish` -> `DQ -> Max -> Q -> DQ -> HardSwish` with the lower end of what is let through. */
export const limitFirst: Remedy = ({ node, inputs: [input] }, { names, types }) => {
	const start = hardSwishStart(node, types);
	const encoding = input?.quantization && encodingAt(input.quantization.node);
	if (start === undefined || encoding === undefined) return false;
	const graph = node.graph!;
	const limit = { shape: [], values: [start], dtype: encoding.dtype };
	const lowest = addQuantizedConstant(graph, `${node.name}_lo`, limit, names, node);
	const raised = graph.createValue(names.fresh(`${input!.value.name}_raised`), input!.value.type);
	graph.createNode(
		{ op: "Max", name: names.fresh(`${node.name}_Max`), inputs: [input!.value, lowest], outputs: [raised] },
		node,
	);
	node.setInput(0, addQdq(graph, raised, encoding, names, node));
	return true;
};

/** From there on a Tanh makes -1, as far as half floats tell. */
const FAR = -16;

/** `Tanh(x)` -> `Tanh(Max(x, -16))` on floats. */
export const limitFloats: Remedy = ({ node, inputs: [input] }, { names }) => {
	if (input === undefined) return false;
	const writer = new NodeWriter(node, names);
	const limit = floatTensor([], [FAR]);
	const lowest = writer.constant("lowest", input.dtype === DataType.FLOAT16 ? halfOf(limit) : limit);
	node.setInput(0, writer.emit("Max", [input.value, lowest], {}, "limited"));
	return true;
};
