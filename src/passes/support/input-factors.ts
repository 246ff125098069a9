import type { GptqFactors } from "../../quant/moment-factor.js";
import { firstsOf, shared } from "./channel-order.js";
import { type InputMoments, importanceOf, meanSquaresOf } from "./input-statistics.js";
import type { WeightFitOptions } from "./quantized-weight.js";
import type { TaskPool } from "./task-pool.js";

/** Groups whose moments one task factorizes. */
const TASK_GROUPS = 16;

/** What GPTQ makes of the second moments of a weight's inputs, in memory that threads share. */
export interface InputFactors extends GptqFactors, Pick<InputMoments, "depth" | "groups"> {}

/** Factorizes second moments, on as many cores as there are groups; undefined where they are not positive definite. */
async function gptqFactors(
	{ groups, depth, matrices, rows }: InputMoments,
	pool: TaskPool,
): Promise<InputFactors | undefined> {
	const moments = shared(Float64Array, groups * depth * depth);
	moments.set(matrices);
	const all: InputFactors = {
		factors: shared(Float32Array, moments.length),
		moments: shared(Float32Array, moments.length),
		order: shared(Uint32Array, groups * depth),
		depth,
		groups,
	};
	let positive = true;
	await pool.each(
		firstsOf(groups, TASK_GROUPS),
		(first) => {
			const last = Math.min(first + TASK_GROUPS, groups);
			return {
				kind: "gptq-factors",
				moments: moments.subarray(first * depth * depth, last * depth * depth),
				into: factorsOf(all, first, last),
				depth,
				rows,
			};
		},
		(done) => {
			positive &&= done;
		},
	);
	return positive ? all : undefined;
}

/** Channels that one task works on. */
const TASK_CHANNELS = 64;

/** Channels that one task works on; of one group the channels are divided, of many the groups. */
export function taskChannels({ groups }: InputFactors, channelCount: number): number {
	const groupChannels = channelCount / groups;
	return groups === 1 ? TASK_CHANNELS : Math.max(1, Math.floor(TASK_CHANNELS / groupChannels)) * groupChannels;
}

/** Some channels, and what is known of their inputs. */
export interface ChannelTask {
	readonly first: number;
	readonly last: number;
	readonly factors: GptqFactors;
}

/** The channels from `start` to `end`, cut for tasks. @param start a multiple of {@link taskChannels}. */
export function channelTasks(inputs: InputFactors, channelCount: number, start: number, end: number): ChannelTask[] {
	const groupChannels = channelCount / inputs.groups;
	const step = taskChannels(inputs, channelCount);
	return firstsOf(end - start, step).map((offset) => {
		const first = start + offset;
		const last = Math.min(first + step, end);
		return {
			first,
			last,
			factors: factorsOf(inputs, Math.floor(first / groupChannels), Math.ceil(last / groupChannels)),
		};
	});
}

/** Those of the groups from `first` to `last`. */
function factorsOf({ factors, moments, order, depth }: InputFactors, first: number, last: number): GptqFactors {
	const square = depth * depth;
	return {
		factors: factors.subarray(first * square, last * square),
		moments: moments.subarray(first * square, last * square),
		order: order.subarray(first * depth, last * depth),
	};
}

/**
 * What of the mean square of every input those that come later do not make good, [groups, depth]: so much does the error of a
 * code count for the output when codes are chosen by GPTQ.
 */
function restsOf({ factors, order, depth }: InputFactors): Float64Array {
	const rests = new Float64Array(order.length);
	for (let i = 0; i < order.length; i++) {
		const place = i % depth;
		rests[i - place + order[i]!] = factors[i * depth + place]!;
	}
	return rests;
}

/** What is known of the inputs of a weight, as scales and codes are found with it. */
export interface KnownInputs {
	/** undefined where there are no moments, or none that are positive definite. */
	readonly factors: InputFactors | undefined;
	/** Factor of every error by input channel; undefined where nothing says. */
	readonly importance: Float64Array | undefined;
}

/**
 * Prepares GPTQ. Importance that was given counts; else that of the factors, else that of the mean squares of the inputs.
 *
 * @param channels of a group.
 */
export async function knownInputs(
	{ moments, importance }: Pick<WeightFitOptions, "moments" | "importance">,
	channels: number,
	pool: TaskPool,
): Promise<KnownInputs> {
	if (moments === undefined) return { factors: undefined, importance };
	const factors = await gptqFactors(moments, pool);
	const squares = factors === undefined ? meanSquaresOf(moments) : restsOf(factors);
	return { factors, importance: importance ?? importanceOf(squares, moments.depth, channels) };
}
