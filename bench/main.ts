/*
 * Time and memory of conversions of a big model, against `cp` of the same files and against Python's onnx and onnx-ir.
 *
 *   npm run bench [-- --layers 64 --form bq|float --rounds 5 --search-layers 4 --folder DIR]
 */
import { mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { writeModel } from "qgraph";
import { type BigModelOptions, bigModel } from "./big-model.js";
import { type Contender, copySynced, fitMax, fitSearch, noPass, pythonContenders } from "./contenders.js";
import { type Comparison, compare, measure } from "./measure.js";

const { values } = parseArgs({
	options: {
		layers: { type: "string", default: "64" },
		form: { type: "string", default: "bq" },
		rounds: { type: "string", default: "5" },
		"search-layers": { type: "string", default: "4" },
		folder: { type: "string", default: tmpdir() },
	},
});
const form: BigModelOptions["form"] = values.form === "float" ? "float" : "bq";
const layers = Number(values.layers);
const rounds = Number(values.rounds);

mkdirSync(values.folder, { recursive: true });
const folder = mkdtempSync(path.join(values.folder, "qgraph-bench-"));
try {
	console.log(
		`Node ${process.version}, ${availableParallelism()} cores, medians of ${rounds} runs in ${values.folder}\n`,
	);
	const python = pythonContenders();
	const input = await makeModel(layers);
	show(`${layers} layers of ${form}, ${mebibytes(sizeOf(input))}`, [
		...compare([copySynced, noPass, ...(form === "bq" ? [fitMax] : []), ...python], input, rounds),
	]);
	if (form === "bq") {
		const small = await makeModel(Number(values["search-layers"]));
		const heading = `${values["search-layers"]} layers of ${form}, ${mebibytes(sizeOf(small))}`;
		show(heading, [...compare([fitMax, fitSearch], small, Math.min(rounds, 3))]);
	}
	await showMemory(form === "bq" ? [noPass, fitMax] : [noPass], [Math.ceil(layers / 4), layers]);
} finally {
	rmSync(folder, { recursive: true, force: true });
}

async function makeModel(count: number): Promise<string> {
	const file = path.join(folder, `${form}-${count}`, "model.onnx");
	mkdirSync(path.dirname(file), { recursive: true });
	const model = bigModel({ form, layers: count, k: 2048, n: 8192, block: 32 });
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
async function showMemory(contenders: readonly Contender[], counts: readonly number[]): Promise<void> {
	const rows: string[][] = contenders.map(({ name }) => [name]);
	for (const count of counts) {
		const input = await makeModel(count);
		for (const [index, contender] of contenders.entries()) {
			rows[index]!.push(mebibytes((measure(contender, input).peakKib ?? Number.NaN) * 1024));
		}
	}
	console.log(`peak memory\n${table([["", ...counts.map((count) => `${count} layers`)], ...rows])}`);
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
