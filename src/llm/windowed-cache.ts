import { intAttribute, intsAttribute, intsOf } from "../ir/attribute.js";
import type { Graph } from "../ir/graph.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { DataType, tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { vector } from "../passes/support/lengths.js";
import { NodeWriter } from "../passes/support/node-writer.js";
import { pruneTo } from "../passes/support/prune.js";
import { addParameters, addQdq, type Encoding, encodingAt } from "../passes/support/qdq.js";
import { forgetTypes, resizePorts } from "./decode-graph.js";
import { type GenaiConfig, layerName } from "./genai-config.js";
import { type GraphLengths, NAMES } from "./layer-graph.js";

/**
 * Gives a quantized layer graph the cache that the host moves, as in the models of Qualcomm's AI Hub: keys
 * [key heads, 1, size, past] and values [key heads, 1, past, size] of as many past positions as the context has beside those
 * of the graph, the latest last. New ones come out in the same form, and the products take it as it is, so that nothing of the
 * size of the cache is moved inside.
 */
export function windowCache(model: Model, config: GenaiConfig, { context, sequence }: GraphLengths): void {
	const { graph } = model;
	resizePorts(graph, { sequence, context: context - sequence, total: context });
	const builder = new WindowedCacheBuilder(model, config, sequence);
	for (let layer = 0; layer < config.layers; layer++) builder.turn(layer, context - sequence);
	pruneTo(graph, [...graph.outputs]);
	forgetTypes(graph);
}

/** A cache in the graph of layers. */
interface FoundCache {
	readonly past: Value;
	/** The past as real numbers. */
	readonly pastNumbers: Value;
	/** New ones: codes, which come out. */
	readonly own: Value;
	/** Of past and new ones. */
	readonly concat: Node;
	readonly encoding: Encoding;
	/** The product that reads all of them, as its second input. */
	readonly product: Node;
}

class WindowedCacheBuilder {
	readonly #graph: Graph;
	readonly #config: GenaiConfig;
	readonly #sequence: number;
	readonly #names: NameScope;

	constructor(model: Model, config: GenaiConfig, sequence: number) {
		this.#graph = model.graph;
		this.#config = config;
		this.#sequence = sequence;
		this.#names = new NameScope(model);
	}

	turn(layer: number, past: number): void {
		const { inputs, outputs, keyHeads, headSize } = this.#config;
		const keys = this.#find(layerName(inputs.pastKeys, layer), NAMES.newKey(layer));
		keys.past.type = tensorType(DataType.UINT8, [keyHeads, 1, headSize, past]);
		this.#rewrite(keys, layerName(outputs.presentKeys, layer), [headSize, this.#sequence], [1, 0, 3, 2]);
		const values = this.#find(layerName(inputs.pastValues, layer), NAMES.newValue(layer));
		values.past.type = tensorType(DataType.UINT8, [keyHeads, 1, past, headSize]);
		this.#rewrite(values, layerName(outputs.presentValues, layer), [this.#sequence, headSize], [1, 0, 2, 3]);
	}

