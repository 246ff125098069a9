import { BitHistogram } from "../quant/bit-histogram.js";
import type { ValueStatistics } from "./calibration.js";

/** How much of a moving average the newest sample is; PyTorch's and ExecuTorch's default. */
const NEWEST_SHARE = 0.01;

/** Collects what is seen of one value. */
export class ValueObserver {
	readonly name: string;
	readonly #histogram = new BitHistogram();
	#elements = 0;
	#notFinite = 0;
	#min = Number.POSITIVE_INFINITY;
	#max = Number.NEGATIVE_INFINITY;
	#average: { min: number; max: number } | undefined;

	constructor(name: string) {
		this.name = name;
	}

	/** Adds the elements of one sample. */
	add(values: Float32Array): void {
		const { min, max, finite, notFinite } = this.#histogram.add(values);
		this.#elements += finite;
		this.#notFinite += notFinite;
		if (finite === 0) return;
		this.#min = Math.min(this.#min, min);
		this.#max = Math.max(this.#max, max);
		if (this.#average === undefined) this.#average = { min, max };
		else {
			this.#average.min += NEWEST_SHARE * (min - this.#average.min);
			this.#average.max += NEWEST_SHARE * (max - this.#average.max);
		}
	}

	get statistics(): ValueStatistics {
		const isEmpty = this.#elements === 0;
		return {
			name: this.name,
			elements: this.#elements,
			min: isEmpty ? 0 : this.#min,
			max: isEmpty ? 0 : this.#max,
			averageMin: this.#average?.min ?? 0,
			averageMax: this.#average?.max ?? 0,
			notFinite: this.#notFinite,
			histogram: this.#histogram,
		};
	}
}
