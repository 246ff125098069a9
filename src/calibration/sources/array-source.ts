import type { ArrayFile } from "../../arrays/array-file.js";
import type { NumpyArray } from "../../arrays/npz.js";
import type { ModelInput } from "../../runtime/model-inputs.js";
import { arrayOf } from "../../runtime/sample-arrays.js";
import type { SampleSource } from "../calibration.js";
import { commonCount, cutSamples } from "./split-samples.js";

/**
 * The samples in arrays, one array an input, read one sample at a time; see {@link cutSamples} for how they are counted.
 *
 * @param place the file or folder that the arrays are in.
 */
export function arraySource(
	place: string,
	arrays: ReadonlyMap<string, ArrayFile>,
	inputs: readonly ModelInput[],
): SampleSource {
	const parts = inputs.map((input) => {
		const array = arrayOf(arrays, input.name, place);
		return { name: input.name, array, cut: cutSamples(array, input, place) };
	});
	const count = commonCount(new Map(parts.map(({ name, cut }) => [name, cut] as const)), place);
	return {
		name: place,
		count,
		isRandom: false,
		async *samples(first) {
			const readers = parts.map(({ array }) => array.open());
			try {
				const shared = new Map<string, NumpyArray>();
				for (const [index, { array, cut }] of parts.entries()) {
					if (cut.count !== undefined) await readers[index]!.skip(first * cut.stride);
					else shared.set(parts[index]!.name, await pieceOf(array, cut.shape, readers[index]!, cut.stride));
				}
				for (let sample = first; sample < count; sample++) {
					const pieces = new Map<string, NumpyArray>();
					for (const [index, { name, array, cut }] of parts.entries()) {
						const piece = shared.get(name) ?? (await pieceOf(array, cut.shape, readers[index]!, cut.stride));
						pieces.set(name, piece);
					}
					yield { origin: count === 1 ? place : `${place}, sample ${sample}`, arrays: pieces };
				}
			} finally {
				for (const reader of readers) reader.close();
			}
		},
	};
}

async function pieceOf(
	{ type }: ArrayFile,
	shape: readonly number[],
	reader: ReturnType<ArrayFile["open"]>,
	length: number,
): Promise<NumpyArray> {
	return { type, shape, bytes: await reader.read(length) };
}
