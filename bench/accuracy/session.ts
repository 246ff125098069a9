import { InferenceSession, type Tensor } from "onnxruntime-node";
import { type Model, writeModel } from "qgraph";
import type { Feeds, WantedInput } from "./inputs.js";

export type Outputs = ReadonlyMap<string, Float32Array>;

/** A model in ONNX Runtime on the CPU, without graph optimizations: some of them round activations to 8 bits. */
export class CpuModel {
	readonly #session: InferenceSession;

	private constructor(session: InferenceSession) {
		this.#session = session;
	}

	static async load(file: string): Promise<CpuModel> {
		return new CpuModel(
			await InferenceSession.create(file, { graphOptimizationLevel: "disabled", logSeverityLevel: 3 }),
		);
	}

	/** Writes a model to a file and loads that. */
	static async of(model: Model, file: string): Promise<CpuModel> {
		await writeModel(model, file, { overwrite: true });
		return CpuModel.load(file);
	}

	get inputs(): WantedInput[] {
		return this.#session.inputMetadata.map((input) => {
			if (!input.isTensor) throw new Error(`input '${input.name}' is no tensor`);
			return { name: input.name, type: input.type, shape: input.shape };
		});
	}

	/** The outputs that are float. */
	async run(feeds: Feeds): Promise<Outputs> {
		const results = await this.#session.run(feeds);
		const floats = Object.entries(results).filter((entry): entry is [string, Tensor & { data: Float32Array }] => {
			return entry[1].data instanceof Float32Array;
		});
		return new Map(floats.map(([name, { data }]) => [name, data]));
	}

	async close(): Promise<void> {
		await this.#session.release();
	}
}

/** Signal to noise over all samples of each output; the lowest, dB. */
export function lowestSqnr(references: readonly Outputs[], results: readonly Outputs[]): number {
	const figures = [...references[0]!.keys()].map((name) => {
		let signal = 0;
		let noise = 0;
		references.forEach((outputs, sample) => {
			const other = results[sample]!.get(name)!;
			outputs.get(name)!.forEach((value, index) => {
				signal += value ** 2;
				noise += (value - other[index]!) ** 2;
			});
		});
		return 10 * Math.log10(signal / noise);
	});
	return Math.min(...figures);
}
