import { mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import path from "node:path";
import { writeModel } from "qgraph";
import { type BigModelOptions, bigModel } from "./big-model.js";
import { showCalibration } from "./calibration.js";
import {
	aimetContender,
	aimetSensitivity,
	type Contender,
	copySynced,
	fitMax,
	fitSearch,
	lowerNbits,
	noPass,
	oliveContender,
	pythonContenders,
	quantizedLlm,
	recipeMax,
	recipeSearch,
	sensitivity,
} from "./contenders.js";
import { flags } from "./flags.js";
import { LLM_CONTEXT, writeLlmDirectory } from "./llm-model.js";
import { type Comparison, compare, measure } from "./measure.js";

type Form = BigModelOptions["form"];

/** What unpacking may take of Olive's time and memory. */
const NBITS_LIMIT = 1 / 3;

/** The model that AIMET was measured with: MatMuls of 2048 x 2048. */
const RECIPE_LAYERS = 12;
/** What quantizing may take of AIMET's time, and of memory. */
const RECIPE_LIMITS = new Map([
	[recipeMax, 1 / 5],
	[recipeSearch, 1 / 2],
]);
const RECIPE_MEBIBYTES = 300;
/** What the sensitivity of layers may take of AIMET's time. */
const SENSITIVITY_LIMIT = 1 / 3;

/** The first of them has a limit of time. */
const LLM_LAYERS = [4, 8] as const;
const [LLM_SECONDS, LLM_MEBIBYTES] = [120, 2048];

const { form: part, layers, rounds } = flags;

mkdirSync(flags.folder, { recursive: true });
const folder = mkdtempSync(path.join(flags.folder, "qgraph-bench-"));
try {
	console.log(
		`Node ${process.version}, ${availableParallelism()} cores, medians of ${rounds} runs in ${flags.folder}\n`,
	);
	for (const model of flags.calibrate) showCalibration(model, flags.dim, flags.samples, rounds, folder);
	if (flags.calibrate.length === 0) {
		if (part === "bq" || part === "float") await compareConversions(part);
		if (part === "bq" || part === "nbits") await compareLowering(flags.nbitsLayers);
		if (part === "bq" || part === "recipe") await compareRecipes();
		if (part === "bq" || part === "sensitivity") await compareSensitivity();
		if (part === "llm") await measureLlm();
	}
} finally {
	rmSync(folder, { recursive: true, force: true });
}

async function compareConversions(form: "bq" | "float"): Promise<void> {
	const python = pythonContenders();
	const input = await makeModel(form, layers);
	show(`${layers} layers of ${form}, ${mebibytes(sizeOf(input))}`, [
		...compare([copySynced, noPass, ...(form === "bq" ? [fitMax] : []), ...python], input, rounds),
	]);
	if (form === "bq") {
		const small = await makeModel(form, flags.searchLayers);
		const heading = `${flags.searchLayers} layers of ${form}, ${mebibytes(sizeOf(small))}`;
		show(heading, [
			...compare([{ name: fitMax.name, command: fitMax.command }, fitSearch], small, Math.min(rounds, 3)),
		]);
	}
	await showMemory(form, form === "bq" ? [noPass, fitMax] : [noPass], [Math.ceil(layers / 4), layers]);
}

async function compareLowering(count: number): Promise<void> {
	const olive = oliveContender();
	const input = await makeModel("nbits", count);
	const results = compare([lowerNbits, ...(olive === undefined ? [] : [olive])], input, rounds);
	show(`${count} layers of nbits, ${mebibytes(sizeOf(input))}`, [...results]);
	const [ours, theirs] = [results.get(lowerNbits)!, olive && results.get(olive)!];
	if (theirs !== undefined) {
		const shares = {
			time: ours.seconds / theirs.seconds,
			"peak memory": (ours.peakKib ?? Number.NaN) / (theirs.peakKib ?? Number.NaN),
		};
		for (const [what, share] of Object.entries(shares)) {
			const kept = share <= NBITS_LIMIT ? "kept" : "exceeded";
			console.log(`${what}: ${share.toFixed(2)} of Olive's, limit ${NBITS_LIMIT.toFixed(2)}: ${kept}`);
		}
	}
	await showMemory("nbits", [lowerNbits], [count, 4 * count]);
}

async function compareRecipes(): Promise<void> {
	const aimet = aimetContender();
	const input = await makeModel("float", RECIPE_LAYERS, 2048);
	const results = compare([recipeMax, recipeSearch, ...(aimet === undefined ? [] : [aimet])], input, rounds);
	show(`${RECIPE_LAYERS} layers of float to LPBQ, ${mebibytes(sizeOf(input))}`, [...results]);
	const theirs = aimet && results.get(aimet);
	for (const [contender, limit] of RECIPE_LIMITS) {
		const { seconds, peakKib = Number.NaN } = results.get(contender)!;
		const memory = peakKib / 1024 <= RECIPE_MEBIBYTES ? "kept" : "exceeded";
		const time = theirs === undefined ? undefined : seconds / theirs.seconds;
		const timeText =
			time === undefined
				? ""
				: `${time.toFixed(2)} of AIMET's time, limit ${limit.toFixed(2)}: ${time <= limit ? "kept" : "exceeded"}; `;
		console.log(`${contender.name}: ${timeText}limit of memory, ${RECIPE_MEBIBYTES} MiB: ${memory}`);
	}
}

async function compareSensitivity(): Promise<void> {
	const aimet = aimetSensitivity();
	const input = await makeModel("float", RECIPE_LAYERS, 2048);
	const results = compare([sensitivity, ...(aimet === undefined ? [] : [aimet])], input, rounds);
	show(`sensitivity of ${RECIPE_LAYERS} layers, ${mebibytes(sizeOf(input))}`, [...results]);
	if (aimet === undefined) return;
	const [ours, theirs] = [results.get(sensitivity)!, results.get(aimet)!];
	const share = ours.seconds / theirs.seconds;
	const kept = share <= SENSITIVITY_LIMIT ? "kept" : "exceeded";
	console.log(
		`our whole program takes ${share.toFixed(3)} of what AIMET's analyze_per_layer_sensitivity takes alone, limit ${SENSITIVITY_LIMIT.toFixed(3)}: ${kept}`,
	);
	console.log(
		`and ${(ours.wholeSeconds / theirs.wholeSeconds).toFixed(3)} of AIMET's whole program (${theirs.wholeSeconds.toFixed(1)} s), which imports, quantizes and calibrates first`,
	);
}

/** Memory must not grow with the layers. */
async function measureLlm(): Promise<void> {
	for (const count of LLM_LAYERS) {
		const input = path.join(folder, `llm-${count}`);
		await writeLlmDirectory(input, count);
		const { seconds, peakKib = Number.NaN } = measure(quantizedLlm, path.join(input, "model.onnx"));
		const isLimited = count === LLM_LAYERS[0];
		const time = isLimited ? `, limit ${LLM_SECONDS} s: ${seconds <= LLM_SECONDS ? "kept" : "exceeded"}` : "";
		const memory = peakKib / 1024 <= LLM_MEBIBYTES ? "kept" : "exceeded";
		console.log(
			`${quantizedLlm.name}, ${count} layers of Qwen3-0.6B's size, context ${LLM_CONTEXT}: ${seconds.toFixed(1)} s${time}`,
		);
		console.log(`  peak memory ${mebibytes(peakKib * 1024)}, limit ${LLM_MEBIBYTES} MiB: ${memory}`);
		rmSync(input, { recursive: true });
	}
}

async function makeModel(form: Form, count: number, n = 8192): Promise<string> {
	const file = path.join(folder, `${form}-${count}-${n}`, "model.onnx");
	mkdirSync(path.dirname(file), { recursive: true });
	const model = bigModel({ form, layers: count, k: 2048, n, block: 32 });
	await writeModel(model, file, { externalData: "one-file" });
	return file;
}

function sizeOf(file: string): number {
	return statSync(file).size + statSync(`${file}.data`).size;
}

function show(heading: string, results: readonly (readonly [Contender, Comparison])[]): void {
	const rows = results.map(([{ name, limit }, { seconds, copySeconds, ratio, peakKib }]) => {
		const allowed = limit === undefined ? undefined : copySeconds * limit.factor + limit.seconds;
		return [
			name,
			`${seconds.toFixed(2)} s`,
			`${copySeconds.toFixed(2)} s`,
			ratio.toFixed(2),
			peakKib === undefined ? "" : mebibytes(peakKib * 1024),
			allowed === undefined ? "" : `${allowed.toFixed(2)} s, ${seconds <= allowed ? "kept" : "exceeded"}`,
		];
	});
	console.log(`${heading}\n${table([["", "time", "cp", "ratio", "peak memory", "limit"], ...rows])}\n`);
}

/** Memory must not grow with the model. */
async function showMemory(form: Form, contenders: readonly Contender[], counts: readonly number[]): Promise<void> {
	const rows: string[][] = contenders.map(({ name }) => [name]);
	for (const count of counts) {
		const input = await makeModel(form, count);
		for (const [index, contender] of contenders.entries()) {
			rows[index]!.push(mebibytes((measure(contender, input).peakKib ?? Number.NaN) * 1024));
		}
	}
	console.log(`\npeak memory\n${table([["", ...counts.map((count) => `${count} layers`)], ...rows])}`);
}

function mebibytes(bytes: number): string {
	return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

function table(rows: readonly (readonly string[])[]): string {
	const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
	const line = ([first, ...others]: readonly string[]) =>
		[first!.padEnd(widths[0]!), ...others.map((cell, index) => cell.padStart(widths[index + 1]!))]
			.join("   ")
			.trimEnd();
	return rows.map(line).join("\n");
}
