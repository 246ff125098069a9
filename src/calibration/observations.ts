import { CODES, type Diagnostic } from "../diagnostics.js";
import { MASK_MAGNITUDE } from "../quant/clipped-range.js";
import type { Calibration, ValueStatistics } from "./calibration.js";
import { isMask, unmasked } from "./calibration-encodings.js";
import { ChannelTotals } from "./channel-totals.js";
import type { RunnerSums, SeenRange } from "./sample-runner.js";
import type { StoredCalibration } from "./state.js";
import { ValueTotals } from "./value-totals.js";
import type { WatchedValue, WeightInput } from "./watched-values.js";

/** What there is to know of a value beforehand. */
export type ObservedValue = Pick<WatchedValue, "value" | "source"> & { readonly isInside?: boolean };

/** All that was seen of a model so far. */
export class Observations {
	readonly channels: ChannelTotals;
	/** Values whose elements are counted one by one, and from which sample on. */
	readonly counted: Map<string, number> = new Map();
	readonly #values: readonly ObservedValue[];
	readonly #totals: Map<string, ValueTotals>;

	constructor(values: readonly ObservedValue[], weights: readonly WeightInput[]) {
		this.channels = new ChannelTotals(weights);
		this.#values = values;
		this.#totals = new Map(values.map(({ value }) => [value.name, new ValueTotals(value.name)] as const));
	}

	/**
	 * Adds what sample `index` showed. Returns whether that is all: values that may have masks are to be counted from then on,
	 * all values where one is no number, and what was seen of them is left out until they are.
	 */
	addSeen(index: number, seen: readonly SeenRange[]): boolean {
		let isAll = true;
		if (seen.some(({ min, max, counted }) => !counted && Number.isNaN(min + max))) {
			// ranges of all that is computed from it may be wrong
			for (const name of this.#totals.keys()) if (!this.counted.has(name)) this.counted.set(name, index);
			isAll = false;
		}
		for (const range of seen) {
			const { name, min, max, counted } = range;
			const isPlain = min > -MASK_MAGNITUDE && max < Number.POSITIVE_INFINITY;
			if (!counted && !isPlain && !this.counted.has(name)) {
				this.counted.set(name, index);
				isAll = false;
			}
			if (counted || !this.counted.has(name)) this.#totals.get(name)!.add(range);
		}
		return isAll;
	}

	addSums({ histograms, squares, moments }: RunnerSums): void {
		for (const { name, bins, counts } of histograms) this.#totals.get(name)!.addCounts(bins, counts);
		for (const sums of squares) this.channels.addSquares(sums);
		for (const sums of moments) this.channels.addMoments(sums);
	}

	store(samples: number): StoredCalibration {
		return {
			samples,
			values: [...this.#totals.values()].map((totals) => totals.store()),
			squares: this.channels.store(),
			counted: [...this.counted],
		};
	}

	restore({ values, squares, counted }: StoredCalibration): void {
		for (const stored of values) this.#totals.set(stored.name, ValueTotals.restore(stored));
		this.channels.restore(squares);
		for (const [name, first] of counted) this.counted.set(name, first);
	}

	/** What was seen of every value, of views what was seen of their sources, and what there is to say about it. */
	results(): Pick<Calibration, "values" | "diagnostics"> {
		const values = new Map<string, ValueStatistics>();
		const origins = new Map<string, string>();
		const diagnostics: Diagnostic[] = [];
		for (const { value, source, isInside } of this.#values) {
			const origin = source === undefined ? value.name : (origins.get(source) ?? source);
			origins.set(value.name, origin);
			const statistics = this.#totals.get(origin)!.statistics(value.name);
			if (statistics === undefined) continue;
			values.set(value.name, isInside === true ? { ...statistics, isInside } : statistics);
			if (source === undefined) diagnostics.push(...remarksOn(statistics));
		}
		return { values, diagnostics };
	}
}

function remarksOn(statistics: ValueStatistics): Diagnostic[] {
	const { name, min, max, notFinite } = statistics;
	const remarks: Diagnostic[] = [];
	const report = (code: "calibrate/mask" | "calibrate/not-finite", message: string) =>
		remarks.push({ code, severity: CODES[code].severity, message, at: { value: name }, notes: [] });
	const { lo, hi } = unmasked(statistics);
	if ((lo !== min || hi !== max) && !isMask(statistics)) {
		const text = (from: number, to: number) => `${Number(from.toPrecision(4))} to ${Number(to.toPrecision(4))}`;
		report(
			"calibrate/mask",
			`'${name}' reaches from ${text(min, max)} with masks, from ${text(lo, hi)} without; its range is the latter`,
		);
	}
	if (notFinite > 0) {
		const what = `${notFinite} elements of '${name}' are infinite or no numbers`;
		report("calibrate/not-finite", `${what}; its range is that of the others`);
	}
	return remarks;
}
