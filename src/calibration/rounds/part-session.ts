import { mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import type { NumpyArray } from "../../arrays/npz.js";
import type { Model } from "../../ir/model.js";
import { writeModel } from "../../onnx/file.js";
import { pruneTo } from "../../passes/support/prune.js";
import { LiveSession } from "../../runtime/live-session.js";
import { inputsOf, type ModelInput } from "../../runtime/model-inputs.js";
import { feedsOf } from "../../runtime/sample-arrays.js";
import { planBatch } from "../batch/plan-batch.js";
import { stackSamples } from "../batch/stack-samples.js";
import { stackArrays, unstackArray } from "../batch/stacked-arrays.js";
import type { CalibrationSample } from "../calibration.js";

export interface PartSessionOptions {
	/** Names of values of the main graph. */
	readonly wanted: ReadonlySet<string>;
	/** Samples that are run at once, where operators do not mix them. */
	readonly batch: number;
	/** For the model's files, which are gone when the session is closed. */
	readonly folder: string;
	readonly signal: AbortSignal | undefined;
}

/** A model as far as some of its values, ready to be run. */
export class PartSession {
	readonly #session: LiveSession | undefined;
	/** Of one sample, of values that have several one behind the other the axis. */
	readonly #inputs: readonly ModelInput[];
	readonly #axes: ReadonlyMap<string, number>;
	readonly #given: readonly ModelInput[];
	readonly #batch: number;
	readonly #folder: string;

	private constructor(
		session: LiveSession | undefined,
		inputs: readonly ModelInput[],
		given: readonly ModelInput[],
		stacked: { readonly axes: ReadonlyMap<string, number>; readonly batch: number },
		folder: string,
	) {
		this.#session = session;
		this.#inputs = inputs;
		this.#given = given;
		this.#axes = stacked.axes;
		this.#batch = stacked.batch;
		this.#folder = folder;
	}

	/** @param model is cut to what is wanted. */
	static async open(model: Model, { wanted, batch, folder, signal }: PartSessionOptions): Promise<PartSession> {
		const { graph } = model;
		const given = inputsOf(model).filter(({ name }) => wanted.has(name));
		const computed = [...graph.nodes].flatMap(({ outputs }) => outputs.filter(({ name }) => wanted.has(name)));
		const part = await mkdtemp(path.join(folder, "part-"));
		const alone = { axes: new Map<string, number>(), batch: 1 };
		if (computed.length === 0) return new PartSession(undefined, [], given, alone, part);
		pruneTo(graph, computed);
		const inputs = inputsOf(model);
		const plan = batch > 1 ? planBatch(model) : undefined;
		const isStacked = plan !== undefined && stackSamples(model, plan, batch) !== undefined;
		const axes = new Map([...(plan?.axes ?? [])].map(([{ name }, axis]) => [name, axis]));
		const file = path.join(part, "model.onnx");
		await writeModel(model, file, { externalData: "one-file", ...(signal === undefined ? {} : { signal }) });
		const session = await LiveSession.open(file, { pools: false });
		return new PartSession(session, inputs, given, isStacked ? { axes, batch } : alone, part);
	}

	/** The values that were wanted, sample by sample. Rejects with `runtime/inputs` for a sample that does not fit. */
	async run(samples: readonly CalibrationSample[]): Promise<ReadonlyMap<string, NumpyArray>[]> {
		const found: Map<string, NumpyArray>[] = [];
		for (let start = 0; start < samples.length; start += this.#batch) {
			found.push(...(await this.#runBatch(samples.slice(start, start + this.#batch))));
		}
		return found.map((values, index) => {
			const { arrays, origin } = samples[index]!;
			return new Map([...feedsOf(this.#given, arrays, origin), ...values]);
		});
	}

	/** As many samples as a batch has, or fewer. */
	async #runBatch(samples: readonly CalibrationSample[]): Promise<Map<string, NumpyArray>[]> {
		if (this.#session === undefined) return samples.map(() => new Map());
		const feeds = samples.map(({ arrays, origin }) => feedsOf(this.#inputs, arrays, origin));
		const stacked = this.#inputs.map(({ name }) => {
			const own = feeds.map((arrays) => arrays.get(name)!);
			const axis = this.#axes.get(name);
			return [name, axis === undefined ? own[0]! : stackArrays(own, axis, this.#batch)] as const;
		});
		const results = await this.#session.run(new Map(stacked));
		return samples.map(
			(_, index) =>
				new Map(
					[...results].map(([name, array]) => {
						const axis = this.#axes.get(name);
						return [name, axis === undefined ? array : unstackArray(array, axis, this.#batch, index)];
					}),
				),
		);
	}

	async close(): Promise<void> {
		await this.#session?.close();
		await rm(this.#folder, { recursive: true, force: true });
	}
}
