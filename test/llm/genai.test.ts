import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { floatAttribute, intAttribute } from "../../src/ir/attribute.js";
import { convertLlm } from "../../src/llm/convert-llm.js";
import { parseTarget } from "../../src/targets/target.js";
import { firstDifference, type GenaiGeneration, generateWithGenai, prepareGenai } from "../support/genai.js";
import { HTP_HOME } from "../support/htp.js";
import { type DirectoryOptions, writeGenaiDirectory } from "./genai-directory.js";

/* Directories as the Python package onnxruntime-genai runs them. */

const corpus = fileURLToPath(new URL("../../../shared/corpus/genai", import.meta.url));
const setup = await prepareGenai();
const python = "python" in setup ? setup.python : "";
let folder: string;
beforeAll(() => {
	folder = mkdtempSync(path.join(tmpdir(), "qgraph-genai-"));
});
afterAll(() => {
	rmSync(folder, { recursive: true });
});

const TOKENS = 24;
const TARGET = parseTarget("qnn-htp:SM8750");

/** Below the window, as long, above it, and several windows; ids from 3 on, for those below are special. */
function promptsFor(window: number, vocabulary: number): number[][] {
	return [window - 3, window, window + 5, 2 * window + 4].map((length, round) =>
		Array.from({ length }, (_, index) => 3 + ((index * 7 + round * 5) % (vocabulary - 4))),
	);
}

function differences(expected: readonly GenaiGeneration[], actual: readonly GenaiGeneration[], tie?: number): string[] {
	return expected.flatMap((generation, index) => firstDifference(generation, actual[index]!, tie) ?? []);
}

const SHAPES: Readonly<Record<string, DirectoryOptions>> = {
	"a Llama": {},
	"a Phi": { phi: true, rotatedSize: 16, shortLength: 60, attention: [{}, { local_window_size: intAttribute(9) }] },
	"a Qwen with rotary embeddings outside of the attention": { rotary: "outside", qkNorm: true, separate: true },
	"a local window and softcaps": {
		attention: [
			{ local_window_size: intAttribute(5), softcap: floatAttribute(4) },
			{ softcap: floatAttribute(4), rotary_interleaved: intAttribute(1) },
		],
		capsLogits: true,
	},
};

describe.skipIf("missing" in setup)("ONNX Runtime GenAI", () => {
	test("generates what dynamic decoders do, on the CPU and on the HTP", async () => {
		const jobs = [];
		for (const [name, options] of Object.entries(SHAPES)) {
			const [input, onCpu, onHtp] = ["", " static", " for the HTP"].map((kind) => path.join(folder, name + kind));
			writeGenaiDirectory(input!, options);
			await convertLlm(input!, onCpu!, { prefill: 8 });
			await convertLlm(input!, onHtp!, { prefill: 8, target: TARGET, layout: options.qkNorm === true ? "A" : "C" });
			const common = { prompts: promptsFor(8, 48), count: TOKENS };
			jobs.push(
				{ ...common, folder: input! },
				{ ...common, folder: onCpu! },
				{ ...common, folder: onHtp!, onHtp: true },
			);
		}
		const generations = await generateWithGenai(python, jobs);
		for (const [index, name] of Object.keys(SHAPES).entries()) {
			const [expected, cpu, htp] = generations.slice(3 * index, 3 * index + 3);
			expect(differences(expected!, cpu!, 0), name).toEqual([]);
			expect(differences(expected!, htp!), name).toEqual([]);
		}
	});

	test("generates with compiled contexts of parts, the head on the CPU, what it does with the graphs", async () => {
		const [input, graphs, contexts] = ["compiled", "graphs", "contexts"].map((name) => path.join(folder, name));
		writeGenaiDirectory(input!);
		await convertLlm(input!, graphs!, { prefill: 8, target: TARGET });
		const compiled = { target: TARGET, compile: "separate", htpHome: HTP_HOME } as const;
		await convertLlm(input!, contexts!, { prefill: 8, splits: 2, head: "cpu", ...compiled });
		const common = { prompts: promptsFor(8, 48), count: TOKENS, onHtp: true };
		const [expected, actual] = await generateWithGenai(python, [
			{ ...common, folder: graphs! },
			{ ...common, folder: contexts! },
		]);
		expect(differences(expected!, actual!)).toEqual([]);
	});
});

describe.skipIf("missing" in setup)("ONNX Runtime GenAI with quantized graphs", () => {
	test.each(["u8", "u16"] as const)(
		"generates with a cache of %s on the HTP what it does on the CPU",
		async (cache) => {
			const [input, onCpu, onHtp] = ["", " static", " for the HTP"].map((kind) => path.join(folder, cache + kind));
			writeGenaiDirectory(input!);
			const settings = { prefill: 8, quantization: { recipe: "16a8w", cache } };
			await convertLlm(input!, onHtp!, { ...settings, target: TARGET });
			await convertLlm(input!, onCpu!, settings);
			for (const name of ["front", "prefill", "decode", "kv_update", "lm_head"]) {
				for (const file of [`${name}.onnx`, `${name}.onnx.data`]) {
					if (existsSync(path.join(onHtp!, file))) copyFileSync(path.join(onHtp!, file), path.join(onCpu!, file));
				}
			}
			const common = { prompts: promptsFor(8, 48), count: TOKENS };
			const [expected, actual] = await generateWithGenai(python, [
				{ ...common, folder: onCpu! },
				{ ...common, folder: onHtp!, onHtp: true },
			]);
			expect(differences(expected!, actual!)).toEqual([]);
		},
	);
});

describe.skipIf("missing" in setup || !existsSync(corpus))("ONNX Runtime GenAI with exported models", () => {
	test.each(["qwen3-tied-int4", "qwen3-untied-fp32", "qwen3-untied-nb", "qwen3-untied-qdq"])(
		"generates what %s does",
		async (name) => {
			const [input, output] = [path.join(corpus, name), path.join(folder, name)];
			await convertLlm(input, output, { context: 128, prefill: 16 });
			const common = { prompts: promptsFor(16, 500), count: TOKENS };
			const [expected, actual] = await generateWithGenai(python, [
				{ ...common, folder: input },
				{ ...common, folder: output },
			]);
			expect(expected!.map(({ tokens }) => tokens.length)).toEqual([TOKENS, TOKENS, TOKENS, TOKENS]);
			expect(differences(expected!, actual!, 0)).toEqual([]);
		},
	);
});
