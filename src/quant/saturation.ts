/*
 * Activation functions backwards: from what a quantizer keeps of their results to what is needed of their arguments.
 * Arguments beyond the interval give results that differ from those at its ends by less than half a step.
 */
import type { Interval } from "./grid.js";

/** Arguments beyond which all functions here are flat, or straight, to within a float32. */
const FAR = 40;

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
/** x * sigmoid(x). */
export const silu = (x: number): number => x * sigmoid(x);
const gelu = (x: number): number => x * (x < 0 ? normalTail(-x) : 1 - normalTail(x));

/** Where gelu is lowest. */
const GELU_LOWEST = -0.752;
/** Where x * sigmoid(x) is lowest. */
export const SILU_LOWEST = -1.279;

export function sigmoidInverse({ lo, hi }: Interval, step: number): Interval {
	return monotone(sigmoid, Math.max(lo, step / 2), Math.min(hi, 1 - step / 2));
}

export function tanhInverse({ lo, hi }: Interval, step: number): Interval {
	return monotone(Math.tanh, Math.max(lo, -1 + step / 2), Math.min(hi, 1 - step / 2));
}

export function geluInverse({ hi }: Interval, step: number): Interval {
	return hooked(gelu, GELU_LOWEST, hi, step);
}

/** Of x * sigmoid(x). */
export function siluInverse({ hi }: Interval, step: number): Interval {
	return hooked(silu, SILU_LOWEST, hi, step);
}

function monotone(f: (x: number) => number, lo: number, hi: number): Interval {
	return { lo: solve(f, lo, -FAR, FAR), hi: solve(f, Math.max(lo, hi), -FAR, FAR) };
}

/** Of functions that come up from below 0 after their lowest point, and go back towards 0 before it. */
function hooked(f: (x: number) => number, lowest: number, hi: number, step: number): Interval {
	const isFlat = -f(lowest) <= step / 2;
	return {
		lo: isFlat ? 0 : solve((x) => -f(x), step / 2, -FAR, lowest),
		hi: solve(f, Math.max(hi, 0), 0, Math.max(hi, 0) + FAR),
	};
}

/** The argument between `from` and `to` where a function that rises from one to the other reaches `result`. */
function solve(f: (x: number) => number, result: number, from: number, to: number): number {
	let [low, high] = [from, to];
	for (let step = 0; step < 80; step++) {
		const middle = (low + high) / 2;
		if (f(middle) < result) low = middle;
		else high = middle;
	}
	return (low + high) / 2;
}

/** The probability that a normally distributed number exceeds t >= 0: by its power series, or far out by the continued fraction. */
function normalTail(t: number): number {
	const density = Math.exp(-t * t * 0.5) / Math.sqrt(2 * Math.PI);
	if (t > 3) {
		let fraction = t;
		for (let term = 60; term > 0; term--) fraction = t + term / fraction;
		return density / fraction;
	}
	let sum = 0;
	for (let term = t, odd = 1; term > 1e-17; odd += 2, term *= (t * t) / odd) sum += term;
	return 0.5 - density * sum;
}
