import { intAttribute, intsAttribute } from "../ir/attribute.js";
import { type Model, onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { DataType, tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { lowerGroupQuery } from "../passes/support/group-query-lowering.js";
import { vector } from "../passes/support/lengths.js";
import { moveOutput, NodeWriter } from "../passes/support/node-writer.js";
import { rmsNormOperator } from "../passes/support/normalization.js";
import { pruneTo } from "../passes/support/prune.js";
import { type RotaryTables, rotate } from "../passes/support/rotary.js";
import { constantOf } from "../weights/constant.js";
import { type Attention, type Decoder, EMBEDDED, findDecoder, type RotaryNode } from "./decoder.js";
import type { GenaiConfig } from "./genai-config.js";
import { isMask, isRotary, type RotaryUse, sharedInputsOf } from "./shared-inputs.js";

/** How many tokens the graphs take at once, and how many past ones there is room for. */
export interface GraphLengths {
	readonly sequence: number;
	readonly context: number;
}

/** Names of the values that go from one graph of the pipeline to another. */
export const NAMES = {
	embedded: EMBEDDED,
	hidden: "hidden_states",
	lastIndex: "last_idx",
	newKey: (layer: number) => `new.${layer}.key`,
	newValue: (layer: number) => `new.${layer}.value`,
	cacheIndex: "kv_index",
	lastPosition: "past_seq_len",
	totalLength: "total_seq_len",
} as const;

/** Is it the name of new keys or values? */
export function isNew(name: string): boolean {
	return /^new\.\d+\.(key|value)$/.test(name);
}

const FIXED_NAMES: ReadonlySet<string> = new Set(Object.values(NAMES).filter((name) => typeof name === "string"));

/** Gives values of a decoder that have the name of what goes from one graph of the pipeline to another, and are no inputs, other names. */
export function freeNames(model: Model): void {
	const names = new NameScope(model);
	const { graph } = model;
	const values = [...graph.initializers].filter((value) => !value.isGraphInput);
	for (const node of graph.nodes) values.push(...node.outputs);
	for (const value of values) {
		const { name } = value;
		if (FIXED_NAMES.has(name) || isNew(name) || isMask(name) || isRotary(name))
			value.name = names.fresh(`${name}_inside`);
	}
}

/**
 * Makes a decoder, its embedding cut off, the static graph of its layers: embedded tokens, mask, rotary rows and past go in, the state in front of
 * the head and the new keys and values come out, the past stays as it is. Of several tokens only the state of the one at
 * `last_idx` comes out.
 */
export function makeLayerGraph(model: Model, config: GenaiConfig, lengths: GraphLengths): void {
	freeNames(model);
	const decoder = findDecoder(model, config, lengths);
	const builder = new LayerGraphBuilder(model, decoder, config, lengths);
	for (const rotary of decoder.rotaries) builder.turn(rotary);
	const outputs = decoder.attentions.flatMap((attention) => builder.lower(attention));
	const hidden = builder.hidden();
	pruneTo(model.graph, [hidden, ...outputs]);
}

class LayerGraphBuilder {
	readonly #model: Model;
	readonly #decoder: Decoder;
	readonly #config: GenaiConfig;
	readonly #lengths: GraphLengths;
	readonly #names: NameScope;
	readonly #inputs: Map<string, Value> = new Map();
	readonly #shared: ReturnType<typeof sharedInputsOf>;

	constructor(model: Model, decoder: Decoder, config: GenaiConfig, lengths: GraphLengths) {
		this.#model = model;
		this.#decoder = decoder;
		this.#config = config;
		this.#lengths = lengths;
		this.#names = new NameScope(model);
		this.#shared = sharedInputsOf(decoder);
	}

	/** Returns its new keys and values. */
	lower(attention: Attention): Value[] {
		const { node, form, layer } = attention;
		const { graph } = this.#model;
		const { sequence, context } = this.#lengths;
		const { keyHeads, headSize } = this.#config;
		const writer = new NodeWriter(node, this.#names);
		const outputs: Value[] = [];
		lowerGroupQuery(writer, form, {
			norm: rmsNormOperator(onnxOpset(this.#model) ?? 0),
			rows: (rotary) => this.#rows(rotary),
			mask: () => this.#input(this.#shared.maskOf(attention), form.dtype, [1, 1, sequence, context + sequence]),
			all: (kind, own) => {
				const name = kind === "key" ? NAMES.newKey(layer) : NAMES.newValue(layer);
				const output = graph.createValue(name, tensorType(form.dtype, [1, keyHeads, sequence, headSize]));
				moveOutput(own, output);
				outputs.push(output);
				return writer.emit("Concat", [form.past[kind], output], { axis: intAttribute(2) }, `all_${kind}s`);
			},
		});
		for (const output of node.outputs.slice(1)) if (output.isGraphOutput) graph.removeOutput(output);
		writer.finish();
		return outputs;
	}

	/** Writes a rotary embedding outside of the attention. */
	turn({ node, call }: RotaryNode): void {
		const writer = new NodeWriter(node, this.#names);
		const { x, shape, form, caches } = call;
		const isFlat = shape.length === 3;
		const flatShape = vector(writer, "heads", 0, 0, -1, form.headSize);
		const headsLast = { perm: intsAttribute([0, 2, 1, 3]) };
		const heads = isFlat
			? writer.emit("Reshape", [x, flatShape], {}, "heads_of")
			: writer.emit("Transpose", [x], headsLast, "heads_of");
		const turned = rotate(writer, heads, form, this.#rows({ ...form, caches }));
		writer.give(
			0,
			isFlat
				? writer.emit("Reshape", [turned, vector(writer, "flat", 0, 0, -1)])
				: writer.emit("Transpose", [turned], headsLast),
		);
		writer.finish();
	}

	/** Inputs for the rows of rotary tables, [1, sequence, 1, rotated size]. */
	#rows(use: RotaryUse): RotaryTables {
		const { cos, sin } = this.#shared.rotaryOf(use);
		const shape = [1, this.#lengths.sequence, 1, use.rotatedSize];
		const dtype = constantOf(use.caches.cos)!.tensor.dtype;
		return { cos: this.#input(cos, dtype, shape), sin: this.#input(sin, dtype, shape) };
	}

	/** The state in front of the head, as an output. */
	hidden(): Value {
		const { graph } = this.#model;
		const { hidden } = this.#decoder;
		const type = tensorType(this.#decoder.dtype, [1, 1, this.#config.hiddenSize]);
		const output = graph.createValue(NAMES.hidden, type);
		const spec =
			this.#lengths.sequence === 1
				? { op: "Identity", inputs: [hidden] }
				: {
						op: "Gather",
						inputs: [hidden, this.#input(NAMES.lastIndex, DataType.INT32, [1])],
						attributes: { axis: intAttribute(1) },
					};
		graph.createNode({ ...spec, name: "last_state", outputs: [output] });
		return output;
	}

	#input(name: string, dtype: DataType, shape: readonly number[]): Value {
		const known = this.#inputs.get(name);
		if (known !== undefined) return known;
		const value = this.#model.graph.createValue(this.#names.fresh(name), tensorType(dtype, shape));
		this.#model.graph.addInput(value);
		this.#inputs.set(name, value);
		return value;
	}
}