	/** @param perm that makes the new form of [1, key heads, positions, size]. */
	#rewrite(cache: FoundCache, presentName: string, ends: readonly [number, number], perm: readonly number[]): void {
		const { pastNumbers, own, concat, encoding, product } = cache;
		const { keyHeads, heads } = this.#config;
		const writer = new NodeWriter(concat, this.#names);
		const present = this.#graph.createValue(presentName, tensorType(DataType.UINT8, [keyHeads, 1, ...ends]));
		const parameters = addParameters(this.#graph, presentName, encoding, this.#names, concat);
		const node = (op: string, input: Value, output: Value) => {
			const name = this.#names.fresh(`${presentName}_${op}`);
			this.#graph.createNode({ op, name, inputs: [input, ...parameters], outputs: [output] }, concat);
			return output;
		};
		node("QuantizeLinear", turnedFrom(own, perm, writer), present);
		const numbers = node("DequantizeLinear", present, this.#graph.createValue(this.#names.fresh(`${presentName}_dq`)));
		this.#graph.removeOutput(own);
		this.#graph.addOutput(present);
		const isKey = perm[3] === 2;
		const all = writer.emit("Concat", [pastNumbers, numbers], { axis: intAttribute(isKey ? 3 : 2) }, "window");
		product.setInput(1, addQdq(this.#graph, all, encoding, this.#names, concat));
		this.#reshapeInput(product, [keyHeads, 1, -1, 0]);
		this.#reshapeOutput(product, [1, heads, -1, 0]);
	}

	/** What a graph makes of a past and of new ones, and what reads both. */
	#find(pastName: string, newName: string): FoundCache {
		const past = this.#graph.inputs.find(({ name }) => name === pastName)!;
		const own = this.#graph.outputs.find(({ name }) => name === newName)!;
		const dequantize = past.uses[0]!.node;
		const pastNumbers = dequantize.outputs[0]!;
		const concat = pastNumbers.uses[0]!.node;
		const encoding = encodingAt(dequantize);
		let product = concat;
		while (isOnnxOp(product, "Concat", "Transpose", ...QUANTIZERS)) product = product.outputs[0]!.uses[0]!.node;
		if (!isOnnxOp(product, "MatMul") || encoding === undefined)
			throw new Error(`no product of codes reads '${pastName}'`);
		return { past, pastNumbers, own, concat, encoding, product };
	}

	/** Lets the first input of a product have the form `shape`. */
	#reshapeInput(product: Node, shape: readonly number[]): void {
		const input = product.inputs[0]!;
		const reshape = input.producer!.inputs[0]!.producer!.inputs[0]!.producer!;
		if (isOnnxOp(reshape, "Reshape")) {
			this.#setShape(reshape, shape);
			return;
		}
		const writer = new NodeWriter(product, this.#names);
		const formed = writer.emit("Reshape", [input, vector(writer, "form", ...shape)], {}, "formed");
		const encoding = encodingAt(input.producer!)!;
		product.setInput(0, addQdq(this.#graph, formed, encoding, this.#names, product));
	}

	/** Lets what comes out of a product have the form `shape` for its readers. */
	#reshapeOutput(product: Node, shape: readonly number[]): void {
		const dequantize = product.outputs[0]!.uses[0]!.node.outputs[0]!.uses[0]!.node;
		const output = dequantize.outputs[0]!;
		const reader = output.uses[0]!.node;
		if (isOnnxOp(reader, "Reshape")) {
			this.#setShape(reader, shape);
			return;
		}
		const readers = output.uses.map(({ node, index }) => ({ node, index }));
		const writer = new NodeWriter(reader, this.#names);
		const formed = writer.emit("Reshape", [output, vector(writer, "form", ...shape)], {}, "formed");
		const encoding = encodingAt(dequantize)!;
		const quantized = addQdq(this.#graph, formed, encoding, this.#names, reader);
		for (const { node, index } of readers) node.setInput(index, quantized);
	}

	#setShape(reshape: Node, shape: readonly number[]): void {
		reshape.setInput(1, vector(new NodeWriter(reshape, this.#names), "form", ...shape));
	}
}

const QUANTIZERS = ["QuantizeLinear", "DequantizeLinear"] as const;

/** A Transpose of what codes stand for, in one step with the Transpose that they come out of. */
function turnedFrom(codes: Value, perm: readonly number[], writer: NodeWriter): Value {
	const numbers = codes.producer!.inputs[0]!;
	const before = numbers.producer;
	const isTurned = before !== undefined && isOnnxOp(before, "Transpose");
	const order = isTurned ? intsOf(before, "perm") : [0, 1, 2, 3];
	const source = isTurned ? before.inputs[0] : numbers;
	return writer.emit("Transpose", [source], { perm: intsAttribute(perm.map((axis) => order[axis]!)) }, "turned");
}
