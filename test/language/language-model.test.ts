import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { openLanguageModel } from "../../src/language/language-model.js";
import { perplexity } from "../../src/language/perplexity.js";
import { writeModel } from "../../src/onnx/file.js";
import { qgraph } from "../cli/run.js";
import { SIZES, writeGenaiDirectory } from "../llm/genai-directory.js";
import { generateDynamic } from "../llm/generate.js";
import { type ModelBuilder, modelOf } from "../support/build.js";
import { TOKENIZER } from "./tokenizer.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-language-"));
const genai = path.join(folder, "genai");
const decoder = path.join(genai, "model.onnx");
const IDS = [3, 17, 41, 8, 8, 30, 5, 22, 1, 47, 12, 9];
const ids = path.join(folder, "ids.json");

beforeAll(() => {
	writeGenaiDirectory(genai);
	writeFileSync(ids, JSON.stringify(IDS));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes a model that looks every token up in a table of 8 x 8 logits, and adds what `extra` makes. */
async function tableModel(
	name: string,
	extra: (b: ModelBuilder) => string | undefined,
	sequence: number | string = "s",
) {
	const file = path.join(folder, `${name}.onnx`);
	const model = modelOf((b) => {
		b.input("input_ids", DataType.INT64, ["batch", sequence]);
		const values = Float32Array.from({ length: 64 }, (_, index) => Math.sin(index) * 3);
		b.initializer("table", floatTensor([8, 8], values));
		b.node("Gather", ["table", "input_ids"], ["looked_up"]);
		const added = extra(b);
		if (added === undefined) b.node("Identity", ["looked_up"], ["logits"]);
		else b.node("Add", ["looked_up", added], ["logits"]);
		b.output("logits");
	});
	await writeModel(model, file);
	return file;
}

/** An input whose elements, as floats, are added to every logit of its token. */
function added(b: ModelBuilder, name: string, shape: readonly (number | string)[], part = name): string {
	b.input(name, DataType.INT64, shape);
	b.initializer(`${name}_axis`, int64Tensor([1], [-1]));
	b.node("Cast", [part], [`${name}_float`], { to: intAttribute(DataType.FLOAT) });
	b.node("Unsqueeze", [`${name}_float`, `${name}_axis`], [`${name}_added`]);
	return `${name}_added`;
}

describe("a language model", () => {
	test("with caches gives the logits that generation sees", async () => {
		const model = await openLanguageModel(decoder);
		const logits = await model.logits(IDS);
		await model.close();
		expect(logits).toHaveLength(IDS.length * SIZES.vocabulary);
		const { logits: last } = await generateDynamic(genai, IDS, 1);
		expect([...logits.subarray(-SIZES.vocabulary)]).toEqual([...last[0]!]);
	});

	test("of fixed length is filled up, and what stands there is masked", async () => {
		const mask = await tableModel("mask", (b) => added(b, "attention_mask", ["batch", 6]), 6);
		const plain = await tableModel("plain", () => undefined);
		const [fixed, free] = [await openLanguageModel(mask), await openLanguageModel(plain)];
		expect([fixed.length, free.length]).toEqual([6, undefined]);
		const [a, b] = [await fixed.logits([1, 2, 3]), await free.logits([1, 2, 3])];
		expect([...a]).toEqual([...b].map((value) => Math.fround(value + 1)));
		await Promise.all([fixed.close(), free.close()]);
	});

	test("is given positions", async () => {
		const file = await tableModel("positions", (b) => added(b, "position_ids", ["batch", "s"]));
		const [model, plain] = [await openLanguageModel(file), await openLanguageModel(path.join(folder, "plain.onnx"))];
		const [a, b] = [await model.logits([5, 5]), await plain.logits([5, 5])];
		expect([...a]).toEqual([...b].map((value, index) => Math.fround(value + Math.floor(index / 8))));
		await Promise.all([model.close(), plain.close()]);
	});

	test("with a cache of unknown size is told it, or says what to tell", async () => {
		const cached = (b: ModelBuilder) => {
			b.input("past_key_values.0.key", DataType.FLOAT, ["batch", 2, "past", "head"]);
			b.node("ReduceSum", ["past_key_values.0.key"], ["sum"], { keepdims: intAttribute(0) });
			return "sum";
		};
		const file = await tableModel("cached", cached);
		await expect(openLanguageModel(file)).rejects.toMatchObject({
			code: "runtime/dimension",
			message: expect.stringContaining("--dim head=LENGTH"),
		});
		const config = path.join(folder, "config");
		mkdirSync(config);
		writeFileSync(path.join(config, "genai_config.json"), '{ "model": { "decoder": { "head_size": 4 } } }');
		const configured = await openLanguageModel(file, { sibling: path.join(config, "model.onnx") });
		expect(await configured.logits([1])).toHaveLength(8);
		await configured.close();
		const model = await openLanguageModel(file, { dimensions: { head: 4 } });
		expect(await model.logits([1])).toHaveLength(8);
		await model.close();
	});

	test("is none without ids, with other inputs, or with logits of the last token only", async () => {
		const odd = await tableModel("odd", (b) => {
			b.input("pixels", DataType.FLOAT, [1]);
			return "pixels";
		});
		await expect(openLanguageModel(odd)).rejects.toMatchObject({
			code: "language/model",
			message: expect.stringContaining("input 'pixels' is none that a language model"),
		});
		const vision = path.join(folder, "vision.onnx");
		await writeModel(
			modelOf((b) => {
				b.input("x", DataType.FLOAT, [1, 3]);
				b.node("Relu", ["x"], ["y"]);
				b.output("y");
			}),
			vision,
		);
		await expect(openLanguageModel(vision)).rejects.toMatchObject({ code: "language/model" });
		const wrong = await tableModel("wrong", (b) => {
			b.initializer("wide", floatTensor([1, 1, 7], new Float32Array(7)));
			return "wide";
		});
		await expect(openLanguageModel(wrong)).rejects.toMatchObject({
			code: "language/model",
			message: expect.stringContaining("cannot load the model"),
		});
		const plain = await openLanguageModel(path.join(folder, "plain.onnx"));
		await expect(plain.logits([9])).rejects.toMatchObject({
			code: "language/model",
			message: expect.stringContaining("cannot run the model"),
		});
		await plain.close();
		const last = path.join(folder, "last.onnx");
		await writeModel(
			modelOf((b) => {
				b.input("input_ids", DataType.INT64, ["batch", "s"]);
				b.initializer("table", floatTensor([8, 8], new Float32Array(64)));
				b.initializer("at", int64Tensor([1], [-1]));
				b.node("Gather", ["input_ids", "at"], ["id"], { axis: intAttribute(1) });
				b.node("Gather", ["table", "id"], ["logits"]);
				b.output("logits");
			}),
			last,
		);
		const opened = await openLanguageModel(last);
		await expect(opened.logits([1, 2])).rejects.toMatchObject({
			code: "language/model",
			message: expect.stringContaining("is [1, 1, 8], expected logits of all 2 tokens"),
		});
		await opened.close();
	});
});

describe("qgraph perplexity", () => {
	test("prints figures, those against a reference too", async () => {
		const { code, out } = await qgraph(folder, "perplexity", decoder, "--tokens", ids, "--reference", decoder);
		expect(code).toBe(0);
		expect(out.replace(/\d+\.\d{4}/g, "N").replace(/ +/g, " ")).toBe(
			[
				"what figure",
				"perplexity N ± N",
				"tokens predicted 11",
				"of these the best guess 0.00 %",
				"perplexity of the reference N",
				"KL divergence, mean 0.000 nats",
				"KL divergence, median 0.000 nats",
				"KL divergence, 99 % 0.000 nats",
				"KL divergence, largest 0.000 nats",
				"same best guess 100.00 %",
				"",
			].join("\n"),
		);
	});

	test("of a text, with the tokenizer beside the model, as JSON", async () => {
		writeFileSync(path.join(genai, "tokenizer.json"), JSON.stringify(TOKENIZER));
		const text = path.join(folder, "text.txt");
		writeFileSync(text, "ab ba ab c ba\n".repeat(20));
		const { code, out } = await qgraph(folder, "perplexity", decoder, "--text", text, "--length", "40", "--json");
		expect(code).toBe(0);
		const report = JSON.parse(out);
		expect(report).toMatchObject({ schema: "qgraph-perplexity", schemaVersion: 1, tokens: 97, notFinite: 0 });
		const limited = await qgraph(folder, "perplexity", decoder, "--text", text, "--limit", "9", "--json");
		expect(JSON.parse(limited.out).tokens).toBe(8);
		const whole = await qgraph(folder, "perplexity", decoder, "--text", text, "--json");
		// windows of 64 tokens, the context
		expect(JSON.parse(whole.out).tokens).toBe(98);
		const tooLong = await qgraph(folder, "perplexity", decoder, "--text", text, "--length", "65");
		expect(tooLong.err).toContain("windows have 65 tokens, but the model takes 64 at most");
		const failed = await qgraph(folder, "perplexity", decoder, "--text", text, "--max-perplexity", "1.5");
		expect(failed.code).toBe(1);
	});

	test.each([
		[["--length", "8"], "name --text or --tokens"],
		[["--tokens", "x.json", "--length", "1"], "--length 1 is out of range"],
		[["--tokens", "x.json", "--limit", "2.5"], "--limit 2.5 is out of range"],
	])("refuses %j", async (args, message) => {
		const { code, err } = await qgraph(folder, "perplexity", decoder, ...args);
		expect(code).toBe(2);
		expect(err).toContain(message);
	});
});

const corpus = fileURLToPath(new URL("../../../shared/corpus/genai", import.meta.url));

describe.skipIf(!existsSync(corpus))("models of ONNX Runtime GenAI", () => {
	/** Computed with onnxruntime and tokenizers in Python, in float64, from the same text. */
	test.each([
		[
			"qwen3-untied-nb",
			{ length: 128 },
			[
				559, 545.7466258825926, 5.082490830054669, 544.1610463919777, 0.00092458141397973, 0.0022076309350615,
				0.7101967799642218,
			],
		],
		[
			"qwen3-untied-nb",
			{ length: 128, stride: 50 },
			[
				563, 553.6293419681336, 5.314312166078894, 548.7796657698841, 0.0008663959482231, 0.0015268055320256,
				0.7335701598579041,
			],
		],
		[
			"qwen3-untied-qdq",
			{},
			[
				562, 545.9201547249669, 5.586063960441101, 545.2308552986285, 0.0008207081182089, 0.0016418709909268,
				0.7419928825622776,
			],
		],
	])("%s %j has the figures of an independent computation", async (name, windows, expected) => {
		const at = (model: string) => path.join(corpus, model, "model.onnx");
		const text = path.join(folder, "made-up.txt");
		writeFileSync(text, TEXT);
		const {
			tokens,
			perplexity: found,
			standardError,
			comparison,
		} = await perplexity(at(name), {
			text,
			tokenizer: path.join(corpus, name),
			reference: at("qwen3-untied-fp32"),
			...windows,
		});
		const { klDivergence, topAgreement } = comparison!;
		const figures = [
			tokens,
			found,
			standardError,
			comparison!.perplexity,
			klDivergence.mean,
			klDivergence.max,
			topAgreement,
		];
		for (const [index, figure] of figures.entries()) expect(figure! / expected[index]!).toBeCloseTo(1, 6);
	});
});

const TEXT = " = of the = \n \n in the first of its own they had been who were not one to that \n".repeat(12);
