import { type Diagnostic, QGraphError } from "../diagnostics.js";
import { intOf } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { isMicrosoftOp } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import { allNodes } from "../ir/walk.js";
import { readModel } from "../onnx/file.js";
import type { Target } from "../targets/target.js";
import type { ContextKind } from "./compile-graphs.js";
import { type GenaiConfig, readGenaiConfig } from "./genai-config.js";
import type { GraphLengths } from "./layer-graph.js";
import { freeToken } from "./pad-token.js";
import type { LlmQuantizeOptions } from "./quantize-graphs.js";
import { shortRotaryLength } from "./rotary-caches.js";
import { halfFloatsOf } from "./widen-floats.js";

/** What static graphs are to be like. */
export interface LlmSettings {
	/**
	 * Positions of the cache; default the model's context length, 4096 at most, and no more than the shorter of two rotary
	 * tables is for: with more the longer one is used, for short sequences, too.
	 */
	readonly context?: number | undefined;
	/** Tokens of a prompt that are taken at once; default 128, or the context where that is shorter. */
	readonly prefill?: number | undefined;
	/** Where prefill, decode and head run; left out: on the CPU. */
	readonly target?: Target | undefined;
	/** Version of ONNX Runtime GenAI that the directory is for; default 0.18. */
	readonly genaiVersion?: string | undefined;
	/** Who updates the cache; default C. */
	readonly layout?: CacheLayout | undefined;
	/** Parts that prefill and decode are cut into; default `auto`, as few as fit into the HTP. */
	readonly splits?: number | "auto" | undefined;
	/** Where the head runs; default `htp`, where prefill and decode do. */
	readonly head?: HeadPlace | undefined;
	/** Generate on the CPU and on the target's emulator, and compare. */
	readonly verify?: boolean | undefined;
	/** Compile what runs on the target, and write that instead of the graphs. */
	readonly compile?: ContextKind | undefined;
	/** How the graphs are quantized; left out: not at all. */
	readonly quantization?: LlmQuantizeOptions | undefined;
}

/**
 * C: a graph on the CPU updates the cache, prefill and decode give what is new alone. A: prefill and decode, which give the
 * whole cache. B: the host, which moves it; of UINT8 only, and for ONNX Runtime GenAI 0.13 to 0.16.
 */
export type CacheLayout = "A" | "B" | "C";

export type HeadPlace = "htp" | "cpu";

/** A conversion as it is to be, every default resolved. */
export interface LlmJob {
	/** Does the model become one of FLOAT first? One of BFLOAT16, and one of FLOAT16 that is to be quantized. */
	readonly widens: boolean;
	/** The directory with the dynamic decoder. */
	readonly folder: string;
	readonly config: GenaiConfig;
	readonly lengths: GraphLengths;
	/** An id that no token has. */
	readonly padToken: number;
	readonly target: Target | undefined;
	readonly genaiVersion: string;
	readonly layout: CacheLayout;
	readonly splits: number | "auto";
	readonly head: HeadPlace;
	readonly compile: ContextKind | undefined;
	readonly quantization: LlmQuantizeOptions | undefined;
	/**
	 * How exact ONNX Runtime is to compute products of block-quantized codes on the CPU: as `accuracy_level` of the model's
	 * MatMulNBits says, the most exact where they differ, and as the codes of activations say where these are quantized;
	 * undefined: as it does anyway.
	 */
	readonly accuracyLevel: number | undefined;
	/** What there is to say of the settings. */
	readonly diagnostics: readonly Diagnostic[];
}

const [DEFAULT_CONTEXT, DEFAULT_PREFILL, DEFAULT_GENAI_VERSION] = [4096, 128, "0.18"];

/** Reads what a directory says of its model and completes the settings. Rejects with `llm/config`, `llm/unsupported`, `llm/length`, `llm/settings` or `llm/pad-token`, and with what reading the model says. */
export async function readJob(folder: string, settings: LlmSettings): Promise<LlmJob> {
	const config = readGenaiConfig(folder);
	const model = await readModel(config.modelFile);
	const shortLength = shortRotaryLength(model);
	const lengths = lengthsOf(config, shortLength, settings);
	const padToken = freeToken(folder, config);
	if (padToken === undefined) {
		const message = `every id below ${config.vocabularySize} is a token, and the pad token ends sequences: prompts cannot be filled up`;
		throw new QGraphError("llm/pad-token", message, { file: folder });
	}
	const {
		target,
		compile,
		layout = "C",
		genaiVersion = layout === "B" ? WINDOWED_GENAI.newest : DEFAULT_GENAI_VERSION,
		splits = "auto",
		head = "htp",
		quantization,
	} = settings;
	if ((compile !== undefined || settings.verify === true) && target === undefined) {
		const what = compile === undefined ? "verified, but not on what" : "compiled, but not for what";
		throw new QGraphError("llm/settings", `graphs are to be ${what}: name a target, such as qnn-htp:v79`);
	}
	checkVersion(genaiVersion);
	const diagnostics =
		layout === "B" ? checkWindowed(lengths, genaiVersion, quantization) : whatToSayOf(genaiVersion, lengths);
	if (splits !== "auto" && !(Number.isInteger(splits) && splits > 0)) {
		throw new QGraphError("llm/settings", `${splits} parts were asked for, expected a whole number or 'auto'`);
	}
	const half = halfFloatsOf(model);
	const widens = half === DataType.BFLOAT16 || (half === DataType.FLOAT16 && quantization !== undefined);
	return {
		folder,
		widens,
		config,
		lengths,
		padToken,
		target,
		genaiVersion,
		compile,
		layout,
		splits,
		head,
		quantization,
		accuracyLevel: quantization === undefined ? accuracyLevelOf(model) : MOST_EXACT,
		diagnostics,
	};
}

