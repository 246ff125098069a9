import { isFloat } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { bytesOf } from "../ir/tensor.js";
import { BitHistogram, type FilledBins } from "../quant/bit-histogram.js";
import { floatsOf, LiveSession } from "../runtime/live-session.js";
import { stackArrays, unstackArray } from "./batch/stacked-arrays.js";
import { type Derivation, derivedRange } from "./derived-range.js";
import { bodyRange } from "./instrument-bodies.js";
import type { InstrumentOutputs, RowPicks, Section } from "./instruments.js";
import { GramProduct, MomentSum } from "./moment-sum.js";
import { patchPlaces, readPickedPatches, readRows } from "./row-plan.js";

/** A model with instruments, as a thread runs it. */
export interface RunnerJob {
	readonly model: string;
	readonly outputs: InstrumentOutputs;
	/** Values whose ranges follow from those of others, which are seen or come before them. */
	readonly derived: readonly DerivedValue[];
	/** Threads of an operator; all cores when left out. */
	readonly threads: number | undefined;
	/** Weights stay in their data file, of which no runner has a copy. */
	readonly isLean: boolean;
	readonly batch: RunnerBatch;
}

/** How many samples the model computes at once, and along which axis they are stacked in each input. */
export interface RunnerBatch {
	readonly size: number;
	readonly inputAxes: ReadonlyMap<string, number>;
}

export interface DerivedValue extends Derivation {
	readonly name: string;
}

/** What one sample showed. */
export interface SeenSample {
	/** The smallest and the largest element of each value that is reduced, then of each that is derived. */
	readonly ranges: Float32Array<ArrayBuffer>;
	/** What there is of values whose elements are counted, and of those inside of bodies. */
	readonly counted: readonly SeenRange[];
}

/** What one sample showed of one value. */
export interface SeenRange {
	readonly name: string;
	readonly min: number;
	readonly max: number;
	readonly notFinite: number;
	/** Are its elements in the histogram? Where not, min and max may be infinite. */
	readonly counted: boolean;
}

/** What a runner has summed up. */
export interface RunnerSums {
	readonly histograms: readonly (FilledBins & { readonly name: string })[];
	/** Of the squares of each channel, and over how many rows. */
	readonly squares: readonly Sums[];
	/** Of the products of each two inputs, a triangle a group. */
	readonly moments: readonly Sums[];
}

interface Sums {
	readonly key: string;
	readonly sums: Float64Array<ArrayBuffer>;
	readonly rows: number;
}

/** The values whose ranges a runner tells of each sample, in the order in which it does. */
export function rangeNames({ outputs, derived }: Pick<RunnerJob, "outputs" | "derived">): string[] {
	return [...outputs.ranges, ...derived].map(({ name }) => name);
}

/** What a model is given for one sample, or for several that are stacked. */
export type Feeds = ReadonlyMap<string, NumpyArray>;

/** Runs samples and sums up what is not told of each sample. */
export class SampleRunner {
	readonly #session: LiveSession;
	readonly #outputs: InstrumentOutputs;
	/** The steps of each derived value, and the place of what it is derived from among the ranges. */
	readonly #derived: readonly { readonly place: number; readonly steps: Derivation["steps"] }[];
	readonly #product: GramProduct | undefined;
	readonly #batch: RunnerBatch;
	/** And how many elements each count stands for. */
	#histograms: Map<string, { readonly histogram: BitHistogram; readonly step: number }> = new Map();
	#squares: Map<string, { sums: Float64Array<ArrayBuffer>; rows: number }> = new Map();
	#moments: Map<string, MomentSum> = new Map();
	/** Samples so far. */
	#turn = 0;

	private constructor(
		session: LiveSession,
		{ outputs, derived, batch }: Pick<RunnerJob, "outputs" | "derived" | "batch">,
		product: GramProduct | undefined,
	) {
		this.#batch = batch;
		this.#session = session;
		this.#outputs = outputs;
		const places = new Map(rangeNames({ outputs, derived }).map((name, place) => [name, place] as const));
		this.#derived = derived.map(({ source, steps }) => ({ place: places.get(source)!, steps }));
		this.#product = product;
	}

	static async open({ threads, model, isLean, ...job }: RunnerJob): Promise<SampleRunner> {
		const session = await LiveSession.open(model, { threads, prepacks: !isLean, pools: false });
		const product = job.outputs.rows.length > 0 ? new GramProduct(threads) : undefined;
		return new SampleRunner(session, job, product);
	}

