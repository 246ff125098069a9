import path from "node:path";
import { writeNpz } from "../arrays/npz.js";
import type { SampleSource } from "../calibration/calibration.js";

/** Samples that a model is calibrated with, and others that it is judged by. */
export interface SplitSamples {
	readonly calibration: SampleSource;
	/** How many are held back, the last ones. */
	readonly heldOut: number;
	/** Number of the first one held back, or 0 where it is judged by what it was calibrated with. */
	readonly first: number;
}

const [LARGEST_SHARE, MOST_HELD_OUT] = [0.1, 8];

/**
 * Holds the last samples back: `wanted` of them, else a tenth, 8 at most, at least one. Of a single sample none is.
 */
export async function splitSamples(source: SampleSource, wanted: number | undefined): Promise<SplitSamples> {
	const count = source.count ?? (await countOf(source));
	const share = Math.max(1, Math.min(MOST_HELD_OUT, Math.floor(count * LARGEST_SHARE)));
	const heldOut = Math.min(wanted ?? share, count - 1);
	const first = count - heldOut;
	return {
		calibration: {
			...source,
			count: first,
			async *samples(from) {
				let left = first - from;
				for await (const sample of source.samples(from)) {
					if (left-- <= 0) return;
					yield sample;
				}
			},
		},
		heldOut,
		first: heldOut === 0 ? 0 : first,
	};
}

/** Writes samples from number `first` on as .npz files into `folder`; returns these. */
export async function writeSamples(
	source: SampleSource,
	first: number,
	most: number,
	folder: string,
): Promise<string[]> {
	const files: string[] = [];
	for await (const { arrays } of source.samples(first)) {
		if (files.length === most) break;
		const file = path.join(folder, `sample-${files.length}.npz`);
		writeNpz(file, arrays);
		files.push(file);
	}
	return files;
}

async function countOf(source: SampleSource): Promise<number> {
	let count = 0;
	for await (const _ of source.samples(0)) count++;
	return count;
}
