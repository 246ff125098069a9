import { elementTypeOf } from "../../arrays/element-type.js";
import type { NumpyArray } from "../../arrays/npz.js";
import type { Model } from "../../ir/model.js";
import { inputConstant } from "../../passes/fix-inputs.js";
import { inputsOf, missingLengths, ShapeBinding } from "../../runtime/model-inputs.js";
import { randomArray } from "../../runtime/random-inputs.js";
import type { CalibrationSample, SampleSource } from "../calibration.js";

/**
 * Random inputs, as `verify` makes them, for trials: ranges of random inputs are not those of real ones. Inputs of
 * which `inputValues` say what they always are, as 'sr=16000', are that. Throws `runtime/dimension` where a dimension of an
 * input is not fixed.
 */
export function randomSource(model: Model, count: number, seed = 0, inputValues: readonly string[] = []): SampleSource {
	const binding = new ShapeBinding({});
	const missing = new Set<string>();
	const inputs = inputsOf(model).map((input) => ({
		input,
		shape: binding.resolve(input.name, input.shape, missing),
	}));
	if (missing.size > 0) throw missingLengths(missing);
	const fixed = new Map(inputValues.map((text) => fixedArray(model, text)));
	const sampleOf = (sample: number): CalibrationSample => ({
		origin: `random sample ${sample}`,
		arrays: new Map(
			inputs.map(
				({ input, shape }) => [input.name, fixed.get(input.name) ?? randomArray(input, shape, seed, sample)] as const,
			),
		),
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

function fixedArray(model: Model, text: string): [name: string, array: NumpyArray] {
	const { input, constant } = inputConstant(model, text);
	const { dtype, shape, data } = constant;
	return [input.name, { type: elementTypeOf(dtype)!, shape, bytes: data.read(0, data.byteLength) }];
}
