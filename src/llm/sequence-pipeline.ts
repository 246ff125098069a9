import path from "node:path";
import { bytesFrom, bytesPerElement } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { elementCount } from "../ir/types.js";
import { readModel } from "../onnx/file.js";
import type { Grid } from "../quant/grid.js";
import { floatsOf, LiveSession } from "../runtime/live-session.js";
import { inputsOf, type ModelInput } from "../runtime/model-inputs.js";
import type { GenaiConfig } from "./genai-config.js";
import { NAMES } from "./layer-graph.js";

/** Lengths of graphs that take a sequence at once, of any length, behind a past of one position, which the mask hides. */
export const WHOLE = { sequence: "sequence", context: 1, total: "total" } as const;

/** What came of a sequence. */
export interface SequenceStates {
	/** By name, as real numbers. */
	readonly states: ReadonlyMap<string, Float32Array>;
	/** [sequence, vocabulary]. */
	readonly logits: Float32Array;
}

/** Graphs of whole sequences: front, layers and head, float or quantized. */
export interface SequenceFiles {
	readonly front: string;
	readonly layers: string;
	readonly head: string;
}

export interface SequencePipelineOptions {
	/** Of outputs of the layers: the state in front of each, and that in front of the head. */
	readonly stateNames: readonly string[];
	/** What the codes of the last of them stand for; undefined: it is float. */
	readonly hidden?: Grid | undefined;
}

/** A pipeline that takes whole sequences, on the CPU. */
export class SequencePipeline {
	readonly stateNames: readonly string[];
	readonly #config: GenaiConfig;
	readonly #front: LiveSession;
	readonly #layers: LiveSession;
	readonly #head: LiveSession;
	readonly #inputs: readonly ModelInput[];
	readonly #hidden: Grid | undefined;

	private constructor(
		config: GenaiConfig,
		{ stateNames, hidden }: SequencePipelineOptions,
		sessions: readonly LiveSession[],
		inputs: readonly ModelInput[],
	) {
		this.#config = config;
		this.stateNames = stateNames;
		[this.#front, this.#layers, this.#head] = sessions as [LiveSession, LiveSession, LiveSession];
		this.#inputs = inputs;
		this.#hidden = hidden;
	}

	static async open(
		config: GenaiConfig,
		{ front, layers, head }: SequenceFiles,
		options: SequencePipelineOptions,
	): Promise<SequencePipeline> {
		const inputs = inputsOf(await readModel(layers));
		const sessions: LiveSession[] = [];
		try {
			for (const file of [front, layers, head]) sessions.push(await LiveSession.open(file));
		} catch (error) {
			for (const session of sessions) await session.close();
			throw error;
		}
		return new SequencePipeline(config, options, sessions, inputs);
	}

	async run(tokens: readonly number[]): Promise<SequenceStates> {
		const front = await this.#front.run(frontFeeds(this.#config, tokens));
		const names = [...new Set([...this.stateNames, NAMES.hidden])];
		const found = await this.#layers.run(layerFeeds(this.#inputs, front), names);
		const hidden = found.get(NAMES.hidden)!;
		const logits = await this.#head.run(new Map([[NAMES.hidden, hidden]]));
		return {
			states: new Map(this.stateNames.map((name) => [name, this.#stateOf(name, found.get(name)!)] as const)),
			logits: floatsOf(logits.get(this.#config.outputs.logits)!),
		};
	}

	#stateOf(name: string, array: NumpyArray): Float32Array {
		const grid = name === NAMES.hidden ? this.#hidden : undefined;
		const values = floatsOf(array);
		return grid === undefined ? values : values.map((code) => (code - grid.zeroPoint) * grid.scale);
	}

	async close(): Promise<void> {
		for (const session of [this.#front, this.#layers, this.#head]) await session.close();
	}
}

/** The files of {@link SequencePipeline} in a folder. */
export function sequenceFiles(folder: string): SequenceFiles {
	const file = (name: string) => path.join(folder, `${name}.onnx`);
	return { front: file("front"), layers: file("layers"), head: file("head") };
}

/** What a front takes for a sequence from its beginning. */
export function frontFeeds({ inputs }: GenaiConfig, tokens: readonly number[]): Map<string, NumpyArray> {
	const ints = (shape: readonly number[], values: readonly number[]): NumpyArray => {
		return { type: "int32", shape, bytes: bytesFrom("int32", values) };
	};
	return new Map([
		[inputs.ids, ints([1, tokens.length], tokens)],
		[NAMES.lastPosition, ints([1, 1], [tokens.length - 1])],
		[NAMES.totalLength, ints([1], [tokens.length])],
	]);
}

/** What layers take: what the front gives, and zeros for pasts. */
export function layerFeeds(
	layers: readonly ModelInput[],
	front: ReadonlyMap<string, NumpyArray>,
): Map<string, NumpyArray> {
	return new Map(
		layers.map(({ name, type, shape }): [string, NumpyArray] => {
			const given = front.get(name);
			if (given !== undefined) return [name, given];
			const past = (shape as readonly number[] | undefined) ?? [];
			return [name, { type, shape: past, bytes: new Uint8Array(elementCount(past) * bytesPerElement(type)) }];
		}),
	);
}
