import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { isFloat } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { CODES, type Diagnostic, type DiagnosticCode, QGraphError } from "../diagnostics.js";
import type { Model } from "../ir/model.js";
import type { Value } from "../ir/value.js";
import { writeModel } from "../onnx/file.js";
import { floatsOf, LiveSession } from "../runtime/live-session.js";
import { inputsOf, type ModelInput, ShapeBinding } from "../runtime/model-inputs.js";
import { computedValues } from "../runtime/probes.js";
import { arrayOf, convertedTo, fittingType, requireShape } from "../runtime/sample-arrays.js";
import type { Calibration, CalibrationSample, SampleSource } from "./calibration.js";
import { ValueObserver } from "./value-observer.js";

export interface CalibrateOptions {
	readonly signal?: AbortSignal | undefined;
	/** Called after every sample; `total` is undefined where nobody knows it. */
	readonly onProgress?: ((done: number, total: number | undefined) => void) | undefined;
}

/**
 * Runs a float model on samples and collects the range and a histogram of every float value of the main graph: inputs,
 * results of operators, outputs, not constants. Memory does not grow with the number of samples. The model is the same
 * afterwards.
 *
 * Rejects with `runtime/missing` where onnxruntime-node is not installed, `runtime/inputs` for samples that do not fit the
 * model and where there are none, `calibrate/failed` where ONNX Runtime refuses the model.
 */
export async function calibrate(
	model: Model,
	source: SampleSource,
	options: CalibrateOptions = {},
): Promise<Calibration> {
	const folder = await mkdtemp(path.join(tmpdir(), "qgraph-calibrate-"));
	try {
		return await new Calibrator(model, source, options).run(folder);
	} finally {
		await rm(folder, { recursive: true, force: true });
	}
}

class Calibrator {
	readonly #model: Model;
	readonly #source: SampleSource;
	readonly #options: CalibrateOptions;
	readonly #inputs: readonly ModelInput[];
	readonly #observers: Map<string, ValueObserver> = new Map();
	readonly #diagnostics: Diagnostic[] = [];

	constructor(model: Model, source: SampleSource, options: CalibrateOptions) {
		this.#model = model;
		this.#source = source;
		this.#options = options;
		this.#inputs = inputsOf(model);
	}

	async run(folder: string): Promise<Calibration> {
		const { signal, onProgress } = this.#options;
		const values = computedValues(this.#model);
		for (const { name, type } of this.#inputs) if (isFloat(type)) this.#observers.set(name, new ValueObserver(name));
		for (const { name } of values) this.#observers.set(name, new ValueObserver(name));
		const file = path.join(folder, "model.onnx");
		await writeExposed(this.#model, values, file, signal);
		const session = await failing(LiveSession.open(file), "ONNX Runtime does not load the model");
		let samples = 0;
		try {
			for await (const sample of this.#source.samples(0)) {
				signal?.throwIfAborted();
				const feeds = this.#feedsOf(sample);
				const outputs = await failing(session.run(feeds), `'${sample.origin}': ONNX Runtime does not run the model`);
				this.#observe(feeds);
				this.#observe(outputs);
				samples++;
				onProgress?.(samples, this.#source.count);
			}
		} finally {
			await session.close();
		}
		if (samples === 0) throw new QGraphError("runtime/inputs", "there are no samples to calibrate with");
		if (this.#source.isRandom) this.#report("calibrate/random", "ranges of random inputs are not those of real ones");
		return { samples, values: this.#statistics(), diagnostics: this.#diagnostics };
	}

	/** A sample as the model takes it. */
	#feedsOf({ origin, arrays }: CalibrationSample): Map<string, NumpyArray> {
		const binding = new ShapeBinding({});
		return new Map(
			this.#inputs.map((input) => {
				const array = fittingType(arrayOf(arrays, input.name, origin), input, origin);
				requireShape(array, input, origin, binding);
				return [input.name, convertedTo(array, input.type)] as const;
			}),
		);
	}

	#observe(arrays: ReadonlyMap<string, NumpyArray>): void {
		for (const [name, array] of arrays) {
			if (isFloat(array.type)) this.#observers.get(name)?.add(floatsOf(array));
		}
	}

	#statistics(): Calibration["values"] {
		const found = [...this.#observers.values()].map((observer) => observer.statistics);
		for (const { name, elements, notFinite } of found) {
			if (notFinite === 0) continue;
			const message = `${notFinite} of ${elements + notFinite} elements of '${name}' are infinite or no numbers; its range is that of the others`;
			this.#report("calibrate/not-finite", message, name);
		}
		return new Map(found.filter(({ elements }) => elements > 0).map((statistics) => [statistics.name, statistics]));
	}

	#report(code: DiagnosticCode, message: string, value?: string): void {
		const at = value === undefined ? {} : { value };
		this.#diagnostics.push({ code, severity: CODES[code].severity, message, at, notes: [] });
	}
}

/** Writes the model with `values` among its outputs, and takes them off again. */
async function writeExposed(
	model: Model,
	values: readonly Value[],
	file: string,
	signal: AbortSignal | undefined,
): Promise<void> {
	const { graph } = model;
	const added = values.filter((value) => !value.isGraphOutput);
	for (const value of added) graph.addOutput(value);
	try {
		await writeModel(model, file, signal === undefined ? {} : { signal });
	} finally {
		for (const value of added) graph.removeOutput(value);
	}
}

async function failing<T>(work: Promise<T>, what: string): Promise<T> {
	try {
		return await work;
	} catch (error) {
		if (error instanceof QGraphError) throw error;
		const reason = error instanceof Error ? error.message : String(error);
		throw new QGraphError("calibrate/failed", `${what}: ${reason}`, {}, { cause: error });
	}
}
