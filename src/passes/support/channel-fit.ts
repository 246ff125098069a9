import type { TensorData } from "../../ir/data.js";
import {
	CHANNEL_FACTORS,
	type ChannelProblem,
	type CodeBits,
	channelScales,
	quantizeChannels,
} from "../../quant/channel-codes.js";
import type { ErrorSum } from "../../quant/measure.js";
import { type BlockWeight, chosenCodes, partOf, type SlabRange, slabRanges, THREAD_READER } from "./block-weight.js";
import type { TaskPool } from "./task-pool.js";

/** How integer codes without blocks are to be found. */
export interface ChannelFitOptions {
	readonly bits: CodeBits;
	readonly granularity: "per-channel" | "per-tensor";
	/** `max` takes AIMET's scales; `search` those of the least sum of |error|^exponent among some below. */
	readonly fit: "max" | "search";
	readonly exponent: number;
	readonly importance?: Float64Array | undefined;
}

/** A float weight as integer codes with a scale a channel or a tensor. Codes are made when they are written. */
export interface ChannelFit {
	/** FLOAT, [channelCount], or [1] for a tensor. */
	readonly scales: Float32Array;
	/** Packed for 4 bits. */
	readonly codes: TensorData;
	readonly error: ErrorSum;
	readonly errorOfMax: ErrorSum;
}

/** Finds scales for a float weight, in two walks on all cores; undefined where a value is infinite or not a number. */
export async function fitChannels(
	weight: BlockWeight,
	options: ChannelFitOptions,
	pool: TaskPool,
): Promise<ChannelFit | undefined> {
	const { layout } = weight;
	const { bits, granularity, importance, exponent } = options;
	const ranges = slabRanges(layout);
	const min = new Float64Array(layout.channelCount);
	const max = new Float64Array(layout.channelCount);
	let finite = true;
	await pool.each(
		ranges,
		(range) => ({ kind: "channel-ranges", part: partOf(weight, range) }),
		(found) => {
			finite &&= found.finite;
			for (let i = 0, channel = found.firstChannel; i < found.min.length; i++, channel++) {
				min[channel] = Math.min(min[channel]!, found.min[i]!);
				max[channel] = Math.max(max[channel]!, found.max[i]!);
			}
		},
	);
	if (!finite) return undefined;
	if (granularity === "per-tensor") {
		min.fill(min.reduce((a, b) => Math.min(a, b), 0));
		max.fill(max.reduce((a, b) => Math.max(a, b), 0));
	}
	const problem: ChannelProblem = { layout, bits, exponent, importance };
	const factors = options.fit === "max" ? [1] : CHANNEL_FACTORS;
	const widest = channelScales(min, max, bits);
	const powers = new Float64Array(layout.channelCount * factors.length);
	const squares = new Float64Array(powers.length);
	let signal = 0;
	await pool.each(
		ranges,
		(range) => ({ kind: "channel-errors", part: partOf(weight, range), problem, scales: widest, factors }),
		(found) => {
			signal += found.signal;
			add(powers, found.powers, found.firstChannel * factors.length);
			add(squares, found.squares, found.firstChannel * factors.length);
		},
	);
	const chosen = chooseFactors(powers, squares, factors.length, granularity === "per-tensor");
	const scales = widest.map((scale, channel) => scale * factors[chosen[channel]!]!);
	const errorOf = (factor: (channel: number) => number) => ({
		signal,
		error: widest.reduce((sum, _, channel) => sum + squares[channel * factors.length + factor(channel)]!, 0),
	});
	const choose = (range: SlabRange) => {
		const values = THREAD_READER.values(partOf(weight, range));
		return quantizeChannels(values, layout, range.first, range.count, scales, bits);
	};
	return {
		scales: granularity === "per-tensor" ? scales.slice(0, 1) : scales,
		codes: chosenCodes(layout, choose, bits),
		error: errorOf((channel) => chosen[channel]!),
		errorOfMax: errorOf(() => 0),
	};
}

/** Of every channel, or of all together, the factor with the least power among those whose squares are not above the first's. */
function chooseFactors(powers: Float64Array, squares: Float64Array, factors: number, together: boolean): Uint8Array {
	const channels = powers.length / factors;
	const chosen = new Uint8Array(channels);
	const best = (power: (k: number) => number, square: (k: number) => number) => {
		let least = 0;
		for (let k = 1; k < factors; k++) if (power(k) < power(least) && square(k) <= square(0)) least = k;
		return least;
	};
	if (together) {
		const sum = (sums: Float64Array, k: number) => {
			let total = 0;
			for (let channel = 0; channel < channels; channel++) total += sums[channel * factors + k]!;
			return total;
		};
		return chosen.fill(
			best(
				(k) => sum(powers, k),
				(k) => sum(squares, k),
			),
		);
	}
	for (let channel = 0; channel < channels; channel++) {
		chosen[channel] = best(
			(k) => powers[channel * factors + k]!,
			(k) => squares[channel * factors + k]!,
		);
	}
	return chosen;
}

function add(sums: Float64Array, more: Float64Array, first: number): void {
	for (let i = 0; i < more.length; i++) sums[first + i]! += more[i]!;
}
