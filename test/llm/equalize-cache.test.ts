import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { cacheWeights } from "../../src/llm/cache-weights.js";
import { makeStatesGraph } from "../../src/llm/decode-graph.js";
import { equalizeCache } from "../../src/llm/equalize-cache.js";
import { NAMES } from "../../src/llm/layer-graph.js";
import { type LlmJob, readJob } from "../../src/llm/llm-job.js";
import { cutLayers, frontOfSequences, runFront, runLayers, WHOLE } from "../../src/llm/sequence-stages.js";
import { SequenceStore } from "../../src/llm/sequence-store.js";
import { MASKED, splitModel } from "../../src/llm/split-model.js";
import { readModel } from "../../src/onnx/file.js";
import { floatsOf } from "../../src/runtime/live-session.js";
import { sqnrDb } from "../support/ort.js";
import { type DirectoryOptions, SIZES, writeGenaiDirectory } from "./genai-directory.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-equalize-cache-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const SEQUENCES = Array.from({ length: 12 }, (_, row) =>
	Array.from({ length: 24 }, (_, index) => 3 + ((index * 11 + row * 17) % 45)),
);

async function split(
	name: string,
	options: DirectoryOptions,
): Promise<{ job: LlmJob; layers: string; scratch: string }> {
	const [model, float, scratch] = ["model", "float", "scratch"].map((kind) => path.join(folder, `${name} ${kind}`));
	for (const made of [float!, scratch!]) mkdirSync(made);
	writeGenaiDirectory(model!, options);
	const job = await readJob(model!, { context: 32, prefill: 8 });
	await splitModel(job, float!);
	return { job, layers: path.join(float!, "prefill.onnx"), scratch: scratch! };
}

/** Outputs of a float layer graph for all sequences, one behind the other. */
async function run(job: LlmJob, file: string, names: readonly string[], scratch: string) {
	const load = async () => {
		const model = await readModel(file);
		makeStatesGraph(model, WHOLE);
		return model;
	};
	const store = new SequenceStore(scratch, SEQUENCES);
	await runFront(await frontOfSequences(job, MASKED), job.config, store);
	for await (const _ of runLayers(await cutLayers(load, SIZES.layers), store, names, undefined));
	return (name: string) => SEQUENCES.map((_, index) => floatsOf(store.get(index, name)!));
}

const SHAPES: Readonly<Record<string, DirectoryOptions>> = {
	"packed weights": {},
	"weights apart, normalized heads": { separate: true, qkNorm: true },
	"parts of heads turned, biases, sinks": { phi: true, rotatedSize: 16, sinks: true },
	"pairs of neighbours": { attention: [{ rotary_interleaved: intAttribute(1) }, {}] },
	"rotary embeddings in front of the attention": { rotary: "outside" },
	"a head of keys for each of queries": { keyHeads: SIZES.heads },
	"weights of 4 bits": { int4: true },
};

test.each(Object.entries(SHAPES))(
	"%s compute the same with channels of the cache made equal",
	async (name, options) => {
		const { job, layers, scratch } = await split(name, options);
		const { file, ranges } = await equalizeCache(job, layers, SEQUENCES, scratch);
		const names = [NAMES.hidden, NAMES.newKey(1), NAMES.newValue(1)];
		const before = await run(job, layers, names, path.join(scratch, "before"));
		const after = await run(job, file, names, path.join(scratch, "after"));
		const flat = (arrays: readonly Float32Array[]) => arrays.flatMap((array) => [...array]);
		expect(sqnrDb(flat(before(NAMES.hidden)), flat(after(NAMES.hidden)))).toBeGreaterThan(95);
		for (const own of names.slice(1)) {
			const isFound = cacheWeights(await readModel(layers), job.config, 1)[own === names[1] ? "keys" : "values"];
			expect([own, isFound === undefined]).toEqual([own, options.int4 === true]);
			const { keyHeads } = job.config;
			const squares = after(own).reduce(
				(sums, array) => {
					const tokens = array.length / keyHeads / SIZES.headSize;
					for (const [at, value] of array.entries()) {
						const channel = Math.floor(at / tokens / SIZES.headSize) * SIZES.headSize + (at % SIZES.headSize);
						sums[channel]! += value * value;
					}
					return sums;
				},
				new Float64Array(keyHeads * SIZES.headSize),
			);
			const spread = Math.sqrt(Math.max(...squares) / Math.min(...squares));
			if (options.int4 !== true && own === NAMES.newValue(1)) expect(spread).toBeLessThan(1.5);
			const largest = Math.max(...flat(after(own)).map(Math.abs));
			expect(ranges.get(own)!.hi).toBeGreaterThan(0.6 * largest);
			expect(ranges.get(own)!.lo).toBe(-ranges.get(own)!.hi);
		}
	},
);
