import { BitHistogram } from "../quant/bit-histogram.js";
import { MASK_MAGNITUDE } from "../quant/clipped-range.js";
import type { Interval } from "../quant/grid.js";
import type { ValueStatistics } from "./calibration.js";
import type { SeenRange } from "./sample-runner.js";

/** How much of a moving average the newest sample is; PyTorch's and ExecuTorch's default. */
const NEWEST_SHARE = 0.01;

/** {@link ValueTotals} in a form that JSON has. */
export interface StoredTotals {
	readonly name: string;
	readonly range: readonly [min: number, max: number, averageMin: number, averageMax: number] | null;
	readonly plain: readonly [lo: number, hi: number] | null;
	readonly notFinite: number;
	readonly bins: readonly number[];
	readonly counts: readonly number[];
}

/** What was seen of one value so far. Samples are to be added in their order, for the sake of averages. */
export class ValueTotals {
	readonly name: string;
	#histogram: BitHistogram | undefined;
	#notFinite = 0;
	#min = Number.POSITIVE_INFINITY;
	#max = Number.NEGATIVE_INFINITY;
	#plain: Interval | undefined;
	#average: { min: number; max: number } | undefined;

	constructor(name: string) {
		this.name = name;
	}

	/** Adds what one sample showed: a finite range, or none where no element was finite. */
	add({ min, max, notFinite }: SeenRange): void {
		this.#notFinite += notFinite;
		if (min > max) return;
		this.#min = Math.min(this.#min, min);
		this.#max = Math.max(this.#max, max);
		if (min > -MASK_MAGNITUDE) {
			const { lo, hi } = this.#plain ?? { lo: min, hi: max };
			this.#plain = { lo: Math.min(lo, min), hi: Math.max(hi, max) };
		}
		if (this.#average === undefined) this.#average = { min, max };
		else {
			this.#average.min += NEWEST_SHARE * (min - this.#average.min);
			this.#average.max += NEWEST_SHARE * (max - this.#average.max);
		}
	}

	addCounts(bins: ArrayLike<number>, counts: ArrayLike<number>): void {
		this.#histogram ??= new BitHistogram();
		this.#histogram.addCounts(bins, counts);
	}

	/** undefined where nothing was seen. */
	statistics(name: string): ValueStatistics | undefined {
		if (this.#average === undefined && this.#notFinite === 0) return undefined;
		return {
			name,
			min: this.#average === undefined ? 0 : this.#min,
			max: this.#average === undefined ? 0 : this.#max,
			averageMin: this.#average?.min ?? 0,
			averageMax: this.#average?.max ?? 0,
			plain: this.#plain,
			notFinite: this.#notFinite,
			histogram: this.#histogram,
		};
	}

	store(): StoredTotals {
		const filled = this.#histogram?.filled();
		return {
			name: this.name,
			range: this.#average === undefined ? null : [this.#min, this.#max, this.#average.min, this.#average.max],
			plain: this.#plain === undefined ? null : [this.#plain.lo, this.#plain.hi],
			notFinite: this.#notFinite,
			bins: [...(filled?.bins ?? [])],
			counts: [...(filled?.counts ?? [])],
		};
	}

	static restore({ name, range, plain, notFinite, bins, counts }: StoredTotals): ValueTotals {
		const totals = new ValueTotals(name);
		totals.#notFinite = notFinite;
		if (plain !== null) totals.#plain = { lo: plain[0], hi: plain[1] };
		if (range !== null) {
			[totals.#min, totals.#max] = range;
			totals.#average = { min: range[2], max: range[3] };
		}
		if (bins.length > 0) totals.addCounts(bins, counts);
		return totals;
	}
}
