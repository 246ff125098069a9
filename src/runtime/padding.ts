import { type ElementType, numbersOf } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";

/** Which positions of a batch of sequences hold something, [batch, length]. */
export interface AttentionMask {
	readonly batch: number;
	readonly length: number;
	/** 1 where there is something, 0 for padding, [batch * length]. */
	readonly counts: Uint8Array;
}

/** The input that says so, by the name that it has everywhere. */
export function isMaskName(name: string): boolean {
	return /(^|[./_])attention_mask$/.test(name);
}

/** The mask among the inputs of a sample; undefined where there is none, or none that leaves something out. */
export function attentionMaskOf(inputs: Iterable<readonly [string, NumpyArray]>): AttentionMask | undefined {
	for (const [name, { type, shape, bytes }] of inputs) {
		const [batch, length] = shape;
		if (!isMaskName(name) || shape.length !== 2 || !isWhole(type)) continue;
		const numbers = Array.from(numbersOf(type, Uint8Array.from(bytes).buffer), (number) => Number(number));
		if (!numbers.every((number) => number === 0 || number === 1)) continue;
		const sum = numbers.reduce<number>((total, number) => total + number, 0);
		if (sum > 0 && sum < numbers.length) return { batch: batch!, length: length!, counts: Uint8Array.from(numbers) };
	}
	return undefined;
}

/**
 * Elements of each position of a tensor that has the positions of a mask, [batch, length, ...]; undefined for a tensor of
 * other dimensions, all of which counts.
 */
export function positionWidth({ batch, length }: AttentionMask, shape: readonly number[]): number | undefined {
	if (shape.length < 3 || shape[0] !== batch || shape[1] !== length) return undefined;
	return shape.slice(2).reduce((product, size) => product * size, 1);
}

/** The elements of a tensor but for those of positions that are padding. */
export function withoutPadding(
	elements: Float32Array,
	shape: readonly number[],
	mask: AttentionMask | undefined,
): Float32Array {
	const width = mask && positionWidth(mask, shape);
	if (width === undefined) return elements;
	return elements.filter((_, index) => mask!.counts[Math.floor(index / width)] === 1);
}

function isWhole(type: ElementType): boolean {
	return type.startsWith("int") || type.startsWith("uint") || type === "bool";
}
