import { closeSync, openSync, readSync } from "node:fs";
import { bytesPerElement, numbersOf } from "../arrays/element-type.js";
import { elementCount } from "../ir/types.js";
import { type AttentionMask, positionWidth } from "./padding.js";
import type { TensorFile } from "./session.js";

/** A tensor that a session gave, and how its integers stand for real numbers. */
export interface Measured {
	readonly tensor: TensorFile;
	/** real = (integer - zeroPoint) * scale; undefined: the elements are the values. */
	readonly encoding?: { readonly scale: number; readonly zeroPoint: number } | undefined;
}

/** How far a tensor is from its reference. */
export interface Difference {
	/** 10 log10(sum of reference^2 / sum of difference^2); null where both are equal. No less than -999. */
	readonly sqnrDb: number | null;
	readonly maxAbsError: number;
	/** Sums of squares: of the reference, and of the difference. */
	readonly signal: number;
	readonly noise: number;
	/** Elements that are infinite or no number where the reference's are not the same. */
	readonly notFinite: number;
}

const ELEMENTS_AT_ONCE = 2 ** 18;

/** Stands for a signal of nothing but noise. */
const NO_SIGNAL_DB = -999;

/**
 * Compares two tensors of the same number of elements, reading a piece of each at a time.
 *
 * @param mask positions that it leaves out do not count, where the reference has positions.
 */
export function compareTensors(reference: Measured, actual: Measured, mask?: AttentionMask): Difference {
	const width = mask && positionWidth(mask, reference.tensor.shape);
	let position = 0;
	let [signal, noise, maxAbsError, notFinite] = [0, 0, 0, 0];
	const others = pieces(actual);
	for (const expected of pieces(reference)) {
		const found = others.next().value!;
		for (let index = 0; index < expected.length; index++, position++) {
			if (width !== undefined && mask!.counts[Math.floor(position / width)] === 0) continue;
			const [a, b] = [expected[index]!, found[index]!];
			if (Object.is(a, b)) {
				if (Number.isFinite(a)) signal += a * a;
				continue;
			}
			const error = Math.abs(a - b);
			if (!Number.isFinite(error)) {
				notFinite++;
				continue;
			}
			signal += a * a;
			noise += error * error;
			if (error > maxAbsError) maxAbsError = error;
		}
	}
	const sqnrDb = notFinite > 0 ? NO_SIGNAL_DB : decibelsOf(signal, noise);
	return { sqnrDb, signal, noise, maxAbsError, notFinite };
}

/** Null without noise; no less than -999. */
export function decibelsOf(signal: number, noise: number): number | null {
	return noise === 0 ? null : Math.max(NO_SIGNAL_DB, 10 * Math.log10(signal / noise));
}

function* pieces({ tensor, encoding }: Measured): Generator<ArrayLike<number>, undefined> {
	const size = bytesPerElement(tensor.type);
	const count = elementCount(tensor.shape);
	const file = openSync(tensor.file, "r");
	try {
		for (let start = 0; start < count; start += ELEMENTS_AT_ONCE) {
			const bytes = new ArrayBuffer(Math.min(ELEMENTS_AT_ONCE, count - start) * size);
			const read = readSync(file, new Uint8Array(bytes), 0, bytes.byteLength, start * size);
			if (read !== bytes.byteLength) throw new Error(`'${tensor.file}' ends before its ${count} elements`);
			const numbers = numbersOf(tensor.type, bytes);
			yield encoding === undefined
				? numbers
				: Float64Array.from(numbers, (code) => (code - encoding.zeroPoint) * encoding.scale);
		}
	} finally {
		closeSync(file);
	}
}
