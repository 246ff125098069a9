import { statSync } from "node:fs";
import { openNpy, openNpz } from "../../arrays/array-file.js";
import { QGraphError } from "../../diagnostics.js";
import type { Model } from "../../ir/model.js";
import { inputsOf, type ModelInput } from "../../runtime/model-inputs.js";
import type { SampleSource } from "../calibration.js";
import { arraySource } from "./array-source.js";
import { fixedArrays, withArrays } from "./fixed-arrays.js";
import { folderSource } from "./folder-source.js";
import { type ImageOptions, imageSource, isImage } from "./image-source.js";
import { joinedSource } from "./joined-source.js";
import { jsonLinesSource } from "./json-lines-source.js";
import { randomSource } from "./random-source.js";
import { inputListSource, rawSource } from "./raw-source.js";

export interface SampleSourceOptions {
	/** Of random samples; default 0. */
	readonly seed?: number | undefined;
	/** How images become samples. */
	readonly images?: ImageOptions | undefined;
	/** What inputs always are, as 'sr=16000': samples have it, whether they say anything of these inputs or not. */
	readonly inputValues?: readonly string[] | undefined;
}

/**
 * The samples that `places` name, one after the other: .npz and .npy files, folders of these, files with a JSON object a line
 * (.jsonl), descriptions of raw files (.json), lists of raw files as QNN's tools take them (.txt), images and folders of
 * images, and `random:N`.
 *
 * @throws QGraphError `calibrate/data` for places of no known form, `runtime/...` for samples that do not fit the model.
 */
export function openSamples(model: Model, places: readonly string[], options: SampleSourceOptions = {}): SampleSource {
	const fixed = fixedArrays(model, options.inputValues ?? []);
	const all = inputsOf(model);
	const inputs = { all, asked: all.filter(({ name }) => !fixed.has(name)) };
	return withArrays(joinedSource(places.map((place) => openPlace(inputs, place, options))), fixed);
}

/** Inputs of a model, and those of them that samples are asked for. */
interface Inputs {
	readonly all: readonly ModelInput[];
	readonly asked: readonly ModelInput[];
}

function openPlace(
	{ all, asked: inputs }: Inputs,
	place: string,
	{ seed, images = {} }: SampleSourceOptions,
): SampleSource {
	const random = /^random:(\d+)$/.exec(place);
	if (random !== null) return randomSource(inputs, Number(random[1]), seed);
	const found = statSync(place, { throwIfNoEntry: false });
	if (found === undefined) {
		throw new QGraphError("calibrate/data", `there is no file or folder '${place}'`, { file: place });
	}
	if (found.isDirectory()) return folderSource(place, inputs, images);
	if (place.endsWith(".npz")) return arraySource(place, openNpz(place), inputs);
	if (place.endsWith(".npy")) {
		const array = openNpy(place);
		return arraySource(place, new Map(inputs.slice(0, 1).map(({ name }) => [name, array] as const)), inputs);
	}
	if (/\.(jsonl|ndjson)$/.test(place)) return jsonLinesSource(place, inputs);
	if (place.endsWith(".json")) return rawSource(place, inputs);
	if (place.endsWith(".txt")) return inputListSource(place, all, inputs);
	if (isImage(place)) return imageSource([place], inputs, images);
	throw new QGraphError(
		"calibrate/data",
		`'${place}' is of no kind that samples are read from: .npz, .npy, .jsonl, images, a folder, random:N, or raw files by a .json or .txt that describes them`,
		{ file: place },
	);
}
