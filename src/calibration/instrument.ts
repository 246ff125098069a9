import { type Attribute, intAttribute, intsAttribute } from "../ir/attribute.js";
import { type Model, onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, isStandardDomain, type Node } from "../ir/node.js";
import { floatTensor, int64Tensor, type Tensor } from "../ir/tensor.js";
import { DataType } from "../ir/types.js";
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

/** What is to be had of a model when it runs. */
export interface Instruments {
	/** The smallest and the largest element. */
	readonly ranges: readonly Watched[];
	/** All elements. */
	readonly elements: readonly Watched[];
	/** Every `step`-th element. */
	readonly sampled: readonly (Watched & { readonly step: number })[];
	/** Sums of squares by channel. */
	readonly squares: readonly ChannelInput[];
	/** All elements, to read rows out of. */
	readonly rows: readonly RowInput[];
}

/** Under which names the instruments of a model are among its outputs. */
export interface InstrumentOutputs {
	/** FLOAT, of `names[i]` the smallest element at 2 i and the largest at 2 i + 1. */
	readonly ranges: readonly { readonly output: string; readonly names: readonly string[] }[];
	readonly elements: readonly { readonly output: string; readonly name: string }[];
	readonly sampled: readonly { readonly output: string; readonly name: string; readonly step: number }[];
	/** The sums, and how many elements of all channels went into them. */
	readonly squares: readonly { readonly output: string; readonly size: string; readonly key: string }[];
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
	const outputs = {
		ranges: builder.ranges(instruments.ranges),
		elements: instruments.elements.map(({ value }) => ({ name: value.name, output: builder.expose(value) })),
		sampled: instruments.sampled.map((item) => ({
			name: item.value.name,
			step: item.step,
			output: builder.sampled(item, item.step),
		})),
		squares: instruments.squares.map((input) => builder.squares(input)),
		rows: instruments.rows.map(({ value, dtype, rank, ...row }) => ({
			...row,
			output: builder.floats({ value, dtype, rank }),
		})),
	};
	return { outputs, remove: () => builder.remove() };
}

class Builder {
	readonly #model: Model;
	readonly #names: NameScope;
	readonly #nodes: Node[] = [];
	readonly #outputs: Value[] = [];
	readonly #constants: Value[] = [];

	constructor(model: Model) {
		this.#model = model;
		this.#names = new NameScope(model);
	}

	/** One output for all values of one rank, since only those can be put into one tensor without reshaping each. */
	ranges(watched: readonly Watched[]): InstrumentOutputs["ranges"] {
		const byRank = new Map<number, { names: string[]; parts: Value[] }>();
		for (const item of watched) {
			const rank = item.rank === undefined || item.rank === 0 ? undefined : item.rank;
			const group = byRank.get(rank ?? 1) ?? { names: [], parts: [] };
			byRank.set(rank ?? 1, group);
			group.names.push(item.value.name);
			const source = this.#floats(item);
			const keepdims = intAttribute(rank === undefined ? 0 : 1);
			for (const op of ["ReduceMin", "ReduceMax"]) {
				let reduced = this.#add(op, [source], { keepdims });
				if (op === "ReduceMax" && mayMakeNaN(item.value)) {
					// reductions to the largest may pass over what is no number; a sum does not
					const zero = this.#add("Mul", [this.#add("ReduceSum", [source], { keepdims }), this.#zero()]);
					reduced = this.#add("Add", [reduced, zero]);
				}
				group.parts.push(rank === undefined ? this.#add("Reshape", [reduced, this.#constant([1])]) : reduced);
			}
		}
		return [...byRank.values()].map(({ names, parts }) => ({
			names,
			output: this.#output(this.#add("Concat", parts, { axis: intAttribute(0) })),
		}));
	}

	/** Makes a value an output. */
	expose(value: Value): string {
		if (value.isGraphOutput) return value.name;
		return this.#output(value.isGraphInput ? this.#add("Identity", [value]) : value);
	}

	sampled(watched: Watched, step: number): string {
		if (step === 1) return this.expose(watched.value);
		const flat = this.#add("Reshape", [this.#floats(watched), this.#constant([-1])]);
		const [start, end, axis] = [this.#constant([0]), this.#constant([2 ** 31 - 1]), this.#constant([0])];
		return this.#output(this.#add("Slice", [flat, start, end, axis, this.#constant([step])]));
	}

	squares(input: ChannelInput): InstrumentOutputs["squares"][number] {
		const axes = others(input);
		const source = this.#looked(input);
		const keepdims = intAttribute(0);
		const sums =
			(onnxOpset(this.#model) ?? 0) >= AXES_INPUT_OPSET
				? this.#add("ReduceSumSquare", [source, this.#constant(axes)], { keepdims })
				: this.#add("ReduceSumSquare", [source], { keepdims, axes: intsAttribute(axes) });
		return { key: input.key, output: this.#output(sums), size: this.#output(this.#add("Size", [source])) };
	}

	/** Makes an output of a value as FLOAT. */
	floats(watched: Watched): string {
		return watched.dtype === DataType.FLOAT ? this.expose(watched.value) : this.#output(this.#floats(watched));
	}

	remove(): void {
		for (const value of this.#outputs) this.#model.graph.removeOutput(value);
		for (const node of this.#nodes.reverse()) node.remove();
		for (const value of this.#constants) this.#model.graph.removeInitializer(value);
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

	#floats({ value, dtype }: Watched): Value {
		return dtype === DataType.FLOAT ? value : this.#add("Cast", [value], { to: intAttribute(DataType.FLOAT) });
	}

	#add(op: string, inputs: readonly Value[], attributes: Readonly<Record<string, Attribute>> = {}): Value {
		const { graph } = this.#model;
		const output = graph.createValue(this.#names.fresh(`qgraph_${op}`));
		this.#nodes.push(graph.createNode({ op, inputs, outputs: [output], attributes }));
		return output;
	}

	#constant(values: readonly number[]): Value {
		return this.#initializer(int64Tensor([values.length], values));
	}

	#zero(): Value {
		return this.#initializer(floatTensor([], [0]));
	}

	#initializer(tensor: Tensor): Value {
		const value = addConstant(this.#model.graph, this.#names.fresh("qgraph_constant"), tensor, undefined);
		this.#constants.push(value);
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
