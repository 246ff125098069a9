import { inferTypes } from "../inference/index.js";
import { intAttribute } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp } from "../ir/node.js";
import { bytesOf, tensor } from "../ir/tensor.js";
import { DataType, type Dimension, tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { floatScalar } from "../passes/support/attention.js";
import { inWindow } from "../passes/support/causal-mask.js";
import { rangeOf, scalar, vector } from "../passes/support/lengths.js";
import { GraphWriter, moveOutput } from "../passes/support/node-writer.js";
import { pruneTo } from "../passes/support/prune.js";
import { RotaryRows } from "../passes/support/rotary-tables.js";
import { transposedData } from "../passes/support/transposed-data.js";
import { constantOf } from "../weights/constant.js";
import { type Decoder, embeddedOf, findDecoder } from "./decoder.js";
import type { GenaiConfig } from "./genai-config.js";
import { freeNames, NAMES } from "./layer-graph.js";
import type { LlmJob } from "./llm-job.js";
import { sharedInputsOf } from "./shared-inputs.js";

export interface FrontOptions {
	/** Length of the cache. */
	readonly context: number;
	/** Does the host move the cache, so that the latest positions are the last columns of the mask? */
	readonly isWindowed: boolean;
	/** Positions of the past that the mask has columns for; default all of the cache. */
	readonly past?: number;
	/** The id that fills a prompt up: no token of the model. */
	readonly padToken: number;
	/** What is added to the scores of positions that are not seen. */
	readonly masked: number;
}

/** What the front of a job's pipeline is to be like. */
export function frontOptions({ layout, lengths, padToken }: LlmJob, masked: number): FrontOptions {
	return { context: lengths.context, isWindowed: layout === "B", padToken, masked };
}

/**
 * Makes a decoder the graph in front of its layers, for any number of tokens: looks tokens up and computes from the position
 * of the last one what the layers share, which is the mask, rows of rotary tables, where the cache takes the new keys,
 * and which token is the last that does not fill up. Where the host moves the cache, positions and what is filled are given.
 */
export function makeFrontGraph(model: Model, config: GenaiConfig, options: FrontOptions): void {
	freeNames(model);
	const decoder = findDecoder(model, config, { sequence: 1, context: options.context });
	pruneTo(model.graph, new FrontGraphBuilder(model, decoder, config, options).outputs());
	if (options.isWindowed) return;
	// GenAI tells positions only to a graph that takes both
	model.graph.addInput(model.graph.createValue(NAMES.totalLength, tensorType(DataType.INT32, [1])));
}

/** Which columns of a mask rows of tokens see, [sequence, total] of BOOL. */
type SeenColumns = (window: number) => Value;

class FrontGraphBuilder {
	readonly #model: Model;
	readonly #decoder: Decoder;
	readonly #config: GenaiConfig;
	readonly #options: FrontOptions;
	readonly #writer: GraphWriter;

	constructor(model: Model, decoder: Decoder, config: GenaiConfig, options: FrontOptions) {
		this.#model = model;
		this.#decoder = decoder;
		this.#config = config;
		this.#options = options;
		this.#writer = new GraphWriter(model.graph, new NameScope(model), "front");
	}

	outputs(): Value[] {
		const writer = this.#writer;
		const ids = this.#ids();
		const shape = writer.emit("Shape", [ids], {}, "ids_shape");
		const length = writer.emit("Gather", [shape, scalar(writer, 1)], { axis: intAttribute(0) }, "length");
		const lastIndex = this.#lastIndex(ids, length);
		if (this.#options.isWindowed) {
			const positions = writer.emit("Squeeze", [
				this.#input(this.#config.inputs.positions, [1, SEQUENCE]),
				vector(writer, "batch", 0),
			]);
			const own = writer.emit("Cast", [positions], TO_INT64, "own_positions");
			return [this.#embedded(), ...this.#masks(this.#seenInWindow(length)), ...this.#rows(own), lastIndex];
		}
		const last = writer.emit("Squeeze", [this.#input(NAMES.lastPosition, [1, 1])]);
		const end = writer.emit("Add", [writer.emit("Cast", [last], TO_INT64, "last"), scalar(writer, 1)], {}, "end");
		const first = writer.emit("Sub", [end, length], {}, "first");
		const own = rangeOf(writer, first, end);
		return [
			this.#embedded(),
			...this.#masks(this.#seenBehind(first, own)),
			...this.#rows(own),
			this.#cacheIndex(own, length),
			lastIndex,
		];
	}

	#embedded(): Value {
		const looked = embeddedOf(this.#model, this.#config);
		this.#straightenTable(looked.producer!.inputs[0]!);
		const embedded = this.#writer.emit("Identity", [looked], {}, "embedded");
		const type = inferTypes(this.#model).typeOf(looked);
		const dtype = type?.kind === "tensor" ? type.elementType : DataType.FLOAT;
		return this.#named(embedded, NAMES.embedded, [1, SEQUENCE, this.#config.hiddenSize], dtype);
	}

	/** A table that is the transpose of the head's weights becomes a table, so that no run transposes it. */
	#straightenTable(table: Value): void {
		const { producer } = table;
		if (producer === undefined || !isOnnxOp(producer, "Transpose")) return;
		const source = constantOf(producer.inputs[0])?.tensor;
		if (source?.shape.length !== 2) return;
		const [rows, columns] = source.shape as readonly [number, number];
		const data = transposedData(source.data, source.dtype, rows, columns);
		table.replaceUsesWith(this.#writer.constant("table", tensor(source.dtype, [columns, rows], data)));
	}

	/** The ids as GenAI gives them to a pipeline: of 32 bits, of any number. */
	#ids(): Value {
		const ids = this.#model.graph.inputs.find(({ name }) => name === this.#config.inputs.ids)!;
		ids.type = tensorType(DataType.INT32, [1, SEQUENCE]);
		return ids;
	}

	/** An input of 32-bit integers; one of the model that has the name goes, with what it was for. */
	#input(name: string, shape: readonly Dimension[]): Value {
		const { graph } = this.#model;
		const known = graph.inputs.find((input) => input.name === name);
		if (known !== undefined) {
			known.type = tensorType(DataType.INT32, shape);
			return known;
		}
		const value = graph.createValue(name, tensorType(DataType.INT32, shape));
		graph.addInput(value);
		return value;
	}

	/** Past positions are seen where they are filled, own ones up to oneself. */
	#seenBehind(first: Value, own: Value): SeenColumns {
		const writer = this.#writer;
		const { context, past = context } = this.#options;
		const rows = writer.emit("Unsqueeze", [own, vector(writer, "column_axis", 1)], {}, "rows");
		const columns = rangeOf(writer, scalar(writer, 0), scalar(writer, past));
		const isOwn = writer.emit("LessOrEqual", [own, rows], {}, "is_before");
		const isFilled = writer.emit("Less", [columns, first], {}, "is_filled");
		const everyRow = writer.emit("GreaterOrEqual", [rows, first], {}, "every_row");
		const isPast = writer.emit("And", [isFilled, everyRow], {}, "is_past");
		return (window) => {
			const parts = [this.#within(isPast, columns, rows, window), this.#within(isOwn, own, rows, window)];
			return writer.emit("Concat", parts, { axis: intAttribute(1) }, "all_seen");
		};
	}

	/** Columns are seen where the host says that something is there, up to that of the row, the last of which is the last. */
	#seenInWindow(length: Value): SeenColumns {
		const writer = this.#writer;
		const { context } = this.#options;
		const end = scalar(writer, context);
		const columns = rangeOf(writer, scalar(writer, 0), end);
		const own = rangeOf(writer, writer.emit("Sub", [end, length], {}, "first_own"), end);
		const rows = writer.emit("Unsqueeze", [own, vector(writer, "column_axis", 1)], {}, "rows");
		const there = this.#input(this.#config.inputs.mask, [1, context]);
		const isThere = writer.emit("Cast", [there], { to: intAttribute(DataType.BOOL) }, "is_there");
		const isBefore = writer.emit("LessOrEqual", [columns, rows], {}, "is_before");
		const seen = writer.emit("And", [isThere, isBefore], {}, "is_seen");
		return (window) => this.#within(seen, columns, rows, window);
	}

	#within(seen: Value, columns: Value, rows: Value, window: number): Value {
		if (window === 0) return seen;
		return this.#writer.emit("And", [seen, inWindow(this.#writer, columns, rows, window)], {}, "seen");
	}

	#masks(seenWithin: SeenColumns): Value[] {
		const writer = this.#writer;
		const { dtype } = this.#decoder.attentions[0]!.form;
		const [zero, low] = [0, this.#options.masked].map((value) => writer.constant("bias", floatScalar(dtype, value)));
		return sharedInputsOf(this.#decoder).masks.map(({ name, window }) => {
			const bias = writer.emit("Where", [seenWithin(window), zero, low], {}, "mask");
			const flat = writer.emit("Unsqueeze", [bias, vector(writer, "batch_axes", 0, 1)], {}, "mask_of_heads");
			return this.#named(flat, name, [1, 1, SEQUENCE, "total"], dtype);
		});
	}

	#rows(own: Value): Value[] {
		const rows = new RotaryRows();
		return sharedInputsOf(this.#decoder).rotaries.flatMap(({ cos, sin, form }) => {
			const { dtype } = constantOf(form.caches.cos)!.tensor;
			const found = rows.at(this.#writer, form.caches, form, { value: own, key: own.name }, -2);
			return [
				[found.cos, cos],
				[found.sin, sin],
			].map(([value, name]) => {
				const batch = this.#writer.emit("Unsqueeze", [value as Value, vector(this.#writer, "batch_axis", 0)]);
				return this.#named(batch, name as string, [1, SEQUENCE, 1, form.rotatedSize], dtype);
			});
		});
	}

	/** The position of each new element of the cache. */
	#cacheIndex(own: Value, length: Value): Value {
		const writer = this.#writer;
		const { keyHeads, headSize } = this.#config;
		const column = writer.emit("Reshape", [own, vector(writer, "as_column", 1, 1, -1, 1)], {}, "positions_of_cache");
		const rows = writer.emit("Unsqueeze", [length, vector(writer, "first_axis", 0)], {}, "length_vector");
		const [heads, size] = [vector(writer, "heads", 1, keyHeads), vector(writer, "size", headSize)];
		const shape = writer.emit("Concat", [heads, rows, size], { axis: intAttribute(0) }, "cache_shape");
		const index = writer.emit("Cast", [writer.emit("Expand", [column, shape])], TO_INT32, "cache_index");
		return this.#named(index, NAMES.cacheIndex, [1, keyHeads, SEQUENCE, headSize], DataType.INT32);
	}

	/** Which of the tokens is the last that does not fill up. */
	#lastIndex(ids: Value, length: Value): Value {
		const writer = this.#writer;
		const fill = writer.constant("pad", tensor(DataType.INT32, [], bytesOf(Int32Array.of(this.#options.padToken))));
		const isFill = writer.emit("Equal", [ids, fill], {}, "is_fill");
		const steps = rangeOf(writer, scalar(writer, 0), length);
		const index = writer.emit("Where", [isFill, scalar(writer, 0), steps], {}, "token_index");
		const axes = vector(writer, "token_axis", 1);
		const last = writer.emit("ReduceMax", [index, axes], { keepdims: intAttribute(0) }, "last_index");
		return this.#named(writer.emit("Cast", [last], TO_INT32, "last_token"), NAMES.lastIndex, [1], DataType.INT32);
	}

	/** `value`, which nobody reads, under the name `name`. */
	#named(value: Value, name: string, shape: readonly Dimension[], dtype: DataType = DataType.FLOAT): Value {
		const output = this.#model.graph.createValue(name, tensorType(dtype, shape));
		moveOutput(value, output);
		return output;
	}
}

const TO_INT32 = { to: intAttribute(DataType.INT32) };
const TO_INT64 = { to: intAttribute(DataType.INT64) };

/** The name of the number of tokens. */
const SEQUENCE = "sequence";
