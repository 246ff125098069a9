import { createHash } from "node:crypto";
import {
	existsSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	statSync,
	truncateSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { floatAttribute, intAttribute } from "../../src/ir/attribute.js";
import { DataType } from "../../src/ir/types.js";
import { type ConvertLlmOptions, convertLlm } from "../../src/llm/convert-llm.js";
import { readModel } from "../../src/onnx/file.js";
import { ownVersion } from "../../src/runtime/own-version.js";
import { parseTarget } from "../../src/targets/target.js";
import { differenceInRanges } from "../support/same-outputs.js";
import { type DirectoryOptions, SIZES, writeGenaiDirectory } from "./genai-directory.js";
import { generateDynamic, generateStatic } from "./generate.js";

let folder: string;
beforeAll(() => {
	folder = mkdtempSync(path.join(tmpdir(), "qgraph-llm-"));
});
afterAll(() => {
	rmSync(folder, { recursive: true });
});

const LENGTHS = { context: 40, prefill: 8 };
const TARGET = parseTarget("qnn-htp:v79");

const CASES: Readonly<Record<string, DirectoryOptions>> = {
	plain: {},
	"a local window in one of the layers, interleaved": {
		attention: [{ local_window_size: intAttribute(5) }, { rotary_interleaved: intAttribute(1) }],
	},
	"softcap in the attention and behind the head": {
		attention: [{ softcap: floatAttribute(4) }, { softcap: floatAttribute(4) }],
		capsLogits: true,
	},
	"rotary embeddings outside of the attention, queries and keys normalized": { rotary: "outside", qkNorm: true },
	"parts of heads turned outside, interleaved": {
		rotary: "outside",
		rotatedSize: 16,
		separate: true,
		attention: [{ rotary_interleaved: intAttribute(1) }, { rotary_interleaved: intAttribute(1) }],
	},
	"parts of heads, biases, LayerNormalization": { phi: true, rotatedSize: 16 },
	"rotary tables for short and long sequences": { shortLength: 40 },
	"int4 weights, the embedding tied to the head": { int4: true, tied: true },
	"the embedding a transpose of the head, scaled, the last token picked": {
		tied: true,
		embeddingScale: 2.5,
		prunesHead: true,
	},
	"sinks, products apart": { sinks: true, separate: true },
	"states that another product than the head's reads": { hiddenReader: true },
	"states that come out under the name that they have between graphs": { hiddenOutput: true },
};

describe("convertLlm", () => {
	describe.each(Object.entries(CASES))("%s", (name, options) => {
		const [input, output] = [() => path.join(folder, name), () => path.join(folder, `${name} static`)];
		beforeAll(async () => {
			writeGenaiDirectory(input(), options);
			await convertLlm(input(), output(), LENGTHS);
		});

		test.each([[3], [8], [11], [20]])("says the same after a prompt of %i tokens", async (length) => {
			const prompt = Array.from({ length }, (_, index) => 3 + ((index * 7) % 40));
			const expected = await generateDynamic(input(), prompt, 12);
			const actual = await generateStatic(output(), prompt, 12);
			expect(actual.tokens).toEqual(expected.tokens);
			for (const [index, logits] of expected.logits.entries()) {
				expect(differenceInRanges(logits, actual.logits[index]!)).toBeLessThan(1e-5);
			}
		});
	});

	test("computes bfloat16 in float32", async () => {
		const [input, wide, output] = ["half", "half wide", "half static"].map((name) => path.join(folder, name));
		writeGenaiDirectory(input!, { half: DataType.BFLOAT16, sinks: true });
		writeGenaiDirectory(wide!, { half: DataType.BFLOAT16, isWide: true, sinks: true });
		const { stages } = await convertLlm(input!, output!, LENGTHS);
		expect(stages.map(({ name }) => name)).toEqual(["widen", "split", "write"]);
		const prompt = Array.from({ length: 11 }, (_, index) => 3 + ((index * 7) % 40));
		const [expected, actual] = [await generateDynamic(wide!, prompt, 8), await generateStatic(output!, prompt, 8)];
		expect(actual.tokens).toEqual(expected.tokens);
		for (const [index, logits] of expected.logits.entries()) {
			expect(differenceInRanges(logits, actual.logits[index]!)).toBeLessThan(1e-5);
		}
	});

	test("takes prompts as long as the cache at once, which is the default of a short one", async () => {
		const [input, output] = [path.join(folder, "whole"), path.join(folder, "whole static")];
		writeGenaiDirectory(input);
		expect(await convertLlm(input, output)).toMatchObject({ context: 64, sequence: 64 });
		const prompt = Array.from({ length: 10 }, (_, index) => 3 + ((index * 7) % 40));
		const [expected, actual] = [await generateDynamic(input, prompt, 8), await generateStatic(output, prompt, 8)];
		expect(actual.tokens).toEqual(expected.tokens);
	});

	test("stores the weights of prefill and decode once", async () => {
		const [input, output] = [path.join(folder, "once"), path.join(folder, "once static")];
		writeGenaiDirectory(input);
		writeFileSync(path.join(input, "tokenizer_config.json"), "{}");
		await convertLlm(input, output, LENGTHS);
		expect(readdirSync(output).sort()).toEqual([
			"decode.onnx",
			"front.onnx",
			"front.onnx.data",
			"genai_config.json",
			"kv_update.onnx",
			"lm_head.onnx",
			"lm_head.onnx.data",
			"prefill.onnx",
			"prefill.onnx.data",
			"qgraph.json",
			"tokenizer_config.json",
		]);
		expect(statSync(path.join(output, "decode.onnx")).size).toBeLessThan(30_000);
	});

	test("lets prefill and decode update the cache, in parts, too", async () => {
		const [input, output] = [path.join(folder, "inside"), path.join(folder, "inside static")];
		writeGenaiDirectory(input);
		const { graphs } = await convertLlm(input, output, { ...LENGTHS, layout: "A", splits: 2 });
		expect(graphs.map(({ role }) => role)).toEqual(["front", "prefill", "prefill", "decode", "decode", "lm_head"]);
		expect(graphs[3]!.outputs).toContain("present.0.key");
		const prompt = Array.from({ length: 11 }, (_, index) => 3 + ((index * 7) % 40));
		const [expected, actual] = [await generateDynamic(input, prompt, 12), await generateStatic(output, prompt, 12)];
		expect(actual.tokens).toEqual(expected.tokens);
	});

	test("cuts prefill and decode into parts that share the weights", async () => {
		const [input, output] = [path.join(folder, "parts"), path.join(folder, "parts static")];
		writeGenaiDirectory(input);
		const { graphs } = await convertLlm(input, output, { ...LENGTHS, splits: 2 });
		expect(graphs.map(({ name }) => name)).toEqual([
			"front",
			"prefill_0",
			"prefill_1",
			"decode_0",
			"decode_1",
			"kv_update",
			"lm_head",
		]);
		const [, first, second] = graphs;
		const over = first!.outputs.filter((name) => second!.inputs.includes(name));
		expect(over).toHaveLength(1);
		expect(second!.inputs.filter((name) => name.startsWith("past")).sort()).toEqual([
			"past_key_values.1.key",
			"past_key_values.1.value",
		]);
		expect(readdirSync(output).filter((name) => name.endsWith(".data"))).toEqual([
			"front.onnx.data",
			"lm_head.onnx.data",
			"prefill.onnx.data",
		]);
		const prompt = Array.from({ length: 11 }, (_, index) => 3 + ((index * 7) % 40));
		const [expected, actual] = [await generateDynamic(input, prompt, 12), await generateStatic(output, prompt, 12)];
		expect(actual.tokens).toEqual(expected.tokens);
		const tooMany = convertLlm(input, `${output} 2`, { ...LENGTHS, splits: 40 });
		await expect(tooMany).rejects.toMatchObject({ code: "split/parts" });
		rmSync(`${output} 2.work`, { recursive: true });
		await expect(convertLlm(input, `${output} 3`, { splits: 0 })).rejects.toMatchObject({ code: "llm/settings" });
	});

	test("chooses the rotary tables that the whole cache needs", async () => {
		const input = path.join(folder, "long");
		writeGenaiDirectory(input, { shortLength: 24 });
		expect(await convertLlm(input, path.join(folder, "long static"))).toMatchObject({ context: 24 });
		const long = { context: 40, prefill: 40 };
		await convertLlm(input, path.join(folder, "longer static"), long);
		const prompt = Array.from({ length: 30 }, (_, index) => 3 + ((index * 7) % 40));
		const expected = await generateDynamic(input, prompt, 8);
		expect((await generateStatic(path.join(folder, "longer static"), prompt, 8)).tokens).toEqual(expected.tokens);
	});

	test("has no operator in front that turns a table over in every run", async () => {
		const [input, output] = [path.join(folder, "tied"), path.join(folder, "tied static")];
		writeGenaiDirectory(input, { tied: true });
		await convertLlm(input, output, LENGTHS);
		const { graph } = await readModel(path.join(output, "front.onnx"));
		expect(Array.from(graph.nodes, ({ op }) => op.type)).not.toContain("Transpose");
	});

	test("writes the config of a pipeline", async () => {
		const [input, output] = [path.join(folder, "config"), path.join(folder, "config static")];
		writeGenaiDirectory(input);
		const target = parseTarget("qnn-htp:SM8750");
		await convertLlm(input, output, { ...LENGTHS, target, genaiVersion: "0.15" });
		const { model, search } = JSON.parse(readFileSync(path.join(output, "genai_config.json"), "utf8"));
		expect(model).toMatchObject({ type: "decoder-pipeline", pad_token_id: 0, context_length: 40, eos_token_id: 2 });
		expect(search).toMatchObject({ max_length: 40, top_k: 1, past_present_share_buffer: true });
		expect(model.decoder.sliding_window).toEqual({
			window_size: 8,
			pad_value: 0,
			alignment: "left",
			slide_key_value_cache: false,
			slide_inputs: true,
		});
		const [front, prefill, decode, , head] = model.decoder.pipeline;
		expect(front.front.session_options).toBeUndefined();
		expect(prefill.prefill).toMatchObject({ filename: "prefill.onnx", run_on_token_gen: false });
		expect(decode.decode).toMatchObject({ run_on_prompt: false });
		expect(head.lm_head.is_lm_head).toBe(true);
		expect(prefill.prefill.session_options.provider_options[0].QNN.soc_model).toBe("69");
	});

	test.each([
		["float", {}, undefined, undefined],
		["int4 weights in float32", { int4: true }, undefined, "1"],
		["a recipe", {}, { recipe: "16a8w", gptq: false, generate: 2 }, "1"],
	] as const)(
		"lets products of codes be computed as the model says, %s",
		async (name, options, quantization, level) => {
			const [input, output] = [path.join(folder, `exact ${name}`), path.join(folder, `exact ${name} static`)];
			writeGenaiDirectory(input, options);
			await convertLlm(input, output, { ...LENGTHS, quantization });
			const { model } = JSON.parse(readFileSync(path.join(output, "genai_config.json"), "utf8"));
			expect(model.decoder.session_options["session.qdq_matmulnbits_accuracy_level"]).toBe(level);
		},
	);

	test("goes on where an interrupted conversion ended, unless something changed", async () => {
		const [input, output] = [path.join(folder, "resumed"), path.join(folder, "resumed static")];
		const work = `${output}.work`;
		writeGenaiDirectory(input);
		const interrupt = async (at: string) => {
			const stopped = new AbortController();
			const onProgress = (step: string) => step === at && stopped.abort(new Error(`stopped at ${at}`));
			const refusal = convertLlm(input, output, { ...LENGTHS, signal: stopped.signal, onProgress });
			await expect(refusal).rejects.toThrow(`stopped at ${at}`);
			expect(existsSync(output)).toBe(false);
		};
		const reusedBy = async (options: ConvertLlmOptions = {}) => {
			const { stages } = await convertLlm(input, output, { ...LENGTHS, ...options });
			expect(existsSync(work)).toBe(false);
			rmSync(output, { recursive: true });
			return stages.filter(({ isReused }) => isReused).map(({ name }) => name);
		};
		await interrupt("lm_head");
		expect(existsSync(work)).toBe(false);
		await interrupt("write");
		expect(await reusedBy()).toEqual(["split"]);
		await interrupt("write");
		expect(await reusedBy({ genaiVersion: "0.15" })).toEqual(["split"]);
		await interrupt("write");
		expect(await reusedBy({ context: 48 })).toEqual([]);
		await interrupt("write");
		truncateSync(path.join(work, "split", "prefill.onnx.data"), 100);
		expect(await reusedBy()).toEqual([]);
		await interrupt("write");
		writeGenaiDirectory(input, { capsLogits: true });
		expect(await reusedBy()).toEqual([]);
	});

	test("says what the directory was made of", async () => {
		const [input, output] = [path.join(folder, "origin"), path.join(folder, "origin static")];
		writeGenaiDirectory(input);
		await convertLlm(input, output, { ...LENGTHS, target: parseTarget("qnn-htp:SM8750") });
		const provenance = JSON.parse(readFileSync(path.join(output, "qgraph.json"), "utf8"));
		expect(provenance).toMatchObject({
			versions: { qgraph: ownVersion(), genai: "0.18" },
			settings: { ...LENGTHS, padToken: 0, target: "qnn-htp:SM8750" },
			stages: [{ name: "split" }, { name: "write" }],
		});
		const sum = createHash("sha256")
			.update(readFileSync(path.join(input, "model.onnx")))
			.digest("hex");
		expect(provenance.source[1]).toMatchObject({ file: "model.onnx", sha256: sum });
	});

	test("fills up with an id that the tokenizer leaves free", async () => {
		const [input, output] = [path.join(folder, "pad"), path.join(folder, "pad static")];
		writeGenaiDirectory(input, { config: { pad_token_id: 2 } });
		const vocab = Object.fromEntries(Array.from({ length: SIZES.vocabulary }, (_, id) => [`t${id}`, id]));
		const tokenizer = (without: readonly string[]) => {
			const kept = Object.entries(vocab).filter(([name]) => !without.includes(name));
			const content = { model: { vocab: Object.fromEntries(kept) }, added_tokens: [{ id: 47 }] };
			writeFileSync(path.join(input, "tokenizer.json"), JSON.stringify(content));
		};
		tokenizer(["t47", "t31", "t9"]);
		expect((await convertLlm(input, output, LENGTHS)).padToken).toBe(31);
		tokenizer([]);
		await expect(convertLlm(input, `${output} 2`, LENGTHS)).rejects.toMatchObject({ code: "llm/pad-token" });
	});

	test.each([
		[
			"lengths",
			{},
			{ context: 40, prefill: 41 },
			"llm/length",
			"prefill 41 and context 40 were given, expected 1 < prefill",
		],
		[
			"a context of one window that is to be moved",
			{},
			{ context: 15, prefill: 8, layout: "B", quantization: {} },
			"llm/length",
			"needs a context of two windows: 15 was given, expected 16 at least",
		],
		["a context beyond the model's", {}, { context: 65 }, "llm/length", "<= 64, the model's context length"],
		[
			"an encoder",
			{ config: { encoder: {} } },
			LENGTHS,
			"llm/unsupported",
			"the model has the part 'encoder', expected a decoder alone; give a directory with the text decoder alone",
		],
		[
			"a pipeline",
			{ decoder: { pipeline: [] } },
			LENGTHS,
			"llm/unsupported",
			"is a pipeline already, expected one dynamic model; give the directory that it was made of",
		],
		[
			"a model without embeddings",
			{ decoder: { inputs: { inputs_embeds: "inputs_embeds" } } },
			LENGTHS,
			"llm/unsupported",
			"the model has no table of embeddings (exclude_embeds)",
		],
		[
			"a model without a head",
			{ decoder: { outputs: {} } },
			LENGTHS,
			"llm/unsupported",
			"has no head (exclude_lm_head)",
		],
		[
			"experts",
			{ extra: "MoE" },
			LENGTHS,
			"llm/unsupported",
			"MoE 'odd' makes it a mixture of experts, expected one feed-forward network for all tokens; take a dense model",
		],
		[
			"paged attention",
			{ extra: "PagedAttention" },
			LENGTHS,
			"llm/unsupported",
			"'odd' makes it paged attention, expected GroupQueryAttention with a past of its own; build the model again",
		],
		[
			"attention without groups",
			{ extra: "MultiHeadAttention" },
			LENGTHS,
			"llm/unsupported",
			"makes it attention without grouped queries, expected GroupQueryAttention; build the model again",
		],
		[
			"a hybrid",
			{ extra: "LinearAttention" },
			LENGTHS,
			"llm/unsupported",
			"makes it a hybrid of linear attention, expected GroupQueryAttention in every layer; take a model",
		],
		[
			"a state of its own",
			{ input: "past_conv.0" },
			LENGTHS,
			"llm/unsupported",
			"nothing is known of its input 'past_conv.0', expected ids, mask, positions, keys and values of the past; a state",
		],
		[
			"a quantized cache",
			{ cacheScales: true },
			LENGTHS,
			"llm/unsupported",
			"scales of its own (k_scale, v_scale), expected one of floats; build the model without a quantized cache",
		],
		["a missing field", { config: { vocab_size: "many" } }, LENGTHS, "llm/config", `'model.vocab_size' of`],
	] as const)("refuses %s", async (name, options, lengths, code, message) => {
		const [input, output] = [path.join(folder, name), path.join(folder, `${name} static`)];
		writeGenaiDirectory(input, options);
		const refusal = convertLlm(input, output, lengths);
		await expect(refusal).rejects.toMatchObject({ code });
		await expect(refusal).rejects.toThrow(message);
		expect(existsSync(output)).toBe(false);
		expect(readdirSync(folder).filter((entry) => entry.includes("work"))).toEqual([]);
	});

	test.each([
		[{ layout: "B" }, "layout B, a cache that GenAI moves, has keys and values of 8 bits only: name a recipe"],
		[{ layout: "B", quantization: { cache: "u16" } }, "of 8 bits only: name a recipe, such as 16a8w"],
		[{ layout: "B", quantization: {}, genaiVersion: "0.18" }, "runs in ONNX Runtime GenAI 0.13 to 0.16, not in 0.18"],
		[{ layout: "B", quantization: {}, genaiVersion: "0.12.2" }, "0.13 to 0.16, not in 0.12.2; layouts C and A run"],
		[{ genaiVersion: "0.11.4" }, "version '0.11.4' of ONNX Runtime GenAI, expected 0.12 or later"],
		[{ genaiVersion: "latest" }, "version 'latest' of ONNX Runtime GenAI"],
	] as const)("refuses what no GenAI of today runs, %j", async (settings, message) => {
		const input = path.join(folder, "too old");
		writeGenaiDirectory(input);
		const refusal = convertLlm(input, `${input} static`, { ...LENGTHS, ...settings });
		await expect(refusal).rejects.toMatchObject({ code: "llm/settings" });
		await expect(refusal).rejects.toThrow(message);
	});

	test.each([
		["0.16.0", [expect.stringContaining("max_length, which therefore has to stay 40")]],
		["0.17.1", []],
	])("says what GenAI %s needs", async (genaiVersion, messages) => {
		const input = path.join(folder, `for ${genaiVersion}`);
		writeGenaiDirectory(input);
		const { diagnostics } = await convertLlm(input, `${input} static`, { context: 40, prefill: 8, genaiVersion });
		expect(diagnostics.map(({ message }) => message)).toEqual(messages);
	});

	test.each([
		["a recipe", { recipe: "16a5w" }, {}, "recipe/", "16a5w"],
		["prompts", { data: ["nowhere.json"] }, {}, "language/tokens", "nowhere.json"],
		["prompts to judge by", { evaluation: ["nowhere.txt"] }, {}, "language/tokens", "nowhere.txt"],
		["the compiler", {}, { compile: "shared", htpHome: "nowhere", target: TARGET }, "htp/", "nowhere"],
	] as const)("misses %s before anything is made", async (name, quantization, settings, code, message) => {
		const input = path.join(folder, `without ${name}`);
		writeGenaiDirectory(input);
		const steps: string[] = [];
		const onProgress = (step: string) => steps.push(step);
		const error: unknown = await convertLlm(input, `${input} static`, {
			...{ ...LENGTHS, ...settings, quantization, onProgress },
		}).catch((reason: unknown) => reason);
		expect(error).toMatchObject({ code: expect.stringContaining(code) });
		expect(String(error)).toContain(message);
		expect(steps).toEqual([]);
	});

	test("refuses a folder without a config, and one that exists", async () => {
		const input = path.join(folder, "there");
		await expect(convertLlm(folder, input)).rejects.toMatchObject({ code: "llm/config" });
		writeGenaiDirectory(input);
		await expect(convertLlm(input, folder, LENGTHS)).rejects.toMatchObject({ code: "write/exists" });
		await expect(convertLlm(input, path.join(input, "model.onnx", "x"), LENGTHS)).rejects.toMatchObject({
			code: "write/failed",
		});
		await convertLlm(input, path.join(folder, "twice"), LENGTHS);
		await convertLlm(input, path.join(folder, "twice"), { ...LENGTHS, overwrite: true });
	});
});
