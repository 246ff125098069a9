/*
 * What statistics of the inputs gain for each layer: signal to noise at the outputs of MatMuls, dB, with weights in LPBQ
 * blocks of 32 and float inputs that nothing was calibrated with.
 *
 *   node .cache/bench/accuracy/layers.js --vocabulary vocab.txt [--tokens 12000 [--held-out 9000]]
 *     [--length 32 [--longest 19]] [--text folder] model.onnx
 *
 * Texts are the paragraphs of Markdown and plain text below the folder (this repository's packages when left out), each
 * once however many files have it. Every fifth is held out, or with --held-out so many tokens of others, and all are
 * calibrated with; they are cut after 128 tokens, none is padded. With a length, they are sentences of no more tokens, or
 * than the longest may have, padded to it, as a model of fixed lengths reads them, and padding counts. With M the second
 * moments of the inputs that were held out, W a weight and E its error, the signal is the trace of W^T M W and the noise
 * that of E^T M E.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import {
	type ApplyPrecisionRecipeOptions,
	calibrate,
	foldWeightTranspose,
	isOnnxOp,
	type Model,
	readAll,
	readModel,
	recipePasses,
	removeQdq,
	runPasses,
	type SampleSource,
	upgradeOpset,
	writeImportance,
} from "qgraph";
import { Tokenizer, textFeeds } from "./inputs.js";

const REPO = fileURLToPath(new URL("../../../", import.meta.url));

const { values, positionals } = parseArgs({
	allowPositionals: true,
	options: {
		vocabulary: { type: "string" },
		tokens: { type: "string", default: "12000" },
		"held-out": { type: "string" },
		length: { type: "string" },
		longest: { type: "string" },
		text: { type: "string", default: path.join(REPO, "node_modules") },
	},
});
const [file = ""] = positionals;
if (values.vocabulary === undefined) throw new Error("name the model's vocabulary: --vocabulary vocab.txt");
const folder = mkdtempSync(path.join(tmpdir(), "qgraph-layers-"));
const place = (name: string) => path.join(folder, name);

const METHODS: readonly (readonly [title: string, options: Partial<ApplyPrecisionRecipeOptions>])[] = [
	["`max`", { fit: "max" }],
	["`search`", {}],
	["with importance", { importance: place("importance.npz") }],
	["with GPTQ", { hessian: place("calibration") }],
];

try {
	const length = values.length === undefined ? undefined : Number(values.length);
	await measureLayers(new Tokenizer(values.vocabulary), Number(values.tokens), length);
} finally {
	rmSync(folder, { recursive: true, force: true });
}

/** @param length of all samples; where it is left out, each has its own. */
async function measureLayers(tokenizer: Tokenizer, tokens: number, length: number | undefined): Promise<void> {
	const model = await prepared();
	const names = model.graph.inputs.map(({ name }) => ({ name, type: "int64", shape: [] }));
	const lengthOf = (sentence: readonly number[]) => length ?? sentence.length;
	const texts = differing(
		textFiles(values.text).flatMap((text) => {
			return length === undefined
				? tokenizer.paragraphs(text, 8)
				: tokenizer.sentences(text, 8, Number(values.longest ?? length));
		}),
	);
	const { others, heldOut } = split(texts, lengthOf, tokens);
	const source = (ids: readonly (readonly number[])[]): SampleSource => ({
		name: "texts",
		count: ids.length,
		isRandom: false,
		async *samples(first) {
			for (const sentence of ids.slice(first)) {
				const feeds = Object.entries(textFeeds(names, sentence, lengthOf(sentence))).map(([name, { data, dims }]) => {
					const bytes = new Uint8Array((data as BigInt64Array).buffer);
					return [name, { type: "int64" as const, shape: [...dims], bytes }] as const;
				});
				yield { origin: "a paragraph", arrays: new Map(feeds) };
			}
		},
	});
	const started = performance.now();
	const { meanSquares } = await calibrate(model, source(others), { meanSquares: true, hessian: place("calibration") });
	writeImportance(meanSquares, place("importance.npz"));
	const seconds = (performance.now() - started) / 1000;
	await calibrate(model, source(heldOut), { hessian: place("unseen") });
	const count = (ids: readonly (readonly number[])[]) => ids.reduce((sum, sentence) => sum + lengthOf(sentence), 0);
	console.log(`${count(others)} tokens to calibrate with (${seconds.toFixed(0)} s), ${count(heldOut)} held out`);

	const weights = await weightsOf(model);
	const columns: Map<string, number>[] = [];
	for (const [title, options] of METHODS) {
		const start = performance.now();
		const made = await quantized(options);
		console.log(`${title}: ${((performance.now() - start) / 1000).toFixed(0)} s`);
		columns.push(new Map([...weights].map(([name, weight]) => [name, outputSqnr(weight, made.get(name)!)])));
	}
	show(weights, columns);
}

/** The model with names of weights as the recipe finds them. */
async function prepared(): Promise<Model> {
	const model = await readModel(file);
	await runPasses(model, [upgradeOpset(), foldWeightTranspose()]);
	return model;
}

/** The weights of a model once more as floats, after they were quantized. */
async function quantized(options: Partial<ApplyPrecisionRecipeOptions>): Promise<Map<string, Weight>> {
	const recipe = place("recipe.json");
	writeFileSync(recipe, JSON.stringify({ default: { precision: "16a4w_block", blockSize: 32 }, rules: [] }));
	const model = await readModel(file);
	const passes = recipePasses.map((pass) =>
		pass.definition.name === "apply-precision-recipe" ? pass({ recipe, ...options }) : pass(),
	);
	await runPasses(model, [...passes, removeQdq()]);
	return weightsOf(model);
}

