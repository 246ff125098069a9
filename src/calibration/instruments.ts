import type { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import type { Body } from "./body-values.js";
import type { PatchPlan, RowPlan } from "./row-plan.js";

/** Samples that a model computes at once. */
export interface Batch {
	readonly size: number;
	/** Along which axis samples are stacked; other values are the same for all samples. */
	readonly axes: ReadonlyMap<Value, number>;
	/** Of one sample. */
	readonly shapes: ReadonlyMap<Value, readonly number[]>;
}

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
	/** Of the value, of one sample; undefined where it is not known. */
	readonly shape: readonly number[] | undefined;
	readonly depth: number;
	readonly groups: number;
	/** Rows that are enough of one sample. */
	readonly most: number;
}

/** Which windows of values of one shape are picked. */
export interface RowPicks {
	readonly input: string;
	readonly plan: PatchPlan;
	readonly shape: readonly number[];
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
	/** To read rows out of: all elements, or of large values those that are in the rows. */
	readonly rows: readonly RowInput[];
	/** Bodies of control flow with values whose ranges are wanted; such models take samples one by one. */
	readonly bodies: readonly Body[];
}

/** Some elements of an output, FLOAT. */
export interface Section {
	readonly output: string;
	readonly start: number;
	/** undefined: all of them. */
	readonly length: number | undefined;
	/** Has each sample of a batch elements of its own? */
	readonly isStacked: boolean;
}

/** Where the instruments of a model are among its outputs. */
export interface InstrumentOutputs {
	/** The smallest element of each sample, then the largest ones; where one may be no number the sums of all, too. */
	readonly ranges: readonly { readonly name: string; readonly section: Section }[];
	/** `stacked` is the axis of the samples. */
	readonly elements: readonly {
		readonly name: string;
		readonly output: string;
		readonly stacked: number | undefined;
	}[];
	/** Sample by sample, as squares are. */
	readonly sampled: readonly { readonly name: string; readonly section: Section; readonly step: number }[];
	/** The sums, and of how many elements of all channels, or the output that says so. */
	readonly squares: readonly { readonly key: string; readonly section: Section; readonly size: number | string }[];
	readonly rows: readonly (Omit<RowInput, keyof Watched> & {
		readonly output: string;
		readonly stacked: number | undefined;
		/** The input that takes which elements of each channel are handed out; undefined where all are. */
		readonly picks: string | undefined;
	})[];
	/** Such inputs: INT32 offsets of {@link patchPlaces}. */
	readonly picks: readonly RowPicks[];
	/** Of values inside of bodies the smallest element and the largest one times -1; undefined where there are none. */
	readonly bodies: { readonly names: readonly string[]; readonly section: Section } | undefined;
}
