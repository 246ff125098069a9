import path from "node:path";
import { bytesFrom, bytesPerElement } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { elementCount } from "../ir/types.js";
import { readModel } from "../onnx/file.js";
import { LiveHtp, type LiveHtpOptions } from "../runtime/live-htp.js";
import { floatsOf, LiveSession } from "../runtime/live-session.js";
import { inputsOf, type ModelInput } from "../runtime/model-inputs.js";
import type { Target } from "../targets/target.js";
import { layerName } from "./genai-config.js";
import { NAMES } from "./layer-graph.js";
import type { LlmJob } from "./llm-job.js";
import { type PipelineGraph, runsOnTarget } from "./pipeline-graph.js";

/** A greedy generation: the tokens, and the logits that each was chosen by. */
export interface Generation {
	readonly tokens: readonly number[];
	readonly logits: readonly Float32Array[];
}

type Arrays = Map<string, NumpyArray>;

interface RunningGraph extends PipelineGraph {
	readonly types: readonly ModelInput[];
	readonly run: (inputs: ReadonlyMap<string, NumpyArray>) => Promise<Arrays>;
}

/** The graphs of a pipeline, run as GenAI runs them: prompts in windows that are filled up, then token by token. */
export class StaticDecoder {
	readonly #job: LlmJob;
	readonly #graphs: readonly RunningGraph[];
	readonly #close: () => Promise<void>;

	private constructor(job: LlmJob, graphs: readonly RunningGraph[], close: () => Promise<void>) {
		this.#job = job;
		this.#graphs = graphs;
		this.#close = close;
	}

	/** Loads the graphs in `folder`: those for the HTP on the emulator of `target`, where there is one. Rejects with `runtime/missing` and `htp/...`. */
	static async open(
		job: LlmJob,
		graphs: readonly PipelineGraph[],
		folder: string,
		target: Target | undefined,
		options: LiveHtpOptions = {},
	): Promise<StaticDecoder> {
		const onTarget = target === undefined ? [] : graphs.filter((graph) => runsOnTarget(graph, job.head));
		const files = new Map(graphs.map(({ name, fileName }) => [name, path.join(folder, fileName)] as const));
		const closers: (() => Promise<void>)[] = [];
		const close = async () => {
			for (const closer of closers) await closer();
		};
		try {
			const targets = new Map(onTarget.map(({ name }) => [name, files.get(name)!] as const));
			const htp = targets.size === 0 ? undefined : await LiveHtp.open(targets, target!, options);
			if (htp !== undefined) closers.push(() => htp.close());
			const running: RunningGraph[] = [];
			for (const graph of graphs) {
				const types = inputsOf(await readModel(files.get(graph.name)!));
				if (htp !== undefined && targets.has(graph.name)) {
					running.push({ ...graph, types, run: (inputs) => htp.run(graph.name, inputs) });
					continue;
				}
				const session = await LiveSession.open(files.get(graph.name)!);
				closers.push(() => session.close());
				running.push({ ...graph, types, run: (inputs) => session.run(inputs) });
			}
			return new StaticDecoder(job, running, close);
		} catch (error) {
			await close();
			throw error;
		}
	}

	/** The `count` likeliest tokens behind `prompt`, one after the other. */
	async generate(prompt: readonly number[], count: number): Promise<Generation> {
		const { lengths, padToken } = this.#job;
		const values: Arrays = this.#emptyCache();
		const [tokens, logits]: [number[], Float32Array[]] = [[], []];
		let filled = 0;
		while (tokens.length < count) {
			let scores: Float32Array | undefined;
			if (tokens.length === 0) {
				for (let at = 0; at < prompt.length; at += lengths.sequence) {
					const window = prompt.slice(at, at + lengths.sequence);
					const fill = new Array<number>(lengths.sequence - window.length).fill(padToken);
					scores = await this.#step([...window, ...fill], filled, "decode", values);
					filled += window.length;
				}
			} else {
				scores = await this.#step([tokens.at(-1)!], filled, "prefill", values);
				filled++;
			}
			tokens.push(largest(scores!));
			logits.push(scores!);
		}
		return { tokens, logits };
	}

	close(): Promise<void> {
		return this.#close();
	}

	/** Runs the graphs, all but those of the role `skipped`, on tokens behind `filled` ones. */
	async #step(
		ids: readonly number[],
		filled: number,
		skipped: PipelineGraph["role"],
		values: Arrays,
	): Promise<Float32Array> {
		const { inputs, outputs, layers } = this.#job.config;
		const ints = (shape: readonly number[], numbers: readonly number[]): NumpyArray => {
			return { type: "int32", shape, bytes: bytesFrom("int32", numbers) };
		};
		const last = filled + ids.length - 1;
		values.set(inputs.ids, ints([1, ids.length], ids));
		values.set(NAMES.lastPosition, ints([1, 1], [last]));
		values.set(NAMES.totalLength, ints([1], [last + 1]));
		for (const { role, types, run } of this.#graphs) {
			if (role === skipped) continue;
			const made = await run(new Map(types.map(({ name }) => [name, values.get(name)!])));
			for (const [name, value] of made) values.set(name, value);
		}
		for (let layer = 0; layer < layers; layer++) {
			for (const [past, present] of [
				[inputs.pastKeys, outputs.presentKeys],
				[inputs.pastValues, outputs.presentValues],
			] as const) {
				values.set(layerName(past, layer), values.get(layerName(present, layer))!);
			}
		}
		return floatsOf(values.get(outputs.logits)!).slice();
	}

	#emptyCache(): Arrays {
		const pasts = this.#graphs.flatMap(({ types }) => types);
		const { inputs, layers } = this.#job.config;
		const names = new Set(
			Array.from({ length: layers }, (_, layer) =>
				[inputs.pastKeys, inputs.pastValues].map((name) => layerName(name, layer)),
			).flat(),
		);
		return new Map(
			pasts
				.filter(({ name }) => names.has(name))
				.map(({ name, type, shape }) => {
					const fixed = shape as readonly number[];
					return [name, { type, shape: fixed, bytes: new Uint8Array(elementCount(fixed) * bytesPerElement(type)) }];
				}),
		);
	}
}

function largest(values: Float32Array): number {
	let best = 0;
	for (let index = 1; index < values.length; index++) if (values[index]! > values[best]!) best = index;
	return best;
}
