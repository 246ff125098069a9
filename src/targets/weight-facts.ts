import { isOnnxOp, type Node } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import type { DataType } from "../ir/types.js";
import { elementCount } from "../ir/types.js";
import type { IntegerRange } from "../quant/range.js";
import { constantOf } from "../weights/constant.js";
import { eachNumber, numbersOf } from "../weights/numbers.js";
import { type Dequantization, isSymmetric, type WeightScheme, type WeightSite } from "../weights/weight-site.js";

/** Block scales of one weight, taken as integers times channel scales of which the largest integer is 16. */
export interface ExactScales {
	/** Largest distance between a stored scale and such a product, as part of the scale; 0 for the exact form. */
	readonly worst: number;
	/** Largest block scale of each channel, divided by 16. */
	readonly channelScales: Float64Array;
	/** Scales that are 0, negative, infinite or no numbers. */
	readonly improper: number;
}

/** How large numbers are. */
export interface Magnitude {
	readonly largest: number;
	readonly meanSquare: number;
}

/** A constant weight as rules look at it. What needs bytes is read when it is asked for, and once. */
export class WeightFacts {
	readonly site: WeightSite;
	readonly scheme: WeightScheme;
	/** Of the stored elements. */
	readonly dtype: DataType;
	readonly shape: readonly number[];
	/** Inputs that one output channel sums over, all positions of a kernel counted; 0 where the axes are not known. */
	readonly depth: number;
	readonly channels: number;
	readonly blockSize: number;

	#exact: ExactScales | undefined;
	#channelScales: Float64Array | undefined;
	#largestInteger: number | undefined;
	#symmetric: boolean | undefined;
	#magnitude: Magnitude | undefined;
	/** null: there is none. */
	#reach: IntegerRange | null | undefined;

	constructor(site: WeightSite) {
		const { stored, axes, dequantization } = site;
		this.site = site;
		this.scheme = site.scheme;
		this.dtype = stored.tensor.dtype;
		this.shape = stored.tensor.shape;
		this.depth = axes === undefined ? 0 : (this.shape[axes.blockAxis] ?? 0);
		this.channels = axes === undefined ? 0 : (this.shape[axes.channelAxis] ?? 0);
		this.blockSize = dequantization?.blockSize ?? 0;
	}

	get name(): string {
		return this.site.weightName;
	}

	/** The integer block scales of LPBQ. */
	get integerScales(): Tensor | undefined {
		return constantOf(this.site.dequantization?.scaleNode?.inputs[0])?.tensor;
	}

	/** The operator between the constant and its use that moves its elements, such as Transpose. */
	get indirect(): Node | undefined {
		const { indirect } = this.site;
		return indirect !== undefined && isOnnxOp(indirect, "QuantizeLinear") ? undefined : indirect;
	}

	/** Is it stored as 4-bit blocks with float scales that are exactly LPBQ's products, which QNN can turn into LPBQ? */
	get isExact(): boolean {
		return this.scheme === "block" && isExact(this.exact);
	}

	/** Largest of LPBQ's integer block scales; 0 where they cannot be read. */
	get largestInteger(): number {
		if (this.#largestInteger === undefined) {
			let largest = 0;
			if (this.integerScales !== undefined) {
				eachNumber(this.integerScales, (integer) => {
					if (integer > largest) largest = integer;
				});
			}
			this.#largestInteger = largest;
		}
		return this.#largestInteger;
	}

	get isSymmetric(): boolean {
		const { dequantization } = this.site;
		this.#symmetric ??= dequantization === undefined || isSymmetric(dequantization);
		return this.#symmetric;
	}

	/**
	 * The scale of each channel, [channels]: those stored with LPBQ or one a channel, the only one repeated, or those that
	 * QNN makes of block scales. Empty where there are none or they do not fit.
	 */
	get channelScales(): Float64Array {
		this.#channelScales ??= this.#readChannelScales();
		return this.#channelScales;
	}

	/** Of the stored numbers, all of which are read. */
	get magnitude(): Magnitude {
		if (this.#magnitude === undefined) {
			let largest = 0;
			let squares = 0;
			eachNumber(this.site.stored.tensor, (value) => {
				largest = Math.max(largest, Math.abs(value));
				squares += value * value;
				return undefined;
			});
			this.#magnitude = { largest, meanSquare: squares / (elementCount(this.shape) || 1) };
		}
		return this.#magnitude;
	}

	/** The least and the largest code, less the zero point. undefined where there are several, or one that is computed. Reads all codes. */
	get reach(): IntegerRange | undefined {
		if (this.#reach === undefined) {
			const { dequantization, stored } = this.site;
			const zeroPoint = this.isSymmetric ? 0 : zeroPointOf(dequantization);
			let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
			eachNumber(stored.tensor, (code) => {
				if (code < min) min = code;
				if (code > max) max = code;
				return undefined;
			});
			const isKnown = zeroPoint !== undefined && min <= max;
			this.#reach = isKnown ? { min: min - zeroPoint, max: max - zeroPoint } : null;
		}
		return this.#reach ?? undefined;
	}

