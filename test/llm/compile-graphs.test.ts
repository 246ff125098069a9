import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { intOf, stringOf } from "../../src/ir/attribute.js";
import { convertLlm } from "../../src/llm/convert-llm.js";
import { readModel } from "../../src/onnx/file.js";
import { parseTarget } from "../../src/targets/target.js";
import { HTP_HOME, prepareHtp } from "../support/htp.js";
import { writeGenaiDirectory } from "./genai-directory.js";

const setup = await prepareHtp();
const corpus = fileURLToPath(new URL("../../../shared/corpus/genai", import.meta.url));
let [folder, input] = ["", ""];
beforeAll(() => {
	folder = mkdtempSync(path.join(tmpdir(), "qgraph-llm-compile-"));
	input = path.join(folder, "input");
	writeGenaiDirectory(input);
});
afterAll(() => {
	rmSync(folder, { recursive: true });
});

const COMMON = { context: 40, prefill: 8, compile: "shared", htpHome: HTP_HOME } as const;

test("compiling needs a target", async () => {
	const refusal = convertLlm(input, path.join(folder, "nowhere"), COMMON);
	await expect(refusal).rejects.toMatchObject({ code: "llm/settings" });
});

describe.skipIf("missing" in setup)("compiled graphs", () => {
	test.each([
		["v73", "16a4w_block:32"],
		["v75", "16a8w"],
		["v79", undefined],
		["v81", "16a4w_block:32"],
	])("are wholly on a %s, prefill and decode in one context, recipe %s", async (version, recipe) => {
		const output = path.join(folder, version);
		const target = parseTarget(`qnn-htp:${version}`);
		const quantization = recipe === undefined ? undefined : { recipe, generate: 4, gptq: false };
		const { contexts } = await convertLlm(input, output, { ...COMMON, target, quantization });
		expect(contexts.map(({ graphs }) => graphs)).toEqual([["prefill", "decode"], ["lm_head"]]);
		expect(readdirSync(output).sort()).toEqual([
			"decode_ctx.onnx",
			"front.onnx",
			"front.onnx.data",
			"genai_config.json",
			"kv_update.onnx",
			"lm_head_ctx.onnx",
			"lm_head_ctx_qnn.bin",
			"prefill_ctx.onnx",
			"prefill_ctx_qnn.bin",
			"qgraph.json",
		]);
		for (const name of ["prefill", "decode"]) {
			const { graph } = await readModel(path.join(output, `${name}_ctx.onnx`));
			const [node, ...others] = graph.nodes;
			expect(others).toEqual([]);
			expect(stringOf(node!, "ep_cache_context")).toBe("prefill_ctx_qnn.bin");
			expect(intOf(node!, "embed_mode", 1)).toBe(0);
		}
		const { model } = JSON.parse(readFileSync(path.join(output, "genai_config.json"), "utf8"));
		const files = model.decoder.pipeline.map((stage: object) => Object.values(stage)[0].filename);
		expect(files).toEqual(["front.onnx", "prefill_ctx.onnx", "decode_ctx.onnx", "kv_update.onnx", "lm_head_ctx.onnx"]);
	});

	test("are none where the HTP does not take a graph, but what was done before stays for another run", async () => {
		const output = path.join(folder, "refused");
		const refusal = convertLlm(input, output, { ...COMMON, target: parseTarget("qnn-htp:v68") });
		await expect(refusal).rejects.toMatchObject({ code: "llm/not-on-htp" });
		await expect(refusal).rejects.toThrow("qnn-htp:v68 does not take 'prefill'");
		expect(existsSync(output)).toBe(false);
		const { stages } = await convertLlm(input, output, { ...COMMON, target: parseTarget("qnn-htp:v79") });
		expect(stages.map(({ isReused }) => isReused)).toEqual([true, false, false]);
	});

	test.each([
		["float", "C", undefined],
		["int8", "B", { recipe: "16a8w" }],
	] as const)("generate on the emulator what they do on the CPU, %s, layout %s", async (kind, layout, quantization) => {
		const output = path.join(folder, `verified ${kind}`);
		const settings = { context: 48, prefill: 8, splits: 2, verify: true, htpHome: HTP_HOME } as const;
		const target = parseTarget("qnn-htp:v81");
		const { verification } = await convertLlm(input, output, { ...settings, target, layout, quantization });
		expect(verification?.prompts.map(({ promptTokens, tokens }) => [promptTokens, tokens])).toEqual([
			[4, 24],
			[8, 24],
			[11, 24],
			[17, 24],
		]);
		for (const { logitsDb, difference } of verification!.prompts) {
			expect(logitsDb).toBeGreaterThan(45);
			expect(difference === null || difference.isNearTie).toBe(true);
		}
	});

	test("that the emulator does not take end with its words", async () => {
		const output = path.join(folder, "not verified");
		const settings = { context: 48, prefill: 8, verify: true, htpHome: HTP_HOME } as const;
		const refusal = convertLlm(input, output, { ...settings, target: parseTarget("qnn-htp:v68") });
		await expect(refusal).rejects.toMatchObject({ code: "htp/failed" });
		await expect(refusal).rejects.toThrow("the emulator of qnn-htp:v68 failed: 'prefill'");
	});

	test.skipIf(!existsSync(corpus))("of one context take little more than one of them", async () => {
		const model = path.join(corpus, "qwen3-untied-fp32");
		const common = { ...COMMON, target: parseTarget("qnn-htp:v81"), context: 128, prefill: 16 };
		const shared = await convertLlm(model, path.join(folder, "shared"), common);
		const separate = await convertLlm(model, path.join(folder, "apart"), { ...common, compile: "separate" });
		const one = Math.max(...separate.contexts.slice(0, 2).map(({ bytes }) => bytes));
		expect(shared.contexts[0]!.bytes).toBeLessThan(1.1 * one);
	});
});