interface Weight {
	readonly depth: number;
	readonly channels: number;
	/** [depth, channels]. */
	readonly values: Float32Array;
}

/** The constant matrices of MatMuls, by the name of the operator's output. */
async function weightsOf(model: Model): Promise<Map<string, Weight & { readonly weight: string }>> {
	const found = new Map<string, Weight & { readonly weight: string }>();
	for (const node of model.graph.nodes) {
		const [, value] = node.inputs;
		const tensor = value?.initializer;
		if (!isOnnxOp(node, "MatMul") || tensor?.shape.length !== 2) continue;
		const [depth, channels] = tensor.shape as [number, number];
		const elements = new Float32Array(Uint8Array.from(await readAll(tensor.data)).buffer);
		found.set(node.outputs[0]!.name, { weight: value!.name, depth, channels, values: elements });
	}
	return found;
}

function outputSqnr({ weight, depth, values: before }: Weight & { weight: string }, after: Weight): number {
	const moments = readMoments(path.join(place("unseen"), `${encodeURIComponent(weight)}.npy`));
	const error = before.map((value, index) => value - after.values[index]!);
	return 10 * Math.log10(power(moments, before, depth) / power(moments, error, depth));
}

/** The trace of X^T M X. */
function power(moments: Float32Array, x: Float32Array, depth: number): number {
	const channels = x.length / depth;
	let sum = 0;
	const row = new Float64Array(channels);
	for (let i = 0; i < depth; i++) {
		row.fill(0);
		for (let j = 0; j < depth; j++) {
			const factor = moments[i * depth + j]!;
			for (let n = 0; n < channels; n++) row[n]! += factor * x[j * channels + n]!;
		}
		for (let n = 0; n < channels; n++) sum += row[n]! * x[i * channels + n]!;
	}
	return sum;
}

/** The elements of an .npy file of float32. */
function readMoments(file: string): Float32Array {
	const bytes = readFileSync(file);
	return new Float32Array(Uint8Array.from(bytes.subarray(10 + bytes.readUInt16LE(8))).buffer);
}

function textFiles(parent: string): string[] {
	return readdirSync(parent, { recursive: true, encoding: "utf8" })
		.filter((name) => /\.(md|txt)$/i.test(name))
		.sort()
		.map((name) => path.join(parent, name));
}

/** Texts without those that were there before. */
function differing(texts: readonly number[][]): number[][] {
	return [...new Map(texts.map((ids) => [ids.join(), ids])).values()];
}

/** Texts to calibrate with, and others to measure with. */
function split(
	texts: readonly number[][],
	lengthOf: (text: readonly number[]) => number,
	tokens: number,
): { others: number[][]; heldOut: number[][] } {
	const chosen = spread(texts, lengthOf, tokens);
	if (values["held-out"] === undefined) {
		return {
			others: chosen.filter((_, index) => index % 5 !== 4),
			heldOut: chosen.filter((_, index) => index % 5 === 4),
		};
	}
	const known = new Set(chosen);
	const rest = texts.filter((text) => !known.has(text));
	return { others: chosen, heldOut: spread(rest, lengthOf, Number(values["held-out"])) };
}

/** Paragraphs from all over, of about so many tokens together. */
function spread(
	paragraphs: readonly number[][],
	lengthOf: (paragraph: readonly number[]) => number,
	tokens: number,
): number[][] {
	const all = paragraphs.reduce((sum, sentence) => sum + lengthOf(sentence), 0);
	const step = Math.max(1, all / tokens);
	return Array.from(
		{ length: Math.floor(paragraphs.length / step) },
		(_, index) => paragraphs[Math.floor(index * step)]!,
	);
}

function show(
	weights: ReadonlyMap<string, { readonly weight: string; readonly depth: number; readonly channels: number }>,
	columns: readonly Map<string, number>[],
): void {
	const mean = (of: (name: string) => number) =>
		[...weights.keys()].reduce((sum, name) => sum + of(name), 0) / weights.size;
	const search = columns[1]!;
	const rowOf = (title: string, of: (column: Map<string, number>) => number) => {
		const figures = columns.map((column) => of(column));
		const gains = figures.slice(2).map((figure) => figure - figures[1]!);
		return `| ${title} | ${[...figures, ...gains].map((figure) => figure.toFixed(1)).join(" | ")} |`;
	};
	const heads = [...METHODS.map(([title]) => title), "gain of importance", "gain of GPTQ"];
	console.log(`\n| Outputs of MatMuls, dB | ${heads.join(" | ")} |\n| --- |${" ---: |".repeat(heads.length)}`);
	for (const [name, { depth, channels }] of weights) {
		const title = `${name.replace(/\/(MatMul)?_output_0$/, "").replace(/^\//, "")}, ${depth} x ${channels}`;
		console.log(rowOf(title, (column) => column.get(name)!));
	}
	console.log(rowOf("**mean**", (column) => mean((name) => column.get(name)!)));
	console.log(
		`least gain of GPTQ ${Math.min(...[...weights.keys()].map((name) => columns[3]!.get(name)! - search.get(name)!)).toFixed(1)}`,
	);
}
