import { mkdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import type { TensorData } from "../../ir/data.js";
import type { Model } from "../../ir/model.js";
import { tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import { embedSmallTensors } from "../../onnx/embed-small-tensors.js";
import { readModel, writeModel } from "../../onnx/file.js";
import type { WeightObserver } from "../../passes/infra/pass.js";
import { constantOf, replaceConstant } from "../../weights/constant.js";
import { batchSize, planBatch } from "../batch/plan-batch.js";
import type { CalibrationSample, SampleSource } from "../calibration.js";
import { PartSession } from "./part-session.js";
import { planRounds } from "./plan-rounds.js";
import { type RoundInputs, roundInputs } from "./round-inputs.js";
import { RoundSums } from "./round-sums.js";

/** Each round runs the model on all samples, as far as its weights, with float weights and with codes. */
const MOST_ROUNDS = 32;

const DEFAULT_MEMORY = 2 ** 32;

export interface RoundObserverOptions {
	/** Bytes that sums may take; what needs more is done in several walks over the samples. Default 4 GiB. */
	readonly memory?: number | undefined;
	readonly signal?: AbortSignal | undefined;
	/** Called when samples were run in some of all rounds. */
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/**
 * Runs a model as it is and with the weights that are quantized already, side by side, and sums up what later weights have
 * to make good (quant/output-targets.ts). Memory does not grow with the number of samples; the float model waits in a file.
 */
export class RoundObserver implements WeightObserver {
	readonly #source: SampleSource;
	readonly #folder: string;
	readonly #options: RoundObserverOptions;
	readonly #quantized: Map<string, TensorData> = new Map();
	readonly #model: string;
	#rounds: readonly RoundInputs[] = [];
	#next = 0;
	#batch = 1;

	/** @param folder takes files, and is gone when the observer is closed. */
	constructor(source: SampleSource, folder: string, options: RoundObserverOptions = {}) {
		this.#source = source;
		this.#folder = folder;
		this.#options = options;
		this.#model = path.join(folder, "model.onnx");
		mkdirSync(folder, { recursive: true });
	}

	async plan(
		model: Model,
		weights: ReadonlyMap<string, { readonly isObserved: boolean }>,
	): Promise<readonly (readonly string[])[]> {
		const rounds = planRounds(model, new Set(weights.keys()), MOST_ROUNDS);
		this.#rounds = rounds.map((names) => {
			const wanted = new Set(names.filter((name) => weights.get(name)!.isObserved));
			return roundInputs(model, (name) => wanted.has(name));
		});
		this.#batch = batchSize(planBatch(model), this.#source.count);
		const { signal } = this.#options;
		embedSmallTensors(model);
		await writeModel(model, this.#model, { externalData: "one-file", ...(signal === undefined ? {} : { signal }) });
		return rounds;
	}

	async observe(): Promise<string> {
		const round = this.#next++;
		const folder = await mkdtemp(path.join(this.#folder, "moments-"));
		const { moments, errors } = this.#rounds[round]!;
		// before anything is quantized there is nothing to make good
		const inputs = { moments, errors: this.#quantized.size === 0 ? [] : errors };
		for (const part of dividedInputs(inputs, (this.#options.memory ?? DEFAULT_MEMORY) / 2)) {
			await this.#walk(part, folder, round);
		}
		return folder;
	}

	quantized(weight: string, values: TensorData): void {
		this.#quantized.set(weight, values);
	}

	async close(): Promise<void> {
		await rm(this.#folder, { recursive: true, force: true });
	}

	/** Runs all samples and writes what was summed up; where they cannot be run several at once, one by one. */
	async #walk(inputs: RoundInputs, folder: string, round: number): Promise<void> {
		try {
			await this.#walkIn(this.#batch, inputs, folder, round);
		} catch (error) {
			this.#options.signal?.throwIfAborted();
			if (this.#batch === 1) throw error;
			this.#batch = 1;
			await this.#walkIn(1, inputs, folder, round);
		}
	}

	async #walkIn(batch: number, inputs: RoundInputs, folder: string, round: number): Promise<void> {
		const outputs = inputs.errors.flatMap(({ places }) => places.map(({ output }) => output));
		const read = inputs.moments.flatMap(({ sources }) => sources.map(({ value }) => value.name));
		const { signal, onProgress } = this.#options;
		const { count } = this.#source;
		const sums = new RoundSums(inputs, count);
		const sessions: PartSession[] = [];
		try {
			for (const [wanted, isQuantized] of [[outputs, false] as const, [[...outputs, ...read], true] as const]) {
				sessions.push(await this.#open(new Set(wanted), isQuantized, batch));
			}
			let turn = 0;
			for await (const samples of batches(this.#source.samples(0), batch)) {
				signal?.throwIfAborted();
				const [expected, found] = [await sessions[0]!.run(samples), await sessions[1]!.run(samples)];
				for (const index of samples.keys()) await sums.add(expected[index]!, found[index]!, turn++);
				onProgress?.(round * count + turn, this.#rounds.length * count);
			}
			await sums.write(folder);
		} finally {
			for (const session of sessions) await session.close();
			await sums.close();
		}
	}

	/** A session of the model as far as the values `wanted`, with float weights or with what codes stand for. */
	async #open(wanted: ReadonlySet<string>, isQuantized: boolean, batch: number): Promise<PartSession> {
		const model = await readModel(this.#model);
		const { graph } = model;
		const constants = [...graph.initializers, ...[...graph.nodes].flatMap(({ outputs }) => outputs)];
		for (const value of isQuantized ? constants : []) {
			const data = this.#quantized.get(value.name);
			const constant = constantOf(value);
			if (data === undefined || constant?.tensor.dtype !== DataType.FLOAT) continue;
			replaceConstant(value, tensor(DataType.FLOAT, constant.tensor.shape, data));
		}
		return PartSession.open(model, { wanted, batch, folder: this.#folder, signal: this.#options.signal });
	}
}

/** In parts that take no more than `limit` bytes, each of whole inputs. */
function dividedInputs({ moments, errors }: RoundInputs, limit: number): RoundInputs[] {
	const parts: RoundInputs[] = [];
	let last: RoundInputs | undefined;
	for (const input of moments) {
		const own = { moments: [input], errors: errors.filter(({ weight }) => input.weights.includes(weight)) };
		const joined = last && { moments: [...last.moments, input], errors: [...last.errors, ...own.errors] };
		if (joined === undefined || RoundSums.bytesOf(joined) > limit) parts.push(own);
		else parts[parts.length - 1] = joined;
		last = parts.at(-1);
	}
	return parts;
}

async function* batches(samples: AsyncIterable<CalibrationSample>, size: number): AsyncGenerator<CalibrationSample[]> {
	let batch: CalibrationSample[] = [];
	for await (const sample of samples) {
		batch.push(sample);
		if (batch.length < size) continue;
		yield batch;
		batch = [];
	}
	if (batch.length > 0) yield batch;
}
