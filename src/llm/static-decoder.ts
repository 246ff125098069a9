import path from "node:path";
import type { NumpyArray } from "../arrays/npz.js";
import { readModel } from "../onnx/file.js";
import { LiveHtp, type LiveHtpOptions } from "../runtime/live-htp.js";
import { floatsOf, LiveSession } from "../runtime/live-session.js";
import { inputsOf, type ModelInput } from "../runtime/model-inputs.js";
import type { Target } from "../targets/target.js";
import { largest } from "./dynamic-decoder.js";
import { type HostState, hostStateOf, integers } from "./host-state.js";
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
		const host = hostStateOf(
			this.#job,
			this.#graphs.flatMap(({ types }) => types),
		);
		const values: Arrays = new Map();
		let scores = new Float32Array();
		for (const window of host.windowsOf(prompt)) scores = await this.#step(window, "decode", host, values);
		const [tokens, logits] = [[largest(scores)], [scores]];
		while (tokens.length < count) {
			scores = await this.#step([tokens.at(-1)!], "prefill", host, values);
			tokens.push(largest(scores));
			logits.push(scores);
		}
		return { tokens, logits };
	}

	close(): Promise<void> {
		return this.#close();
	}

	/** Runs the graphs, all but those of the role `skipped`, on tokens; returns the logits. */
	async #step(
		ids: readonly number[],
		skipped: PipelineGraph["role"],
		host: HostState,
		values: Arrays,
	): Promise<Float32Array<ArrayBuffer>> {
		const { inputs, outputs } = this.#job.config;
		values.set(inputs.ids, integers([1, ids.length], ids));
		host.give(values, ids);
		for (const { role, types, run } of this.#graphs) {
			if (role === skipped) continue;
			const made = await run(new Map(types.map(({ name }) => [name, values.get(name)!])));
			for (const [name, value] of made) values.set(name, value);
		}
		host.keep(values, ids);
		return floatsOf(values.get(outputs.logits)!).slice();
	}
}
