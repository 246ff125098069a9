import { type Attribute, intAttribute, intsAttribute } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, isStandardDomain, type Node } from "../ir/node.js";
import { int64Tensor } from "../ir/tensor.js";
import { DataType, elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { addConstant } from "../weights/constant.js";
import { product } from "./batch/rule.js";
import type { Body } from "./body-values.js";
import { type BodySummary, instrumentBodies } from "./instrument-bodies.js";
import type {
	Batch,
	ChannelInput,
	InstrumentOutputs,
	Instruments,
	RowInput,
	RowPicks,
	SampledValue,
	Section,
	Watched,
} from "./instruments.js";
import { reductionAxes } from "./reduction.js";
import { RowPicker } from "./row-picker.js";

/**
 * Adds instruments to a model: reductions inside of it where ranges are wanted, which cost a fraction of handing all
 * elements out. `remove` takes them away again.
 *
 * @param batch of a model that computes several samples at once: instruments tell what is of which.
 */
export function instrument(
	model: Model,
	instruments: Instruments,
	batch?: Batch,
): { readonly outputs: InstrumentOutputs; readonly remove: () => void } {
	const builder = new Builder(model, batch);
	const bodies = builder.bodies(instruments.bodies);
	const { ranges, sampled, squares, rows } = inOrder(builder, model, instruments);
	const outputs: InstrumentOutputs = {
		ranges,
		sampled,
		squares,
		bodies,
		elements: instruments.elements.map(({ value }) => ({
			name: value.name,
			output: builder.expose(value),
			stacked: batch?.axes.get(value),
		})),
		rows,
		picks: builder.picks,
	};
	builder.finish();
	return { outputs, remove: () => builder.remove() };
}

/**
 * ONNX Runtime runs operators in the order in which a walk from the last one back to the inputs comes across them, which
 * turns to the last operator in the file first. With the reductions of early values at its end each of them runs right
 * behind the operator whose result it reads: that is still in the cache then, and its memory is free for others afterwards.
 */
function inOrder(
	builder: Builder,
	{ graph }: Model,
	{ ranges, sampled, squares, rows }: Instruments,
): Pick<InstrumentOutputs, "ranges" | "sampled" | "squares" | "rows"> {
	const places = new Map([...graph.nodes].map((node, place) => [node, place] as const));
	const backwards = <Item extends Watched, Found>(items: readonly Item[], add: (item: Item) => Found) => {
		const found: Found[] = [];
		const tasks = items.map((item) => {
			const { producer } = item.value;
			return { place: producer === undefined ? -1 : places.get(producer)!, run: () => found.push(add(item)) };
		});
		return { found, tasks };
	};
	const work = [
		backwards(ranges, (item) => builder.range(item)),
		backwards(sampled, (item) => builder.sampled(item)),
		backwards(squares, (item) => builder.squares(item)),
		backwards(rows, (item) => builder.rows(item)),
	] as const;
	const tasks = work.flatMap((part): { place: number; run: () => number }[] => part.tasks);
	for (const { run } of tasks.sort((a, b) => b.place - a.place)) run();
	return { ranges: work[0].found, sampled: work[1].found, squares: work[2].found, rows: work[3].found };
}

class Builder {
	readonly #model: Model;
	readonly #names: NameScope;
	readonly #nodes: Node[] = [];
	readonly #outputs: Value[] = [];
	readonly #constants: Map<string, Value> = new Map();
	readonly #flat: Map<Value, Value> = new Map();
	readonly #picker: RowPicker;
	/** What is put together in one output, which has this name. */
	readonly #gathered: Value[] = [];
	readonly #gatheredName: string;
	readonly #batch: Batch | undefined;
	#gatheredLength = 0;
	#summary: BodySummary | undefined;

	constructor(model: Model, batch: Batch | undefined) {
		this.#model = model;
		this.#batch = batch;
		this.#names = new NameScope(model);
		this.#picker = new RowPicker(model, this.#names);
		this.#gatheredName = this.#names.fresh("qgraph_seen");
	}

	range(watched: Watched): InstrumentOutputs["ranges"][number] {
		const flat = this.#flattened(watched);
		const samples = this.#samplesOf(watched);
		// reductions to the largest may pass over what is no number; a sum does not
		const ops = ["ReduceMin", "ReduceMax", ...(mayMakeNaN(watched.value) ? ["ReduceSum"] : [])];
		const found = ops.map((op) =>
			samples === 1 ? this.#add(op, [flat], { keepdims: intAttribute(1) }) : this.#reduce(op, flat, [1]),
		);
		return { name: watched.value.name, section: this.#gather(found, found.length * samples, watched) };
	}

	bodies(bodies: readonly Body[]): InstrumentOutputs["bodies"] {
		const summary = instrumentBodies(this.#model, bodies, this.#names);
		if (summary === undefined) return undefined;
		this.#summary = summary;
		const { vector, names } = summary;
		return {
			names,
			section: this.#gather([vector], 2 * names.length, { value: vector, dtype: DataType.FLOAT, rank: 1 }),
		};
	}

	/** Makes a value an output. */
	expose(value: Value): string {
		if (value.isGraphOutput) return value.name;
		return this.#output(value.isGraphInput ? this.#add("Identity", [value]) : value);
	}

	sampled(watched: SampledValue): InstrumentOutputs["sampled"][number] {
		const { step, count } = watched;
		const flat = this.#flattened(watched);
		const samples = this.#samplesOf(watched);
		const [start, end] = [this.#constant([0]), this.#constant([2 ** 31 - 1])];
		const axis = this.#constant([samples === 1 ? 0 : 1]);
		const found = step === 1 ? flat : this.#add("Slice", [flat, start, end, axis, this.#constant([step])]);
		const row = samples === 1 ? found : this.#reshape(found, [-1]);
		return { name: watched.value.name, step, section: this.#gather([row], count && count * samples, watched) };
	}

	squares(input: ChannelInput): InstrumentOutputs["squares"][number] {
		const { key, axis, looked } = input;
		const samples = this.#samplesOf(input);
		const source = this.#looked(input);
		const sums =
			samples === 1 ? this.#sumSquares(source, others(input.rank, [axis])) : this.#squaresBySample(input, source);
		const length = looked === undefined ? undefined : looked[axis]! * samples;
		return {
			key,
			section: this.#gather([sums], length, input),
			size: looked === undefined ? this.#output(this.#add("Size", [source])) : elementCount(looked),
		};
	}

	/** Hands out what rows are read from. */
	rows({ value, dtype, rank, ...row }: RowInput): InstrumentOutputs["rows"][number] {
		const watched = { value, dtype, rank };
		const stacked = this.#batch?.axes.get(value);
		const input = stacked === undefined ? this.#picker.inputFor(row) : undefined;
		if (input === undefined) return { ...row, stacked, picks: undefined, output: this.#exposedFloats(watched) };
		const [, channels, ...lengths] = row.shape!;
		const flat = this.#reshape(this.#floats(watched), [channels!, product(lengths)]);
		const picked = this.#add("Gather", [flat, input], { axis: intAttribute(1) });
		return { ...row, stacked, picks: input.name, output: this.#output(picked) };
	}

	/** The inputs that say which windows are handed out. */
	get picks(): RowPicks[] {
		return this.#picker.picks;
	}

	/** To be called when everything is added. */
	finish(): void {
		if (this.#gathered.length === 0) return;
		this.#output(this.#add("Concat", this.#gathered, { axis: intAttribute(0) }, this.#gatheredName));
	}

	remove(): void {
		for (const value of this.#outputs) this.#model.graph.removeOutput(value);
		for (const node of this.#nodes.reverse()) node.remove();
		this.#picker.remove();
		for (const value of this.#constants.values()) this.#model.graph.removeInitializer(value);
		this.#summary?.remove();
	}

	/** Makes an output of a value as FLOAT. */
	#exposedFloats(watched: Watched): string {
		return watched.dtype === DataType.FLOAT ? this.expose(watched.value) : this.#output(this.#floats(watched));
	}

	/** Puts values of one axis behind what is gathered, `length` elements in all; unless that is known they are an output. */
	#gather(values: readonly Value[], length: number | undefined, watched: Watched): Section {
		const isStacked = this.#samplesOf(watched) > 1;
		if (length === undefined) return { output: this.#output(values[0]!), start: 0, length, isStacked };
		const start = this.#gatheredLength;
		this.#gathered.push(...values);
		this.#gatheredLength += length;
		return { output: this.#gatheredName, start, length, isStacked };
	}

	/** How many samples are stacked in a value. */
	#samplesOf({ value }: Watched): number {
		return this.#batch?.axes.has(value) === true ? this.#batch.size : 1;
	}

	/** Sums of squares by channel, sample by sample. */
	#squaresBySample({ value, axis, looked }: ChannelInput, source: Value): Value {
		const { size, axes } = this.#batch!;
		const [stacked, shape] = [axes.get(value)!, looked!];
		const isApart = shape[stacked] === 1 && axis !== stacked;
		const split = isApart ? source : this.#reshape(source, shape.toSpliced(stacked, 0, size));
		const channel = isApart || axis < stacked ? axis : axis + 1;
		const reduced = others(isApart ? shape.length : shape.length + 1, [stacked, channel]);
		const sums = this.#sumSquares(split, reduced);
		const ordered = stacked < channel ? sums : this.#add("Transpose", [sums]);
		return this.#reshape(ordered, [-1]);
	}

	/** What an operator looks at of its input. */
	#looked(input: ChannelInput): Value {
		const source = this.#floats(input);
		const { strides } = input;
		if (strides === undefined) return source;
		const axes = strides.flatMap((stride, axis) => (stride > 1 ? [axis] : []));
		const of = (values: readonly number[]) => this.#constant(values);
		const [starts, ends] = [axes.map(() => 0), axes.map(() => 2 ** 31 - 1)];
		return this.#add("Slice", [source, of(starts), of(ends), of(axes), of(axes.map((axis) => strides[axis]!))]);
	}

	/** A value as FLOAT with one axis, of several samples with a row for each. */
	#flattened(watched: Watched): Value {
		const known = this.#flat.get(watched.value);
		if (known !== undefined) return known;
		const floats = this.#floats(watched);
		const flat = this.#samplesOf(watched) === 1 ? this.#reshape(floats, [-1]) : this.#rows(watched.value, floats);
		this.#flat.set(watched.value, flat);
		return flat;
	}

	/** A row for each sample. */
	#rows(value: Value, floats: Value): Value {
		const { size, axes, shapes } = this.#batch!;
		const outer = product(shapes.get(value)!.slice(0, axes.get(value)!));
		if (outer === 1) return this.#reshape(floats, [size, -1]);
		const perm = intsAttribute([1, 0, 2]);
		const turned = this.#add("Transpose", [this.#reshape(floats, [outer, size, -1])], { perm });
		return this.#reshape(turned, [size, -1]);
	}

	#reshape(value: Value, shape: readonly number[]): Value {
		return this.#add("Reshape", [value, this.#constant(shape)]);
	}

	#sumSquares(value: Value, axes: readonly number[]): Value {
		return axes.length === 0 ? this.#add("Mul", [value, value]) : this.#reduce("ReduceSumSquare", value, axes);
	}

	/** Reduces over axes, which go. */
	#reduce(op: string, value: Value, axes: readonly number[]): Value {
		const { input, attributes } = reductionAxes(this.#model, op, axes);
		const inputs = input === undefined ? [value] : [value, this.#constant(input)];
		return this.#add(op, inputs, { ...attributes, keepdims: intAttribute(0) });
	}

	#floats({ value, dtype }: Watched): Value {
		return dtype === DataType.FLOAT ? value : this.#add("Cast", [value], { to: intAttribute(DataType.FLOAT) });
	}

	#add(
		op: string,
		inputs: readonly Value[],
		attributes: Readonly<Record<string, Attribute>> = {},
		name: string = this.#names.fresh(`qgraph_${op}`),
	): Value {
		const { graph } = this.#model;
		const output = graph.createValue(name);
		this.#nodes.push(graph.createNode({ op, inputs, outputs: [output], attributes }));
		return output;
	}

	#constant(values: readonly number[]): Value {
		const key = values.join();
		const known = this.#constants.get(key);
		if (known !== undefined) return known;
		const tensor = int64Tensor([values.length], values);
		const value = addConstant(this.#model.graph, this.#names.fresh("qgraph_constant"), tensor, undefined);
		this.#constants.set(key, value);
		return value;
	}

	#output(value: Value): string {
		this.#model.graph.addOutput(value);
		this.#outputs.push(value);
		return value.name;
	}
}

/** Operators that can make of finite elements what is no number. */
const NAN_MAKERS = [
	"Acos",
	"Acosh",
	"Asin",
	"Atanh",
	"Div",
	"Log",
	"LogSoftmax",
	"Mod",
	"Pow",
	"Reciprocal",
	"Softmax",
	"Sqrt",
];

function mayMakeNaN({ producer }: Value): boolean {
	return producer === undefined || !isStandardDomain(producer.op.domain) || isOnnxOp(producer, ...NAN_MAKERS);
}

function others(rank: number, kept: readonly number[]): number[] {
	return Array.from({ length: rank }, (_, index) => index).filter((index) => !kept.includes(index));
}
