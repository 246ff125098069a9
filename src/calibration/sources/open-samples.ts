import { QGraphError } from "../../diagnostics.js";
import type { Model } from "../../ir/model.js";
import { inputsOf } from "../../runtime/model-inputs.js";
import type { SampleSource } from "../calibration.js";
import { npzSource } from "./npz-source.js";
import { randomSource } from "./random-source.js";

export interface SampleSourceOptions {
	/** Of random samples; default 0. */
	readonly seed?: number | undefined;
}

/**
 * The samples that `places` name, one after the other: `random:N`, or an .npz file.
 *
 * @throws QGraphError `calibrate/data` for places of no known form, `runtime/...` for samples that do not fit the model.
 */
export function openSamples(model: Model, places: readonly string[], options: SampleSourceOptions = {}): SampleSource {
	return joined(places.map((place) => openPlace(model, place, options)));
}

function openPlace(model: Model, place: string, { seed }: SampleSourceOptions): SampleSource {
	const random = /^random:(\d+)$/.exec(place);
	if (random !== null) return randomSource(model, Number(random[1]), seed);
	if (place.endsWith(".npz")) return npzSource(place, inputsOf(model));
	throw new QGraphError("calibrate/data", `'${place}' is neither an .npz file nor 'random:N'`, { file: place });
}

/** One source after the other. */
function joined(sources: readonly SampleSource[]): SampleSource {
	let count: number | undefined = 0;
	for (const source of sources) {
		count = count === undefined || source.count === undefined ? undefined : count + source.count;
	}
	return {
		name: sources.map(({ name }) => name).join(" "),
		count,
		isRandom: sources.some(({ isRandom }) => isRandom),
		async *samples(first) {
			let skip = first;
			for (const source of sources) {
				if (source.count !== undefined && skip >= source.count) {
					skip -= source.count;
					continue;
				}
				yield* source.samples(skip);
				skip = 0;
			}
		},
	};
}