/** What ONNX Runtime makes of a product of block-quantized codes: activations become 8 bits. */
const DEFAULT_ACCURACY_LEVEL = 4;

/** In float32, which is what an operator without a level computes in, too. */
const MOST_EXACT = 1;

function accuracyLevelOf(model: Model): number | undefined {
	const products = [...allNodes(model)].filter(({ node }) => isMicrosoftOp(node, "MatMulNBits"));
	const levels = products.map(({ node }) => intOf(node, "accuracy_level", 0) || MOST_EXACT);
	const level = Math.min(...levels, DEFAULT_ACCURACY_LEVEL);
	return level === DEFAULT_ACCURACY_LEVEL ? undefined : level;
}

/** Older versions want the logits of every token of a window, which a head for the last one does not give. */
const OLDEST_GENAI = 12;

function checkVersion(version: string): void {
	const [, major, minor] = /^(\d+)\.(\d+)(\.\d+)?$/.exec(version) ?? [];
	if (minor !== undefined && (Number(major) > 0 || Number(minor) >= OLDEST_GENAI)) return;
	const message = `the directory is to be for version '${version}' of ONNX Runtime GenAI, expected 0.${OLDEST_GENAI} or later: older ones do not run such pipelines`;
	throw new QGraphError("llm/settings", message);
}

/** Those that move the cache of a pipeline. */
const WINDOWED_GENAI = { oldest: "0.13", newest: "0.16" } as const;

/** Is it what GenAI takes as a cache that it moves? Returns what there is to say of it. */
function checkWindowed(
	{ context, sequence }: GraphLengths,
	version: string,
	quantization: LlmQuantizeOptions | undefined,
): Diagnostic[] {
	const { oldest, newest } = WINDOWED_GENAI;
	const layout = "layout B, a cache that GenAI moves,";
	if (quantization === undefined || (quantization.cache ?? "u8") !== "u8") {
		const message = `${layout} has keys and values of 8 bits only: name a recipe, such as 16a8w, and let them be u8`;
		throw new QGraphError("llm/settings", message);
	}
	const versions = `runs in ONNX Runtime GenAI ${oldest} to ${newest}`;
	if (compareVersions(version, oldest) < 0 || compareVersions(version, newest) > 0) {
		const message = `${layout} ${versions}, not in ${version}; layouts C and A run from 0.${OLDEST_GENAI} on`;
		throw new QGraphError("llm/settings", message);
	}
	if (context < 2 * sequence) {
		const message = `${layout} needs a context of two windows: ${context} was given, expected ${2 * sequence} at least`;
		throw new QGraphError("llm/length", message);
	}
	const message = `${layout} ${versions} only, and takes one prompt in a conversation: layout C runs in all others`;
	return [{ code: "llm/genai-version", severity: "warning", message, at: {}, notes: [] }];
}

/** The version whose caches are as long as `max_length`, and not as the graphs have them. */
const GENAI_OF_FITTING_LENGTHS = "0.16";

function whatToSayOf(version: string, { context }: GraphLengths): Diagnostic[] {
	if (compareVersions(version, GENAI_OF_FITTING_LENGTHS) !== 0) return [];
	const message = `ONNX Runtime GenAI ${version} makes caches as long as max_length, which therefore has to stay ${context}, as the config says; 0.17 and later take smaller ones, too`;
	return [{ code: "llm/genai-version", severity: "warning", message, at: {}, notes: [] }];
}

/** Of major and minor numbers: below 0, 0, or above it. */
function compareVersions(a: string, b: string): number {
	const [x, y] = [a, b].map((version) => version.split(".").map(Number));
	return x![0]! - y![0]! || x![1]! - y![1]!;
}

function lengthsOf(
	{ contextLength }: GenaiConfig,
	shortLength: number | undefined,
	settings: LlmSettings,
): GraphLengths {
	const longest = Math.min(contextLength, DEFAULT_CONTEXT, shortLength ?? DEFAULT_CONTEXT);
	const context = settings.context ?? longest;
	const sequence = settings.prefill ?? Math.min(DEFAULT_PREFILL, context);
	const isRight =
		[context, sequence].every(Number.isInteger) && sequence > 1 && sequence <= context && context <= contextLength;
	if (isRight) return { context, sequence };
	const message = `prefill ${sequence} and context ${context} were given, expected 1 < prefill <= context <= ${contextLength}, the model's context length`;
	throw new QGraphError("llm/length", message);
}
