import { mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import type { NumpyArray } from "../../arrays/npz.js";
import type { Model } from "../../ir/model.js";
import { writeModel } from "../../onnx/file.js";
import { pruneTo } from "../../passes/support/prune.js";
import { LiveSession } from "../../runtime/live-session.js";
import { inputsOf, type ModelInput } from "../../runtime/model-inputs.js";
import { feedsOf } from "../../runtime/sample-arrays.js";
import type { CalibrationSample } from "../calibration.js";

/** A model as far as some of its values, ready to be run. */
export class PartSession {
	readonly #session: LiveSession | undefined;
	readonly #inputs: readonly ModelInput[];
	readonly #given: readonly ModelInput[];
	readonly #folder: string;

	private constructor(
		session: LiveSession | undefined,
		inputs: readonly ModelInput[],
		given: readonly ModelInput[],
		folder: string,
	) {
		this.#session = session;
		this.#inputs = inputs;
		this.#given = given;
		this.#folder = folder;
	}

	/**
	 * @param model is cut to what is wanted.
	 * @param wanted names of values of the main graph.
	 * @param folder for the model's files, which are gone when it is closed.
	 */
	static async open(
		model: Model,
		wanted: ReadonlySet<string>,
		folder: string,
		signal: AbortSignal | undefined,
	): Promise<PartSession> {
		const { graph } = model;
		const given = inputsOf(model).filter(({ name }) => wanted.has(name));
		const computed = [...graph.nodes].flatMap(({ outputs }) => outputs.filter(({ name }) => wanted.has(name)));
		const part = await mkdtemp(path.join(folder, "part-"));
		if (computed.length === 0) return new PartSession(undefined, [], given, part);
		pruneTo(graph, computed);
		const file = path.join(part, "model.onnx");
		await writeModel(model, file, { externalData: "one-file", ...(signal === undefined ? {} : { signal }) });
		return new PartSession(await LiveSession.open(file), inputsOf(model), given, part);
	}

	/** The values that were wanted. Rejects with `runtime/inputs` for a sample that does not fit. */
	async run({ arrays, origin }: CalibrationSample): Promise<ReadonlyMap<string, NumpyArray>> {
		const computed = await this.#session?.run(feedsOf(this.#inputs, arrays, origin));
		return new Map([...feedsOf(this.#given, arrays, origin), ...(computed ?? [])]);
	}

	async close(): Promise<void> {
		await this.#session?.close();
		await rm(this.#folder, { recursive: true, force: true });
	}
}