	/** Runs as many samples as a batch has, or fewer. @param only look at the elements of these values and at nothing else. */
	async run(samples: readonly Feeds[], only: readonly string[] | undefined): Promise<SeenSample[]> {
		const { elements, ranges, sampled, squares, rows, bodies } = this.#outputs;
		const counted = elements.filter(({ name }) => only?.includes(name) ?? true);
		const isWhole = only === undefined;
		const wanted = [
			...counted.map(({ output }) => output),
			...(isWhole ? [...ranges, ...sampled, ...squares].map(({ section }) => section.output) : []),
			...(isWhole ? squares.flatMap(({ size }) => (typeof size === "string" ? [size] : [])) : []),
			...(isWhole ? rows.map(({ output }) => output) : []),
			...(isWhole && bodies !== undefined ? [bodies.section.output] : []),
		];
		const places = new Map(this.#outputs.picks.map((picks) => [picks.input, this.#placesOf(picks)] as const));
		const picks = [...places].map(([name, offsets]) => [name, arrayOf(offsets)] as const);
		const found = await this.#session.run(new Map([...this.#stacked(samples), ...picks]), [...new Set(wanted)]);
		const seen = samples.map((_, sample) => {
			return counted.flatMap(({ name, output, stacked }) => {
				const array = found.get(output);
				if (array === undefined || !isFloat(array.type)) return [];
				return [this.#count(name, floatsOf(this.#ofSample(array, stacked, sample)))];
			});
		});
		if (!isWhole) return seen.map((of) => ({ ranges: new Float32Array(0), counted: of }));
		const whole = await this.#readWhole(found, samples.length, places);
		const inner = this.#insideOf(found);
		return seen.map((of, sample) => ({ ranges: whole[sample]!, counted: [...of, ...inner] }));
	}

	/** What a sample showed inside of bodies. */
	#insideOf(found: ReadonlyMap<string, NumpyArray>): SeenRange[] {
		const { bodies } = this.#outputs;
		if (bodies === undefined) return [];
		const all = floatsOf(found.get(bodies.section.output)!);
		return bodies.names.flatMap((name, index): SeenRange[] => {
			const at = bodies.section.start + 2 * index;
			const range = bodyRange(all[at]!, all[at + 1]!);
			return range === undefined ? [] : [{ name, min: range[0], max: range[1], notFinite: 0, counted: true }];
		});
	}

	/** Reads all but counted elements. Returns the ranges of each sample. */
	async #readWhole(
		found: ReadonlyMap<string, NumpyArray>,
		samples: number,
		places: ReadonlyMap<string, Int32Array>,
	): Promise<SeenSample["ranges"][]> {
		const { ranges, sampled, squares, rows } = this.#outputs;
		const floats = new Map<string, Float32Array>();
		const read = ({ output, start, length }: Section): Float32Array => {
			const all = floats.get(output) ?? floatsOf(found.get(output)!);
			floats.set(output, all);
			return length === undefined ? all : all.subarray(start, start + length);
		};
		/** Of a section in which samples lie one behind the other. */
		const readSample = (section: Section, sample: number): Float32Array => {
			const all = read(section);
			if (!section.isStacked) return all;
			const length = all.length / this.#batch.size;
			return all.subarray(sample * length, (sample + 1) * length);
		};
		const reduced = ranges.map(({ section }) => ({ of: read(section), isStacked: section.isStacked }));
		const pairs = Array.from({ length: samples }, (_, sample) => this.#ranges(reduced, sample));
		for (const { name, section, step } of sampled) {
			const histogram = this.#histogram(name, step);
			for (let sample = 0; sample < samples; sample++) histogram.count(readSample(section, sample));
		}
		for (const { key, section, size } of squares) {
			const elements = typeof size === "number" ? size : integerOf(found.get(size)!);
			for (let sample = 0; sample < samples; sample++) {
				const sums = readSample(section, sample);
				this.#addSquares(key, sums, elements / sums.length);
			}
		}
		for (let sample = 0; sample < samples; sample++) {
			for (const row of rows) {
				const array = this.#ofSample(found.get(row.output)!, row.stacked, sample);
				await this.#sumOf(row).add(
					this.#rowsOf(row, array, row.picks === undefined ? undefined : places.get(row.picks)),
				);
			}
			this.#turn++;
		}
		return pairs;
	}

