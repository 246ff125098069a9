import { type ModelInput, missingLengths, ShapeBinding } from "../../runtime/model-inputs.js";
import { randomArray } from "../../runtime/random-inputs.js";
import type { CalibrationSample, SampleSource } from "../calibration.js";

/**
 * Random inputs, as `verify` makes them, for trials: ranges of random inputs are not those of real ones. Throws
 * `runtime/dimension` where a dimension of an input is not fixed.
 */
export function randomSource(inputs: readonly ModelInput[], count: number, seed = 0): SampleSource {
	const binding = new ShapeBinding({});
	const missing = new Set<string>();
	const shaped = inputs.map((input) => ({
		input,
		shape: binding.resolve(input.name, input.shape, missing),
	}));
	if (missing.size > 0) throw missingLengths(missing);
	const sampleOf = (sample: number): CalibrationSample => ({
		origin: `random sample ${sample}`,
		arrays: new Map(shaped.map(({ input, shape }) => [input.name, randomArray(input, shape, seed, sample)] as const)),
	});
	return {
		name: `random:${count} seed ${seed}`,
		count,
		isRandom: true,
		async *samples(first) {
			for (let sample = first; sample < count; sample++) yield sampleOf(sample);
		},
	};
}
