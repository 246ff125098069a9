import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { floatAttribute, intAttribute } from "../../src/ir/attribute.js";
import { isOnnxOp } from "../../src/ir/node.js";
import { DataType } from "../../src/ir/types.js";
import { CACHE_TYPES } from "../../src/llm/cache-codes.js";
import { convertLlm, type LlmConversion } from "../../src/llm/convert-llm.js";
import { readModel } from "../../src/onnx/file.js";
import { encodingAt } from "../../src/passes/support/qdq.js";
import { parseTarget } from "../../src/targets/target.js";
import { sqnrDb } from "../support/ort.js";
import { differenceInRanges } from "../support/same-outputs.js";
import { type DirectoryOptions, SIZES, writeGenaiDirectory } from "./genai-directory.js";
import { generateDynamic, generateStatic } from "./generate.js";

let folder: string;
beforeAll(() => {
	folder = mkdtempSync(path.join(tmpdir(), "qgraph-quantize-llm-"));
});
afterAll(() => {
	rmSync(folder, { recursive: true });
});

const LENGTHS = { context: 40, prefill: 8 };
const TARGET = parseTarget("qnn-htp:v79");

const SHAPES: Readonly<Record<string, DirectoryOptions>> = {
	plain: {},
	"a local window and softcaps": {
		attention: [
			{ local_window_size: intAttribute(5), softcap: floatAttribute(4) },
			{ softcap: floatAttribute(4), rotary_interleaved: intAttribute(1) },
		],
		capsLogits: true,
	},
	"parts of heads turned, biases, sinks": { phi: true, rotatedSize: 16, sinks: true },
	"a scaled table tied to the head": { tied: true, embeddingScale: 2.5, prunesHead: true },
};

/** Prompts that are none of those that were calibrated with. */
const PROMPTS = [3, 8, 11, 20].map((length) => Array.from({ length }, (_, index) => 3 + ((index * 7) % 40)));

async function portsOf(file: string) {
	const { graph } = await readModel(file);
	return Object.fromEntries(
		[...graph.inputs, ...graph.outputs].map(({ name, type }) => [name, type?.kind === "tensor" && type.elementType]),
	);
}

/** The mean dB of the logits that choose the tokens that both generate, and of the prompts' first ones at least. */
async function generationDb(input: string, output: string): Promise<number> {
	const [expected, actual]: [number[], number[]] = [[], []];
	for (const prompt of PROMPTS) {
		const [float, quantized] = [await generateDynamic(input, prompt, 8), await generateStatic(output, prompt, 8)];
		for (const [index, token] of float.tokens.entries()) {
			expected.push(...float.logits[index]!);
			actual.push(...quantized.logits[index]!);
			if (token !== quantized.tokens[index]) break;
		}
	}
	return sqnrDb(expected, actual);
}