	/** Only for weights of scheme "block". */
	get exact(): ExactScales {
		this.#exact ??= this.#readExactScales();
		return this.#exact;
	}

	/** Are all codes of output channel `channel` 0? Reads the codes up to the first that is not. */
	isDead(channel: number): boolean {
		const { stored, axes } = this.site;
		if (axes === undefined) return false;
		const inner = elementCount(this.shape.slice(axes.channelAxis + 1));
		const outer = elementCount(this.shape.slice(0, axes.channelAxis));
		let dead = true;
		for (let index = 0; index < outer && dead; index++) {
			const from = (index * this.channels + channel) * inner;
			eachNumber(stored.tensor, (code) => (dead = code === 0), from, inner);
		}
		return dead;
	}

	/**
	 * Of every output channel of an LPBQ matrix, the sum of its positive codes times their integer block scales, and of its
	 * negative ones. Reads all codes.
	 */
	channelSums(): { readonly positive: number; readonly negative: number }[] {
		const { axes, stored } = this.site;
		if (axes === undefined || this.integerScales === undefined || this.shape.length !== 2) return [];
		const integers = numbersOf(this.integerScales);
		const blocks = Math.ceil(this.depth / this.blockSize);
		const sums = Array.from({ length: this.channels }, () => ({ positive: 0, negative: 0 }));
		const isOutputFirst = axes.channelAxis === 0;
		eachNumber(stored.tensor, (code, index) => {
			const channel = isOutputFirst ? Math.floor(index / this.depth) : index % this.channels;
			const k = isOutputFirst ? index % this.depth : Math.floor(index / this.channels);
			const block = Math.floor(k / this.blockSize);
			const integer = integers[isOutputFirst ? channel * blocks + block : block * this.channels + channel]!;
			if (code > 0) sums[channel]!.positive += code * integer;
			else sums[channel]!.negative += code * integer;
		});
		return sums;
	}

	#readChannelScales(): Float64Array {
		const { dequantization } = this.site;
		if (this.scheme === "block") return this.exact.channelScales;
		const stored = this.scheme === "lpbq" ? constantOf(dequantization?.scaleNode?.inputs[1]) : dequantization?.scale;
		if (stored === undefined) return new Float64Array();
		const numbers = numbersOf(stored.tensor);
		return numbers.length === 1 ? new Float64Array(this.channels).fill(numbers[0]!) : numbers;
	}

	#readExactScales(): ExactScales {
		const scales = this.site.dequantization?.scale?.tensor;
		const { axes } = this.site;
		if (scales === undefined || axes === undefined) {
			return { worst: 1, channelScales: new Float64Array(this.channels), improper: 0 };
		}
		return exactScales(scales, axes.channelAxis);
	}
}

/** The zero point of all codes, where it is one, or the same for all channels. */
function zeroPointOf(dequantization: Dequantization | undefined): number | undefined {
	const stored = dequantization?.zeroPoint?.tensor;
	if (stored === undefined) return undefined;
	const [first, ...others] = numbersOf(stored);
	return others.every((other) => other === first) ? first : undefined;
}

/** Takes block scales as products of integers from 1 to 16 and channel scales. */
export function exactScales(scales: Tensor, channelAxis: number): ExactScales {
	const channels = scales.shape[channelAxis] ?? 1;
	const channelScales = new Float64Array(channels);
	const inner = elementCount(scales.shape.slice(channelAxis + 1));
	const channelOf = (index: number) => Math.floor(index / inner) % channels;
	let improper = 0;
	eachNumber(scales, (scale, index) => {
		if (!(scale > 0) || scale === Number.POSITIVE_INFINITY) improper++;
		const channel = channelOf(index);
		if (Math.abs(scale) / 16 > channelScales[channel]!) channelScales[channel] = Math.abs(scale) / 16;
	});
	let worst = 0;
	eachNumber(scales, (scale, index) => {
		const channelScale = channelScales[channelOf(index)]!;
		const integer = Math.min(16, Math.max(1, Math.round(scale / channelScale)));
		const distance = Math.abs(integer * channelScale - scale) / scale;
		if (distance > worst) worst = distance;
	});
	return { worst, channelScales, improper };
}

/** Are these LPBQ's products? */
export function isExact({ worst, improper }: ExactScales): boolean {
	return worst <= EXACT_TOLERANCE && improper === 0;
}

/** What storing the products in 32 bits may cost, and a little more. */
const EXACT_TOLERANCE = 1e-4;

export function weightFacts(site: WeightSite): WeightFacts {
	return new WeightFacts(site);
}
