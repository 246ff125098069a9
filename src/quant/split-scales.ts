import { MAX_BLOCK_SCALE_INT } from "./lpbq.js";

/** Steps that the largest block scale of a channel is split into. */
export const STEPS_OF_LARGEST = MAX_BLOCK_SCALE_INT + 1;

/**
 * A block scale as the sum of two, each of which is LPBQ's: an integer from 1 to 16 times a number of its channel.
 * The first part is 1 to 16 steps, the second what that leaves, a step at most, in sixteenths of a step. The sum is within a
 * 32nd of a step; a scale below a step becomes a step and a sixteenth.
 *
 * @param step a seventeenth of the channel's largest block scale, positive.
 */
export function splitScale(scale: number, step: number): readonly [first: number, second: number] {
	const first = step * within(Math.ceil(scale / step - ROUNDING) - 1);
	const finer = step / MAX_BLOCK_SCALE_INT;
	return [first, finer * within(Math.round((scale - first) / finer))];
}

/** By how much of a step a multiple of it may be off, as a float32. */
const ROUNDING = 1e-5;

function within(integer: number): number {
	return Math.min(MAX_BLOCK_SCALE_INT, Math.max(1, integer));
}
