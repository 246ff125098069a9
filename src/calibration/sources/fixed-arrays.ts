import { elementTypeOf } from "../../arrays/element-type.js";
import type { NumpyArray } from "../../arrays/npz.js";
import type { Model } from "../../ir/model.js";
import { inputConstant } from "../../passes/fix-inputs.js";
import type { SampleSource } from "../calibration.js";

/** What 'sr=16000' and the like say of inputs, by their names. Throws `inputs/bad-value` and `inputs/unknown`. */
export function fixedArrays(model: Model, texts: readonly string[]): Map<string, NumpyArray> {
	return new Map(
		texts.map((text) => {
			const { input, constant } = inputConstant(model, text);
			const { dtype, shape, data } = constant;
			return [input.name, { type: elementTypeOf(dtype)!, shape, bytes: data.read(0, data.byteLength) }];
		}),
	);
}

/** The samples of `source`, each with `arrays`, too. */
export function withArrays(source: SampleSource, arrays: ReadonlyMap<string, NumpyArray>): SampleSource {
	if (arrays.size === 0) return source;
	return {
		...source,
		async *samples(first) {
			for await (const sample of source.samples(first)) {
				yield { ...sample, arrays: new Map([...sample.arrays, ...arrays]) };
			}
		},
	};
}
