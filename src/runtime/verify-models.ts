import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Model } from "../ir/model.js";
import { embedSmallTensors } from "../onnx/embed-small-tensors.js";
import { readModel, writeModel } from "../onnx/file.js";
import { providerOptions as optionsOfTarget } from "../targets/provider-options.js";
import { type Target, targetName } from "../targets/target.js";
import { compareInner, compareOutputs, lowest, type RunOutputs } from "./compare-values.js";
import { runOnCpu } from "./cpu.js";
import { runOnHtp } from "./htp.js";
import { htpPython } from "./htp-environment.js";
import { requireNamedDimensions } from "./model-inputs.js";
import { type AttentionMask, attentionMaskOf, isMaskName } from "./padding.js";
import { commonValues, exposeProbes } from "./probes.js";
import { makeSamples, type Samples } from "./samples.js";
import type { SessionOptions, SessionResult, TensorFile } from "./session.js";
import type { RunFailure, ValueComparison, Verification, VerifyOptions } from "./verification.js";

const DEFAULT_TIMEOUT_SECONDS = 1800;

/** From here on a value inside counts as wrong where the caller names no limit. */
const WRONG_DB = 30;

/**
 * Runs two models on the same inputs and compares their outputs: the reference on the CPU without graph optimizations, the
 * converted model there or on the emulator of an HTP. Models are given by path, so that their weights need not fit into
 * memory. What models do (crash, hang, be refused) is in the result; rejects where runtimes are missing (`runtime/missing`,
 * `htp/...`), where inputs do not fit (`runtime/...`) and where a model cannot be read.
 */
export async function verifyModels(
	referencePath: string,
	convertedPath: string,
	options: VerifyOptions = {},
): Promise<Verification> {
	const folder = await mkdtemp(path.join(tmpdir(), "qgraph-verify-"));
	try {
		return await new Verifier(folder, options).verify(path.resolve(referencePath), path.resolve(convertedPath));
	} finally {
		await rm(folder, { recursive: true, force: true });
	}
}

/** Both models ran on all samples. */
interface Runs {
	readonly reference: Extract<SessionResult, { status: "ok" }>;
	readonly converted: Extract<SessionResult, { status: "ok" }>;
}

class Verifier {
	readonly #folder: string;
	readonly #options: VerifyOptions;
	readonly #python: string | undefined;
	/** What the converted model is to be compiled with. */
	#targetOptions: Readonly<Record<string, string>> = {};

	constructor(folder: string, options: VerifyOptions) {
		this.#folder = folder;
		this.#options = options;
		this.#python = this.#target === undefined ? undefined : htpPython(options.htpHome);
	}

