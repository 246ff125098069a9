import type { NumpyArray } from "../../arrays/npz.js";
import { readNpz } from "../../arrays/npz.js";
import type { ModelInput } from "../../runtime/model-inputs.js";
import { arrayOf } from "../../runtime/sample-arrays.js";
import type { SampleSource } from "../calibration.js";
import { commonCount, cutSamples } from "./split-samples.js";

/** The samples of an .npz file, which has an array for every input; see {@link cutSamples} for how they are counted. */
export function npzSource(file: string, inputs: readonly ModelInput[]): SampleSource {
	const found = readNpz(file);
	const arrays = new Map(inputs.map((input) => [input.name, arrayOf(found, input.name, file)] as const));
	const cuts = new Map(inputs.map((input) => [input.name, cutSamples(arrays.get(input.name)!, input, file)] as const));
	const count = commonCount(cuts, file);
	const pieceOf = (name: string, sample: number): NumpyArray => {
		const { type, bytes } = arrays.get(name)!;
		const cut = cuts.get(name)!;
		const start = cut.count === undefined ? 0 : sample * cut.stride;
		return { type, shape: cut.shape, bytes: bytes.subarray(start, start + cut.stride) };
	};
	return {
		name: file,
		count,
		isRandom: false,
		async *samples(first) {
			for (let sample = first; sample < count; sample++) {
				const origin = count === 1 ? file : `${file}, sample ${sample}`;
				yield { origin, arrays: new Map(inputs.map(({ name }) => [name, pieceOf(name, sample)] as const)) };
			}
		},
	};
}
