import { FileData, watchCopies } from "../../ir/data.js";
import { slabStart } from "../../quant/layout.js";
import type { ErrorSum } from "../../quant/measure.js";
import { type BlockWeight, partOf, type SlabRange, slabRanges } from "./block-weight.js";
import { measureKeptCodes } from "./fit-error.js";
import type { ChannelScales } from "./snap.js";
import type { TaskPool } from "./task-pool.js";

/** Some slabs of a weight and the bytes of its codes that hold them: [start, end). */
interface Unit {
	readonly range: SlabRange;
	readonly start: number;
	readonly end: number;
	sum: ErrorSum | undefined;
}

/**
 * How far the codes of a weight, which stay, move when their scales are snapped. Codes that are copied into the output
 * are measured as they pass by; the others are read. The sum is the same either way.
 */
export class KeptError {
	readonly #weight: BlockWeight;
	readonly #scales: ChannelScales;
	readonly #units: readonly Unit[];
	/** The unit that is probably the next to come by. */
	#next = 0;
	/** The beginning of a unit whose end has not come by yet. */
	#carry: { readonly unit: Unit; readonly bytes: Uint8Array; filled: number } | undefined;

	constructor(weight: BlockWeight, scales: ChannelScales) {
		this.#weight = weight;
		this.#scales = scales;
		this.#units = slabRanges(weight.layout).map((range) => ({
			range,
			start: slabStart(weight.layout, range.first) / 2,
			end: Math.ceil(slabStart(weight.layout, range.first + range.count) / 2),
			sum: undefined,
		}));
		if (weight.codes instanceof FileData) watchCopies(weight.codes, (bytes, start) => this.#pass(bytes, start));
	}

	/** Measures what has not come by when `written` resolves. */
	async sum(written: Promise<void>, pool: TaskPool): Promise<ErrorSum> {
		const { codes } = this.#weight;
		if (codes instanceof FileData) {
			await written;
			watchCopies(codes, undefined);
			this.#carry = undefined;
		}
		await pool.each(
			this.#units.filter(({ sum }) => sum === undefined),
			({ range }) => ({ kind: "measure-kept" as const, part: partOf(this.#weight, range), scales: this.#scales }),
			(sum, unit) => {
				unit.sum = sum;
			},
		);
		const total = { signal: 0, error: 0 };
		for (const { sum } of this.#units) {
			total.signal += sum!.signal;
			total.error += sum!.error;
		}
		return total;
	}

	#pass(bytes: Uint8Array, start: number): void {
		const end = start + bytes.byteLength;
		this.#fillCarry(bytes, start);
		if ((this.#units[this.#next]?.start ?? Infinity) > start) this.#next = 0;
		for (; this.#next < this.#units.length; this.#next++) {
			const unit = this.#units[this.#next]!;
			if (unit.start >= end) break;
			if (unit.sum !== undefined || unit.start < start) continue;
			const here = bytes.subarray(unit.start - start, unit.end - start);
			if (unit.end <= end) this.#measure(unit, here);
			else {
				const whole = new Uint8Array(unit.end - unit.start);
				whole.set(here);
				this.#carry = { unit, bytes: whole, filled: here.byteLength };
			}
		}
	}

	#fillCarry(bytes: Uint8Array, start: number): void {
		const carry = this.#carry;
		if (carry === undefined) return;
		if (carry.unit.start + carry.filled !== start) {
			this.#carry = undefined;
			return;
		}
		const part = bytes.subarray(0, carry.bytes.byteLength - carry.filled);
		carry.bytes.set(part, carry.filled);
		carry.filled += part.byteLength;
		if (carry.filled < carry.bytes.byteLength) return;
		this.#measure(carry.unit, carry.bytes);
		this.#carry = undefined;
	}

	#measure(unit: Unit, bytes: Uint8Array): void {
		unit.sum = measureKeptCodes({ ...partOf(this.#weight, unit.range), codes: { bytes } }, this.#scales);
	}
}