	get #target(): Target | undefined {
		return this.#options.on === "cpu" ? undefined : this.#options.on;
	}

	async verify(referencePath: string, convertedPath: string): Promise<Verification> {
		const { minSqnrDb, perNode } = this.#options;
		const [reference, converted] = [await readModel(referencePath), await readModel(convertedPath)];
		if (this.#target !== undefined) {
			requireNamedDimensions(converted);
			this.#targetOptions = { ...optionsOfTarget(converted, this.#target) };
		}
		const samples = await makeSamples(reference, converted, this.#folder, this.#options);
		const referenceFile = await this.#loadable(reference, referencePath, "reference");
		const convertedFile = await this.#loadable(converted, convertedPath, "converted");
		const runs = await this.#run(referenceFile, convertedFile, samples, "");
		const common = {
			on: this.#target === undefined ? "cpu" : targetName(this.#target),
			samples: samples.reference.length,
			minSqnrDb: minSqnrDb ?? null,
		};
		const nothing = {
			worstSqnrDb: null,
			overallSqnrDb: null,
			outputs: [],
			inner: [],
			firstWrong: null,
			innerFailure: null,
			failure: null,
		};
		if ("model" in runs) return { ...common, ...nothing, passed: false, failure: runs, seconds: secondsOf(undefined) };
		const outputs = compareOutputs(reference, converted, outputsOf(runs), await this.#masks(samples));
		const passes = ({ problem, sqnrDb }: ValueComparison) =>
			problem === null && (sqnrDb === null || minSqnrDb === undefined || sqnrDb >= minSqnrDb);
		return {
			...common,
			...nothing,
			passed: outputs.every(passes),
			outputs,
			worstSqnrDb: lowest(outputs.map(({ sqnrDb }) => sqnrDb)),
			overallSqnrDb: lowest(outputs.map(({ overallSqnrDb }) => overallSqnrDb)),
			seconds: secondsOf(runs),
			...(perNode === true ? await this.#compareInside(referenceFile, convertedFile, samples) : {}),
		};
	}

	/** What attention masks leave out of each sample, where that is not to count. */
	async #masks({ reference }: Samples): Promise<(AttentionMask | undefined)[]> {
		if (this.#options.countsPadding !== false) return [];
		return Promise.all(
			reference.map(async (inputs) => {
				const masks = inputs.filter(({ name, shape }) => isMaskName(name) && shape.length === 2);
				const read = async ({ name, type, shape, file }: TensorFile) =>
					[name, { type, shape, bytes: await readFile(file) }] as const;
				return attentionMaskOf(await Promise.all(masks.map(read)));
			}),
		);
	}

	/** The values inside: all that both models have, else, where the HTP refuses so many outputs, those that are integers. */
	async #compareInside(
		referencePath: string,
		convertedPath: string,
		samples: Samples,
	): Promise<Pick<Verification, "inner" | "firstWrong" | "innerFailure">> {
		const isOnHtp = this.#target !== undefined;
		let failure: RunFailure | null = null;
		for (const onlyIntegers of isOnHtp ? [false, true] : [false]) {
			const [reference, converted] = [await readModel(referencePath), await readModel(convertedPath)];
			const all = commonValues(reference, converted, isOnHtp);
			const common = onlyIntegers ? all.filter((value) => value.converted.encoding !== undefined) : all;
			exposeProbes(
				reference,
				common.map((value) => value.reference),
			);
			exposeProbes(
				converted,
				common.map((value) => value.converted),
			);
			const kind = onlyIntegers ? "integers" : "inner";
			const runs = await this.#run(
				await this.#copy(reference, `reference-${kind}`),
				await this.#copy(converted, `converted-${kind}`),
				samples,
				`${kind}-`,
			);
			if (!("model" in runs)) {
				const inner = compareInner(converted, common, outputsOf(runs));
				const limit = this.#options.minSqnrDb ?? WRONG_DB;
				const wrong = inner.find(({ problem, sqnrDb }) => problem !== null || (sqnrDb !== null && sqnrDb < limit));
				return { inner, firstWrong: wrong?.name ?? null, innerFailure: null };
			}
			failure = runs;
		}
		return { inner: [], firstWrong: null, innerFailure: failure };
	}

	/** The file of a model as ONNX Runtime loads it: itself, or a copy in which small tensors are inside. */
	async #loadable(model: Model, file: string, name: string): Promise<string> {
		return embedSmallTensors(model) ? this.#copy(model, name) : file;
	}

	async #copy(model: Model, name: string): Promise<string> {
		const file = path.join(this.#folder, name, "model.onnx");
		await mkdir(path.dirname(file));
		const { signal } = this.#options;
		await writeModel(model, file, { externalData: "keep", ...(signal === undefined ? {} : { signal }) });
		return file;
	}

	async #run(reference: string, converted: string, samples: Samples, prefix: string): Promise<Runs | RunFailure> {
		const first = await this.#session("reference", reference, samples, prefix);
		if (first.status !== "ok") return { ...first, model: "reference" };
		const second = await this.#session("converted", converted, samples, prefix);
		if (second.status !== "ok") return { ...second, model: "converted" };
		return { reference: first, converted: second };
	}

	async #session(
		which: "reference" | "converted",
		model: string,
		samples: Samples,
		prefix: string,
	): Promise<SessionResult> {
		const { timeoutSeconds = DEFAULT_TIMEOUT_SECONDS, signal, onProgress, allowCpuFallback } = this.#options;
		const target = which === "converted" ? this.#target : undefined;
		const folder = path.join(this.#folder, `${prefix}${which}-outputs`);
		await mkdir(folder, { recursive: true });
		const { length } = samples[which];
		const where = target === undefined ? "on the CPU" : `on ${targetName(target)}`;
		onProgress?.(
			target === undefined ? `loading the ${which} model` : `compiling for ${targetName(target)}`,
			0,
			length,
		);
		const settings: SessionOptions = {
			timeoutSeconds,
			signal,
			onSample: (done) => onProgress?.(`running the ${which} model ${where}`, done, length),
		};
		const job = { model, dimensions: samples.dimensions, samples: samples[which], folder };
		if (target === undefined) return runOnCpu(job, settings);
		const providerOptions = { ...this.#targetOptions, ...this.#options.providerOptions };
		return runOnHtp(this.#python!, { ...job, providerOptions, allowCpuFallback }, settings);
	}
}

function outputsOf({ reference, converted }: Runs): RunOutputs {
	return { reference: reference.outputs, converted: converted.outputs };
}

function secondsOf(runs: Runs | undefined): Verification["seconds"] {
	return {
		referenceLoad: runs?.reference.loadSeconds ?? 0,
		referenceRun: runs?.reference.runSeconds ?? 0,
		convertedLoad: runs?.converted.loadSeconds ?? 0,
		convertedRun: runs?.converted.runSeconds ?? 0,
	};
}
