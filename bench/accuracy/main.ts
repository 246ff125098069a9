/*
 * What quantization does to real models: signal to noise at the outputs, dB, of every way to make int4 blocks.
 *
 *   npm run accuracy -- [--methods max,search-3,...] [--samples 8] [--vocabulary vocab.txt] name=model.onnx ...
 *
 * Models with integer inputs get sentences, which needs the vocabulary of BERT (uncased); others get drawn scenes.
 * Calibration uses other sentences than the comparison.
 */
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { readModel, recipePasses, runPasses, type WeightEntry, writeModel } from "qgraph";
import { type Feeds, imageFeeds, Tokenizer, textFeeds } from "./inputs.js";
import { METHODS, type Method } from "./methods.js";
import { IMPORTANCE_FILE, writeMoments } from "./moments.js";
import { CpuModel, lowestSqnr, type Outputs } from "./session.js";

const REPO = fileURLToPath(new URL("../../../", import.meta.url));

const { values, positionals } = parseArgs({
	allowPositionals: true,
	options: {
		methods: { type: "string" },
		samples: { type: "string", default: "8" },
		vocabulary: { type: "string" },
	},
});
const methods = METHODS.filter(({ name }) => values.methods?.split(",").includes(name) ?? true);
const sampleCount = Number(values.samples);
const tokenizer = values.vocabulary === undefined ? undefined : new Tokenizer(values.vocabulary);
const folder = mkdtempSync(path.join(tmpdir(), "qgraph-accuracy-"));

interface Figures {
	readonly outputs: number;
	/** Mean over the weights in blocks. */
	readonly weights: number | undefined;
	readonly megabytes: number;
	readonly seconds: number;
}

const table = new Map<string, Map<Method, Figures>>();
try {
	for (const positional of positionals) {
		const [name = "", file = ""] = positional.split("=");
		table.set(name, await measureModel(name, file));
	}
} finally {
	rmSync(folder, { recursive: true, force: true });
}
show("Outputs, dB", ({ outputs }) => outputs.toFixed(1));
show("Weights in blocks, mean, dB", ({ weights }) => weights?.toFixed(2) ?? "");
show("Size, MB", ({ megabytes }) => megabytes.toFixed(1));
show("Time, s", ({ seconds }) => seconds.toFixed(1));

async function measureModel(name: string, file: string): Promise<Map<Method, Figures>> {
	const reference = await CpuModel.load(file);
	const { calibration, unseen } = samplesFor(reference);
	const expected: Outputs[] = [];
	for (const feeds of unseen) expected.push(await reference.run(feeds));
	await reference.close();
	const moments = path.join(folder, name);
	if (calibration.length > 0 && methods.some(({ statistics }) => statistics !== undefined)) {
		const start = performance.now();
		await writeMoments(file, calibration, moments);
		console.log(`${name}: second moments in ${((performance.now() - start) / 1000).toFixed(1)} s`);
	}
	const figures = new Map<Method, Figures>();
	for (const method of methods) {
		if (method.statistics !== undefined && calibration.length === 0) continue;
		const made = await measureMethod(file, method, moments, unseen, expected);
		console.log(`${name}: ${method.name} ${made.outputs.toFixed(2)} dB, weights ${made.weights?.toFixed(2)} dB`);
		figures.set(method, made);
	}
	return figures;
}

function samplesFor(model: CpuModel): { calibration: readonly Feeds[]; unseen: readonly Feeds[] } {
	const { inputs } = model;
	if (inputs.every(({ type }) => type === "float32")) {
		const unseen = Array.from({ length: sampleCount }, (_, seed) => imageFeeds(inputs, seed + 1));
		return { calibration: [], unseen };
	}
	if (tokenizer === undefined) throw new Error("a model reads text; name --vocabulary");
	const read = (...files: string[]) => files.flatMap((file) => tokenizer.paragraphs(path.join(REPO, file), 24));
	const feeds = (paragraphs: readonly number[][]) => paragraphs.map((ids) => textFeeds(inputs, ids));
	return {
		calibration: feeds(read("docs/qnn-htp.md", "docs/lpbq.md", "docs/verify.md", "docs/kernels.md")),
		unseen: feeds(read("README.md", "ARCHITECTURE.md").slice(0, sampleCount)),
	};
}

async function measureMethod(
	file: string,
	{ recipe, options, statistics }: Method,
	moments: string,
	unseen: readonly Feeds[],
	expected: readonly Outputs[],
): Promise<Figures> {
	const recipeFile = path.join(folder, "recipe.json");
	writeFileSync(recipeFile, JSON.stringify({ default: recipe, rules: [] }));
	const model = await readModel(file);
	const start = performance.now();
	const files = {
		...(statistics === "importance" ? { importance: path.join(moments, IMPORTANCE_FILE) } : {}),
		...(statistics === "moments" ? { hessian: moments } : {}),
	};
	const passes = recipePasses.map((pass) =>
		pass.definition.name === "apply-precision-recipe" ? pass({ recipe: recipeFile, ...options, ...files }) : pass(),
	);
	const { weights } = await runPasses(model, passes);
	const output = path.join(folder, "quantized.onnx");
	await writeModel(model, output, { overwrite: true });
	const seconds = (performance.now() - start) / 1000;
	const session = await CpuModel.load(output);
	const results: Outputs[] = [];
	for (const feeds of unseen) results.push(await session.run(feeds));
	await session.close();
	return {
		outputs: lowestSqnr(expected, results),
		weights: meanSqnr(weights),
		megabytes: statSync(output).size / 1e6,
		seconds,
	};
}

function meanSqnr(weights: readonly WeightEntry[]): number | undefined {
	const figures = weights.flatMap(({ status, blockSize, sqnrDb }) =>
		status === "converted" && blockSize !== undefined ? (sqnrDb ?? []) : [],
	);
	return figures.length === 0 ? undefined : figures.reduce((sum, value) => sum + value, 0) / figures.length;
}

function show(heading: string, cell: (figures: Figures) => string): void {
	const names = [...table.keys()];
	console.log(`\n| ${heading} | ${names.join(" | ")} |\n| --- |${" ---: |".repeat(names.length)}`);
	for (const method of methods) {
		const cells = names.map((name) => {
			const figures = table.get(name)!.get(method);
			return figures === undefined ? "" : cell(figures);
		});
		console.log(`| ${method.title} | ${cells.join(" | ")} |`);
	}
}
