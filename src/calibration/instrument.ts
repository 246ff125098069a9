import { type Attribute, intAttribute, intsAttribute } from "../ir/attribute.js";
import { type Model, onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, isStandardDomain, type Node } from "../ir/node.js";
import { int64Tensor } from "../ir/tensor.js";
import { DataType, elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { addConstant } from "../weights/constant.js";
import type { RowPlan } from "./row-plan.js";

/** From this operator set on, Reduce operators take their axes as an input. */
const AXES_INPUT_OPSET = 18;

/** A float value as an instrument reads it. */
export interface Watched {
	readonly value: Value;
	/** FLOAT, or another one that is cast to it; undefined where it is not known. */
	readonly dtype: DataType | undefined;
	readonly rank: number | undefined;
}

/** The input of a weight: which of its axes is that of the weight's input channels. */
export interface ChannelInput extends Watched {
	/** Tells inputs apart that several weights may share. */
	readonly key: string;
	readonly rank: number;
	readonly axis: number;
	/** Steps along the axes in which the operator looks at its input; undefined where it looks at all. */
	readonly strides: readonly number[] | undefined;
	/** Lengths of what it looks at; undefined where they are not known. */
	readonly looked: readonly number[] | undefined;
}

/** A value with rows of inputs of a weight, and how to read them. */
export interface RowInput extends Watched {
	/** Rows of one key are summed up together. */
	readonly key: string;
	readonly plan: RowPlan;
	readonly depth: number;
	readonly groups: number;
	/** Rows that are enough of one sample. */
	readonly most: number;
}

/** A value of which every `step`-th element is looked at. */
export interface SampledValue extends Watched {
	readonly step: number;
	/** How many elements that are; undefined where it is not known. */
	readonly count: number | undefined;
}

/** What is to be had of a model when it runs. */
export interface Instruments {
	/** The smallest and the largest element. */
	readonly ranges: readonly Watched[];
	/** All elements. */
	readonly elements: readonly Watched[];
	/** Every `step`-th element. */
	readonly sampled: readonly SampledValue[];
	/** Sums of squares by channel. */
	readonly squares: readonly ChannelInput[];
	/** All elements, to read rows out of. */
	readonly rows: readonly RowInput[];
}

/** Some elements of an output, FLOAT. */
export interface Section {
	readonly output: string;
	readonly start: number;
	/** undefined: all of them. */
	readonly length: number | undefined;
}

/** Where the instruments of a model are among its outputs. */
export interface InstrumentOutputs {
	/** The smallest element and the largest; where one may be no number the sum of all, too. */
	readonly ranges: readonly { readonly name: string; readonly section: Section }[];
	readonly elements: readonly { readonly name: string; readonly output: string }[];
	readonly sampled: readonly { readonly name: string; readonly section: Section; readonly step: number }[];
	/** The sums, and of how many elements of all channels, or the output that says so. */
	readonly squares: readonly { readonly key: string; readonly section: Section; readonly size: number | string }[];
	readonly rows: readonly (Omit<RowInput, keyof Watched> & { readonly output: string })[];
}

/**
 * Adds instruments to a model: reductions inside of it where ranges are wanted, which cost a fraction of handing all
 * elements out. `remove` takes them away again.
 */
export function instrument(
	model: Model,
	instruments: Instruments,
): { readonly outputs: InstrumentOutputs; readonly remove: () => void } {
	const builder = new Builder(model);
	const { ranges, sampled, squares } = inOrder(builder, model, instruments);
	const outputs = {
		ranges,
		sampled,
		squares,
		elements: instruments.elements.map(({ value }) => ({ name: value.name, output: builder.expose(value) })),
		rows: instruments.rows.map(({ value, dtype, rank, ...row }) => ({
			...row,
			output: builder.floats({ value, dtype, rank }),
		})),
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
	{ ranges, sampled, squares }: Instruments,
): Pick<InstrumentOutputs, "ranges" | "sampled" | "squares"> {
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
	] as const;
	const tasks = work.flatMap((part): { place: number; run: () => number }[] => part.tasks);
	for (const { run } of tasks.sort((a, b) => b.place - a.place)) run();
	return { ranges: work[0].found, sampled: work[1].found, squares: work[2].found };
}

class Builder {
	readonly #model: Model;
	readonly #names: NameScope;
	readonly #nodes: Node[] = [];
	readonly #outputs: Value[] = [];
	readonly #constants: Map<string, Value> = new Map();
	readonly #flat: Map<Value, Value> = new Map();
	/** What is put together in one output, which has this name. */
	readonly #gathered: Value[] = [];
	readonly #gatheredName: string;
	#gatheredLength = 0;

	constructor(model: Model) {
		this.#model = model;
		this.#names = new NameScope(model);
		this.#gatheredName = this.#names.fresh("qgraph_seen");
	}

	range(watched: Watched): InstrumentOutputs["ranges"][number] {
		const flat = this.#flattened(watched);
		// reductions to the largest may pass over what is no number; a sum does not
		const ops = ["ReduceMin", "ReduceMax", ...(mayMakeNaN(watched.value) ? ["ReduceSum"] : [])];
		const found = ops.map((op) => this.#add(op, [flat], { keepdims: intAttribute(1) }));
		return { name: watched.value.name, section: this.#gather(found, found.length) };
	}

	/** Makes a value an output. */
	expose(value: Value): string {
		if (value.isGraphOutput) return value.name;
		return this.#output(value.isGraphInput ? this.#add("Identity", [value]) : value);
	}

	sampled(watched: SampledValue): InstrumentOutputs["sampled"][number] {
		const { step, count } = watched;
		const flat = this.#flattened(watched);
		const [start, end, axis] = [this.#constant([0]), this.#constant([2 ** 31 - 1]), this.#constant([0])];
		const found = step === 1 ? flat : this.#add("Slice", [flat, start, end, axis, this.#constant([step])]);
		return { name: watched.value.name, step, section: this.#gather([found], count) };
	}

	squares(input: ChannelInput): InstrumentOutputs["squares"][number] {
		const { key, axis, looked } = input;
		const axes = others(input);
		const source = this.#looked(input);
		const keepdims = intAttribute(0);
		const sums =
			(onnxOpset(this.#model) ?? 0) >= AXES_INPUT_OPSET
				? this.#add("ReduceSumSquare", [source, this.#constant(axes)], { keepdims })
				: this.#add("ReduceSumSquare", [source], { keepdims, axes: intsAttribute(axes) });
		const section = this.#gather([sums], looked?.[axis]);
		return {
			key,
			section,
			size: looked === undefined ? this.#output(this.#add("Size", [source])) : elementCount(looked),
		};
	}

	/** Makes an output of a value as FLOAT. */
	floats(watched: Watched): string {
		return watched.dtype === DataType.FLOAT ? this.expose(watched.value) : this.#output(this.#floats(watched));
	}

	/** To be called when everything is added. */
	finish(): void {
		if (this.#gathered.length === 0) return;
		this.#output(this.#add("Concat", this.#gathered, { axis: intAttribute(0) }, this.#gatheredName));
	}

	remove(): void {
		for (const value of this.#outputs) this.#model.graph.removeOutput(value);
		for (const node of this.#nodes.reverse()) node.remove();
		for (const value of this.#constants.values()) this.#model.graph.removeInitializer(value);
	}

	/** Puts values of one axis behind what is gathered, `length` elements in all; unless that is known they are an output. */
	#gather(values: readonly Value[], length: number | undefined): Section {
		if (length === undefined) return { output: this.#output(values[0]!), start: 0, length };
		const start = this.#gatheredLength;
		this.#gathered.push(...values);
		this.#gatheredLength += length;
		return { output: this.#gatheredName, start, length };
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

	/** A value as FLOAT with one axis. */
	#flattened(watched: Watched): Value {
		const known = this.#flat.get(watched.value);
		if (known !== undefined) return known;
		const flat = this.#add("Reshape", [this.#floats(watched), this.#constant([-1])]);
		this.#flat.set(watched.value, flat);
		return flat;
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

function others({ rank, axis }: ChannelInput): number[] {
	return Array.from({ length: rank }, (_, index) => index).filter((index) => index !== axis);
}