describe("convertLlm with a recipe", () => {
	describe.each(Object.entries(SHAPES))("%s", (name, options) => {
		let [input, output] = ["", ""];
		let result: LlmConversion;
		beforeAll(async () => {
			[input, output] = [path.join(folder, name), path.join(folder, `${name} 8 bits`)];
			writeGenaiDirectory(input, options);
			result = await convertLlm(input, output, { ...LENGTHS, target: TARGET, quantization: { recipe: "16a8w" } });
		}, 60_000);

		test("says nearly the same after prompts that it was not calibrated with", async () => {
			expect(await generationDb(input, output)).toBeGreaterThan(30);
			const { judgement } = result.quantization!;
			expect(judgement.logitsDb).toBeGreaterThan(30);
			expect(judgement.layersDb).toHaveLength(2);
			expect(Math.min(...judgement.layersDb.map((db) => db ?? 0))).toBeGreaterThan(30);
			expect(judgement.topAgreement).toBeGreaterThan(0.9);
			const { before, after } = judgement.perplexity;
			expect(Math.abs(after! / before! - 1)).toBeLessThan(0.02);
		});

		test("takes and gives codes only, but for the logits and the place of the last token", async () => {
			for (const graph of ["prefill", "decode"]) {
				for (const [port, type] of Object.entries(await portsOf(path.join(output, `${graph}.onnx`)))) {
					const isCache = /key|value/.test(port);
					const expected = port === "last_idx" ? DataType.INT32 : isCache ? DataType.UINT8 : DataType.UINT16;
					expect([port, type]).toEqual([port, expected]);
				}
			}
			expect(await portsOf(path.join(output, "lm_head.onnx"))).toEqual({
				hidden_states: DataType.UINT16,
				logits: DataType.FLOAT,
			});
			const front = await portsOf(path.join(output, "front.onnx"));
			expect(front.inputs_embeds).toBe(DataType.UINT16);
			expect(front.attn_bias).toBe(DataType.UINT16);
			expect((await portsOf(path.join(output, "kv_update.onnx")))["present.1.key"]).toBe(DataType.UINT8);
		});

		test("has one set of encodings, one of weights, and caches whose 0 is 128", async () => {
			const encodings = async (graph: string) => {
				const model = await readModel(path.join(output, `${graph}.onnx`));
				const quantizers = [...model.graph.nodes].filter((node) => isOnnxOp(node, "QuantizeLinear"));
				return new Map(quantizers.map((node) => [node.outputs[0]!.name, encodingAt(node)] as const));
			};
			const prefill = await encodings("prefill");
			expect(await encodings("decode")).toEqual(prefill);
			const codes = [...prefill].filter(([value]) => /^new\.\d\.(key|value)$/.test(value));
			expect(codes.map(([, encoding]) => encoding?.zeroPoint)).toEqual([128, 128, 128, 128]);
			// the HTP rounds to 8 bits as the CPU does only from a grid of the same zero that is 256 times finer
			for (const [name, encoding] of codes) {
				const finer = [...prefill].find(([value]) => value.startsWith(`${name}_made`))?.[1];
				expect(finer).toMatchObject({ dtype: DataType.UINT16, zeroPoint: 128 * 256 });
				expect(finer!.scale * 256).toBeCloseTo(encoding!.scale, 10);
			}
			expect(readdirSync(output)).not.toContain("decode.onnx.data");
			expect(statSync(path.join(output, "prefill.onnx.data")).size).toBeLessThan(60_000);
		});

		test("masks by what the scores are", () => {
			const { masked } = result.quantization!;
			expect(masked).toBeLessThan(-20);
			expect(masked).toBeGreaterThan(-60);
		});
	});

	test.each(CACHE_TYPES)(
		"keeps keys and values as %s",
		async (cache) => {
			const [input, output] = [path.join(folder, "plain"), path.join(folder, `plain ${cache}`)];
			const quantization = { recipe: "16a8w", cache, gptq: false };
			await convertLlm(input, output, { ...LENGTHS, target: TARGET, quantization });
			expect(await generationDb(input, output)).toBeGreaterThan(30);
			const ports = await portsOf(path.join(output, "decode.onnx"));
			const expected = { u8: DataType.UINT8, u16: DataType.INT16, float: DataType.FLOAT };
			expect(ports["new.0.key"]).toBe(expected[cache]);
			expect(ports["past_key_values.1.value"]).toBe(expected[cache]);
			expect(ports.inputs_embeds).toBe(DataType.UINT16);
		},
		60_000,
	);

	test.each([
		[
			"a local window and softcaps, in parts",
			{ attention: [{ local_window_size: intAttribute(5), softcap: floatAttribute(4) }, {}] },
			2,
		],
		["sinks, rotary embeddings outside of the attention", { sinks: true, rotary: "outside", qkNorm: true }, 1],
		["a head of keys for each of queries", { keyHeads: SIZES.heads }, 1],
	] as const)(
		"has a cache that the host moves, %s, and says with it what it says with others",
		async (name, options, splits) => {
			const input = path.join(folder, `moved ${name}`);
			const [moved, indexed] = [`${input} B`, `${input} C`];
			writeGenaiDirectory(input, options);
			const settings = { ...LENGTHS, target: TARGET, splits, quantization: { recipe: "16a8w", gptq: false } };
			await convertLlm(input, indexed, settings);
			const { diagnostics, graphs } = await convertLlm(input, moved, { ...settings, layout: "B" });
			expect(diagnostics.map(({ code }) => code)).toEqual(["llm/genai-version"]);
			expect(graphs.map(({ role }) => role)).not.toContain("kv_update");
			for (const prompt of PROMPTS) {
				const [expected, actual] = [await generateStatic(indexed, prompt, 12), await generateStatic(moved, prompt, 12)];
				expect(actual.tokens).toEqual(expected.tokens);
				for (const [index, logits] of expected.logits.entries()) {
					// columns in another order: sums that round to another code of 16 bits
					expect(differenceInRanges(logits, actual.logits[index]!)).toBeLessThan(1e-3);
				}
			}
			const keyHeads = "keyHeads" in options ? options.keyHeads : SIZES.keyHeads;
			const { graph } = await readModel(path.join(moved, splits === 1 ? "prefill.onnx" : "prefill_0.onnx"));
			const shapes = Object.fromEntries(
				[...graph.inputs, ...graph.outputs].map(({ name, type }) => [name, type?.kind === "tensor" && type.shape]),
			);
			expect(shapes).toMatchObject({
				"past_key_values.0.key": [keyHeads, 1, SIZES.headSize, 32],
				"past_key_values.0.value": [keyHeads, 1, 32, SIZES.headSize],
				"present.0.key": [keyHeads, 1, SIZES.headSize, 8],
				"present.0.value": [keyHeads, 1, 8, SIZES.headSize],
			});
			const { model } = JSON.parse(readFileSync(path.join(moved, "genai_config.json"), "utf8"));
			expect(model.decoder.inputs).toMatchObject({ attention_mask: "attention_mask", position_ids: "position_ids" });
			expect(model.decoder.sliding_window).toEqual({
				window_size: 8,
				slide_inputs: true,
				pad_value: 128,
				alignment: "right",
				slide_key_value_cache: true,
			});
		},
		60_000,
	);

	test("goes from part to part as codes", async () => {
		const [input, output] = [path.join(folder, "whole"), path.join(folder, "parts")];
		writeGenaiDirectory(input);
		const quantization = { recipe: "16a8w", gptq: false };
		const { graphs } = await convertLlm(input, output, { ...LENGTHS, target: TARGET, quantization, splits: 4 });
		const parts = graphs.filter(({ role }) => role === "prefill" || role === "decode");
		expect(parts).toHaveLength(8);
		for (const { name, fileName } of parts) {
			const ports = Object.entries(await portsOf(path.join(output, fileName)));
			expect([name, ports.filter(([, type]) => type === DataType.FLOAT)]).toEqual([name, []]);
		}
		expect(await generationDb(input, output)).toBeGreaterThan(30);
	}, 60_000);

	test("quantizes a model whose last states others than the head read, too", async () => {
		const [input, output] = [path.join(folder, "read twice"), path.join(folder, "read twice 8 bits")];
		writeGenaiDirectory(input, { hiddenReader: true });
		const quantization = { recipe: "16a8w", gptq: false };
		const { quantization: found } = await convertLlm(input, output, { ...LENGTHS, target: TARGET, quantization });
		expect(await generationDb(input, output)).toBeGreaterThan(30);
		expect(Object.keys(await portsOf(path.join(output, "lm_head.onnx")))).toEqual(["hidden_states", "logits"]);
		expect(found!.weights.map(({ weight }) => weight).filter((name) => name.includes("reward"))).toEqual([]);
	}, 60_000);

	test("quantizes a model of float16", async () => {
		const [input, wide, output] = ["half", "half wide", "half 8 bits"].map((name) => path.join(folder, name));
		writeGenaiDirectory(input!, { half: DataType.FLOAT16 });
		writeGenaiDirectory(wide!, { half: DataType.FLOAT16, isWide: true });
		await convertLlm(input!, output!, { ...LENGTHS, target: TARGET, quantization: { recipe: "16a8w", gptq: false } });
		expect(await generationDb(wide!, output!)).toBeGreaterThan(30);
	}, 60_000);

	test("calibrates with token ids of files, and is judged by others", async () => {
		const [input, output] = [path.join(folder, "plain"), path.join(folder, "plain from files")];
		const [data, evaluation] = [path.join(folder, "prompts.json"), path.join(folder, "others.json")];
		const sequences = Array.from({ length: 6 }, (_, row) =>
			Array.from({ length: 50 }, (_, index) => 3 + ((index * 11 + row * 17) % 45)),
		);
		writeFileSync(data, JSON.stringify(sequences));
		writeFileSync(evaluation, JSON.stringify([PROMPTS[3]]));
		const quantization = { recipe: "16a4w_block:32", data: [data], evaluation: [evaluation], generate: 4 };
		const result = await convertLlm(input, output, { ...LENGTHS, target: TARGET, quantization });
		const { calibrated, judgement, weights } = result.quantization!;
		// six of forty, and of the six of ten that are left, four more each unless one ends
		expect(calibrated.sequences).toBe(12);
		expect(calibrated.tokens).toBeGreaterThanOrEqual(300);
		expect(calibrated.tokens).toBeLessThanOrEqual(324);
		expect(judgement).toMatchObject({ sequences: 1, tokens: 20 });
		expect(new Set(weights.map(({ form }) => form))).toEqual(new Set(["double-dq"]));
		expect(JSON.parse(readFileSync(path.join(output, "qgraph.json"), "utf8")).settings.quantization).toEqual(
			quantization,
		);
		writeFileSync(data, "[[3, 4, 48]]");
		const wrong = convertLlm(input, output, { ...LENGTHS, overwrite: true, quantization });
		await expect(wrong).rejects.toMatchObject({ code: "language/tokens" });
		await expect(wrong).rejects.toThrow("has the token 48");
	}, 60_000);

	test("chooses precisions within a budget, also without a target", async () => {
		const [input, output] = [path.join(folder, "plain"), path.join(folder, "plain budget")];
		const quantization = { budget: { bitsPerWeight: 7 }, gptq: false };
		const { quantization: found } = await convertLlm(input, output, { ...LENGTHS, quantization });
		expect(found?.recipe).toBe("planned within the budget");
		const precisions = new Set(found?.weights.map(({ precision }) => precision));
		expect(precisions.size).toBeGreaterThan(1);
		expect(found?.judgement.logitsDb).toBeGreaterThan(15);
	}, 60_000);
});