	/** What the model is given: where fewer samples are there than it computes, the last one is computed several times. */
	#stacked(samples: readonly Feeds[]): Feeds {
		const { size, inputAxes } = this.#batch;
		const [first] = samples;
		if (size === 1) return first!;
		return new Map(
			[...inputAxes].map(([name, axis]) => {
				const arrays = samples.map((arrays) => arrays.get(name)!);
				return [name, stackArrays(arrays, axis, size)] as const;
			}),
		);
	}

	#ofSample(array: NumpyArray, stacked: number | undefined, sample: number): NumpyArray {
		return stacked === undefined ? array : unstackArray(array, stacked, this.#batch.size, sample);
	}

	/** Hands over what was summed up, and begins anew. */
	async take(): Promise<RunnerSums> {
		const histograms = [...this.#histograms].map(([name, { histogram, step }]) => {
			const { bins, counts } = histogram.filled();
			return { name, bins, counts: counts.map((count) => count * step) };
		});
		const squares = [...this.#squares].map(([key, sums]) => ({ key, ...sums }));
		const moments: Sums[] = [];
		for (const [key, sum] of this.#moments) moments.push({ key, ...(await sum.result()) });
		this.#histograms = new Map();
		this.#squares = new Map();
		this.#moments = new Map();
		return { histograms, squares, moments };
	}

	async close(): Promise<void> {
		await this.#session.close();
		await this.#product?.close();
	}

	/** @param reduced of each value the smallest elements of the samples, the largest ones, and perhaps sums. */
	#ranges(
		reduced: readonly { readonly of: Float32Array; readonly isStacked: boolean }[],
		sample: number,
	): Float32Array<ArrayBuffer> {
		const pairs = new Float32Array(2 * (reduced.length + this.#derived.length));
		for (const [place, { of, isStacked }] of reduced.entries()) {
			const [first, step] = isStacked ? [sample, this.#batch.size] : [0, 1];
			const sum = of[first + 2 * step] ?? 0;
			pairs[2 * place] = of[first]!;
			pairs[2 * place + 1] = Number.isNaN(sum * 0) ? Number.NaN : of[first + step]!;
		}
		for (const [index, { place, steps }] of this.#derived.entries()) {
			pairs.set(derivedRange(pairs[2 * place]!, pairs[2 * place + 1]!, steps), 2 * (reduced.length + index));
		}
		return pairs;
	}

	#count(name: string, elements: Float32Array): SeenRange {
		const { min, max, notFinite } = this.#histogram(name, 1).add(elements);
		return { name, min, max, notFinite, counted: true };
	}

	#histogram(name: string, step: number): BitHistogram {
		const entry = this.#histograms.get(name) ?? { histogram: new BitHistogram(), step };
		this.#histograms.set(name, entry);
		return entry.histogram;
	}

	#addSquares(key: string, found: Float32Array, rows: number): void {
		const entry = this.#squares.get(key) ?? { sums: new Float64Array(found.length), rows: 0 };
		this.#squares.set(key, entry);
		for (let index = 0; index < found.length; index++) entry.sums[index]! += found[index]!;
		entry.rows += rows;
	}

	#sumOf({ key, depth, groups }: InstrumentOutputs["rows"][number]): MomentSum {
		const sum = this.#moments.get(key) ?? new MomentSum(this.#product!, depth, groups);
		this.#moments.set(key, sum);
		return sum;
	}

	/** @param offsets of what was picked; undefined where all elements are there. */
	#rowsOf(
		{ plan, most }: InstrumentOutputs["rows"][number],
		array: NumpyArray,
		offsets: Int32Array | undefined,
	): Float32Array {
		const elements = floatsOf(array);
		return offsets === undefined || plan.kind !== "patches"
			? readRows(plan, array.shape, elements, most, this.#turn)
			: readPickedPatches(plan, array.shape[0]!, offsets, elements);
	}

	/** Which elements of a channel the next sample hands out. */
	#placesOf({ plan, shape, most }: RowPicks): Int32Array {
		return patchPlaces(plan, shape, most, this.#turn).offsets;
	}
}

function arrayOf(offsets: Int32Array): NumpyArray {
	return { type: "int32", shape: [offsets.length], bytes: bytesOf(offsets) };
}

function integerOf({ bytes }: NumpyArray): number {
	return Number(new BigInt64Array(new Uint8Array(bytes).buffer)[0]);
}
