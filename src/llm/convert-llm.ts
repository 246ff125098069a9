import { copyFileSync, existsSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { QGraphError } from "../diagnostics.js";
import type { Model } from "../ir/model.js";
import { DataType } from "../ir/types.js";
import { readModel, writeModel } from "../onnx/file.js";
import { isSystemError, reasonOf } from "../onnx/io-error.js";
import { makeFolder } from "../onnx/make-folder.js";
import { lowerMatmulNbits } from "../passes/lower-matmul-nbits.js";
import { lowerSkipLayerNorm } from "../passes/lower-skip-layer-norm.js";
import { runPasses } from "../run-passes.js";
import { chipOf, type Target } from "../targets/target.js";
import { cacheGraph } from "./cache-graph.js";
import { makeDecodeGraph } from "./decode-graph.js";
import { cutEmbedding } from "./decoder.js";
import { makeFrontGraph } from "./front-graph.js";
import { GENAI_CONFIG_FILE, type GenaiConfig, type JsonObject, readGenaiConfig } from "./genai-config.js";
import { makeHeadGraph } from "./head-graph.js";
import { type GraphLengths, makeLayerGraph, NAMES } from "./layer-graph.js";
import { freeToken } from "./pad-token.js";
import { type PipelineStage, pipelineConfig, stageOf } from "./pipeline-config.js";

export interface ConvertLlmOptions {
	/** Positions of the cache; default the model's context length, 4096 at most. */
	readonly context?: number | undefined;
	/** Tokens of a prompt that are taken at once; default 128, or the context where that is shorter. */
	readonly prefill?: number | undefined;
	/** Where prefill, decode and head run; left out: on the CPU. */
	readonly target?: Target | undefined;
	/** Version of ONNX Runtime GenAI that the directory is for; default 0.18. */
	readonly genaiVersion?: string | undefined;
	/** Replace the output directory if it exists. */
	readonly overwrite?: boolean | undefined;
	readonly signal?: AbortSignal | undefined;
	/** Called before each graph is made. */
	readonly onGraph?: ((name: string, index: number, count: number) => void) | undefined;
}

/** What was written. */
export interface LlmConversion extends GraphLengths {
	readonly layers: number;
	readonly padToken: number;
	readonly stages: readonly PipelineStage[];
}

const [DEFAULT_CONTEXT, DEFAULT_PREFILL, DEFAULT_GENAI_VERSION] = [4096, 128, "0.18"];

/** What is added to the scores of positions that are not seen, in float graphs. */
const MASKED = -10_000;

/**
 * Makes a directory of ONNX Runtime GenAI with a dynamic decoder one with static graphs: a front on the CPU, prefill and
 * decode over a cache of fixed length, whose weights are one file, the update of the cache on the CPU, and the head. The
 * output appears whole or not at all. Rejects with `llm/config`, `llm/unsupported`, `llm/length`, `llm/pad-token`, or what
 * reading and writing models says.
 */
export async function convertLlm(
	folder: string,
	output: string,
	options: ConvertLlmOptions = {},
): Promise<LlmConversion> {
	const config = readGenaiConfig(folder);
	const lengths = lengthsOf(config, options);
	const padToken = freeToken(folder, config);
	if (padToken === undefined) {
		const message = `every id below ${config.vocabularySize} is a token, and the pad token ends sequences: prompts cannot be filled up`;
		throw new QGraphError("llm/pad-token", message, { file: folder });
	}
	if (existsSync(output) && options.overwrite !== true) {
		throw new QGraphError("write/exists", `'${output}' exists; --force replaces it`, { file: output });
	}
	const making = `${path.resolve(output)}.making-${process.pid}`;
	try {
		await makeFolder(making);
		const stages = await new PipelineWriter(config, lengths, padToken, making, options).write();
		copyOthers(folder, making, config);
		if (existsSync(output)) rmSync(output, { recursive: true });
		renameSync(making, output);
		return { ...lengths, layers: config.layers, padToken, stages };
	} catch (error) {
		if (!isSystemError(error)) throw error;
		const message = `cannot write '${output}': ${reasonOf(error)}`;
		throw new QGraphError("write/failed", message, { file: output }, { cause: error });
	} finally {
		if (existsSync(making)) rmSync(making, { recursive: true, force: true });
	}
}

function lengthsOf({ contextLength }: GenaiConfig, options: ConvertLlmOptions): GraphLengths {
	const context = options.context ?? Math.min(contextLength, DEFAULT_CONTEXT);
	const sequence = options.prefill ?? Math.min(DEFAULT_PREFILL, context);
	const isRight =
		[context, sequence].every(Number.isInteger) && sequence > 1 && sequence <= context && context <= contextLength;
	if (isRight) return { context, sequence };
	const message = `prefill ${sequence} and context ${context} were given, expected 1 < prefill <= context <= ${contextLength}, the model's context length`;
	throw new QGraphError("llm/length", message);
}

class PipelineWriter {
	readonly #config: GenaiConfig;
	readonly #lengths: GraphLengths;
	readonly #padToken: number;
	readonly #folder: string;
	readonly #options: ConvertLlmOptions;

	constructor(
		config: GenaiConfig,
		lengths: GraphLengths,
		padToken: number,
		folder: string,
		options: ConvertLlmOptions,
	) {
		this.#config = config;
		this.#lengths = lengths;
		this.#padToken = padToken;
		this.#folder = folder;
		this.#options = options;
	}

	async write(): Promise<PipelineStage[]> {
		const config = this.#config;
		const { context } = this.#lengths;
		const onTarget = this.#sessionOptions();
		const stages = [
			await this.#stage("front", 0, {}, async () => {
				const model = await readModel(config.modelFile);
				makeFrontGraph(model, config, { context, padToken: this.#padToken, masked: MASKED });
				return model;
			}),
			await this.#stage("prefill", 1, { run_on_token_gen: false, ...onTarget }, async () => {
				const model = await this.#decoder();
				makeLayerGraph(model, config, this.#lengths);
				return model;
			}),
			await this.#stage("decode", 2, { run_on_prompt: false, ...onTarget }, async () => {
				const model = await readModel(path.join(this.#folder, "prefill.onnx"));
				makeDecodeGraph(model, this.#lengths);
				return model;
			}),
			await this.#stage("kv_update", 3, {}, async () => cacheGraph(config, context, DataType.FLOAT)),
			await this.#stage("lm_head", 4, { is_lm_head: true, ...onTarget }, async () => {
				const model = await this.#decoder();
				makeHeadGraph(model, config);
				return model;
			}),
		];
		const settings = {
			...this.#lengths,
			padToken: this.#padToken,
			lastPosition: NAMES.lastPosition,
			totalLength: NAMES.totalLength,
			genaiVersion: this.#options.genaiVersion ?? DEFAULT_GENAI_VERSION,
		};
		const content = `${JSON.stringify(pipelineConfig(config, stages, settings), null, 2)}\n`;
		writeFileSync(path.join(this.#folder, GENAI_CONFIG_FILE), content);
		return stages;
	}

	/** The decoder without its embedding, in standard operators but for the attention. */
	async #decoder(): Promise<Model> {
		const model = await readModel(this.#config.modelFile);
		cutEmbedding(model, this.#config);
		await runPasses(model, [lowerSkipLayerNorm(), lowerMatmulNbits()]);
		return model;
	}

	async #stage(name: string, index: number, options: JsonObject, make: () => Promise<Model>): Promise<PipelineStage> {
		const { signal, onGraph } = this.#options;
		signal?.throwIfAborted();
		onGraph?.(name, index, STAGES);
		const model = await make();
		const fileName = `${name}.onnx`;
		// the weights of prefill serve decode, too
		const externalData = name === "decode" ? "keep" : "one-file";
		await writeModel(model, path.join(this.#folder, fileName), { externalData, ...(signal && { signal }) });
		return stageOf(name, fileName, model, options);
	}

	#sessionOptions(): JsonObject {
		const { target } = this.#options;
		if (target === undefined) return {};
		const provider = {
			backend_path: "libQnnHtp.so",
			soc_model: String(chipOf(target).model),
			htp_performance_mode: "burst",
		};
		return {
			session_options: {
				log_id: "onnxruntime-genai",
				"session.disable_cpu_ep_fallback": "1",
				provider_options: [{ QNN: provider }],
			},
		};
	}
}

const STAGES = 5;

/** The tokenizer and whatever else lies beside the model. */
function copyOthers(folder: string, output: string, { modelFile }: GenaiConfig): void {
	const model = path.basename(modelFile);
	for (const entry of readdirSync(folder, { withFileTypes: true })) {
		const isOther = entry.isFile() && entry.name !== GENAI_CONFIG_FILE && !entry.name.startsWith(model);
		if (isOther) copyFileSync(path.join(folder, entry.name), path.join(output, entry.name));
	}
}
