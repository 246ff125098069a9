import { spawnSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** A program that turns the model into another model file. */
export interface Contender {
	readonly name: string;
	command(input: string, output: string): readonly [string, ...string[]];
	/** The time that it may take, from that of `cp`; none for those that we only compare with. */
	readonly limit?: { readonly factor: number; readonly seconds: number };
}

const REPO = fileURLToPath(new URL("../../", import.meta.url));
const PRELOAD = new URL("./peak-memory.js", import.meta.url).href;
const LOAD_SAVE = path.join(REPO, "bench/load_save.py");
const OLIVE = path.join(REPO, "bench/olive_lower.py");
const AIMET = path.join(REPO, "bench/aimet_lpbq.py");

function qgraph(name: string, flags: readonly string[], limit?: Contender["limit"]): Contender {
	const cli = path.join(REPO, "dist/bundle/main.js");
	return {
		name: `qgraph ${name}`,
		command: (input, output) => [
			process.execPath,
			"--import",
			PRELOAD,
			cli,
			"convert",
			"--quiet",
			...flags,
			input,
			output,
		],
		...(limit === undefined ? {} : { limit }),
	};
}

export const copy: Contender = {
	name: "cp",
	command: (input, output) => ["cp", input, `${input}.data`, path.dirname(output)],
};

/** What it costs to have the copy on the disk, as qgraph has its output before it gives it its name. */
export const copySynced: Contender = {
	name: "cp, then sync",
	command: (input, output) => ["sh", "-c", 'cp "$1" "$1.data" "$2" && sync "$2"/*', "sh", input, path.dirname(output)],
};

export const noPass = qgraph("no pass", [], { factor: 1.3, seconds: 0.3 });
export const fitMax = qgraph("fit max", ["--bq-to-lpbq", "--bq-to-lpbq-fit", "max"], { factor: 2, seconds: 0.3 });
export const fitSearch = qgraph("fit search", ["--bq-to-lpbq", "--bq-to-lpbq-fit", "search"]);

export const lowerNbits = qgraph("lower-matmul-nbits", ["--lower-matmul-nbits"]);

const RECIPE_BLOCK_SIZE = 64;
const RECIPE = ["--recipe", `16a4w_block:${RECIPE_BLOCK_SIZE}`, "--apply-precision-recipe-fit"];
export const recipeMax = qgraph("recipe, max", [...RECIPE, "max"]);
export const recipeSearch = qgraph("recipe, search", [...RECIPE, "search"]);

/** Samples that the sensitivity of layers is measured with. */
const SAMPLES = 4;

/** What each layer loses alone, from the start of the program to the written analysis. */
export const sensitivity: Contender = {
	name: "qgraph analyze, isolated",
	command: (input, output) => [
		process.execPath,
		"--import",
		PRELOAD,
		path.join(REPO, "dist/bundle/main.js"),
		"analyze",
		"--quiet",
		"--measure",
		"isolated",
		"--fit",
		"max",
		"--recipe",
		`16a4w_block:${RECIPE_BLOCK_SIZE}`,
		"--data",
		`random:${SAMPLES}`,
		"--hold-out",
		"0",
		"-o",
		path.dirname(output),
		input,
	],
};

/** A language model to static graphs of LPBQ weights, chosen by GPTQ, for a v79. */
export const quantizedLlm: Contender = {
	name: "qgraph llm, 16a4w_block:32",
	command: (input, output) => [
		process.execPath,
		"--import",
		PRELOAD,
		path.join(REPO, "dist/bundle/main.js"),
		"llm",
		"--quiet",
		...["--context", "4096", "--prefill", "128", "--target", "qnn-htp:v79", "--recipe", "16a4w_block:32"],
		path.dirname(input),
		path.join(path.dirname(output), "llm"),
	],
};

const PYTHON = process.env.QGRAPH_PYTHON ?? "python3";

/** The Python libraries that read and write models; says in a plain word what is not there. */
export function pythonContenders(): Contender[] {
	return (["onnx", "onnx-ir"] as const)
		.filter((library) => isInstalled(library, library.replace("-", "_")))
		.map((library) => ({ name: library, command: (input, output) => [PYTHON, LOAD_SAVE, library, input, output] }));
}

/** Olive's pass of the same purpose; undefined where it is not there. */
export function oliveContender(): Contender | undefined {
	if (!isInstalled("olive-ai", "olive")) return undefined;
	return { name: "Olive MatMulNBitsToQDQ", command: (input, output) => [PYTHON, OLIVE, input, output] };
}

/** AIMET's way from float weights to LPBQ; undefined where it is not there. */
export function aimetContender(): Contender | undefined {
	if (!isInstalled("aimet-onnx", "aimet_onnx")) return undefined;
	return { name: "AIMET", command: (input, output) => [PYTHON, AIMET, input, output, String(RECIPE_BLOCK_SIZE)] };
}

/** AIMET's analysis of the same, its model made and calibrated already; undefined where it is not there. */
export function aimetSensitivity(): Contender | undefined {
	if (!isInstalled("aimet-onnx", "aimet_onnx")) return undefined;
	const script = path.join(REPO, "bench/aimet_sensitivity.py");
	return {
		name: "AIMET per-layer sensitivity",
		command: (input) => [PYTHON, script, input, String(RECIPE_BLOCK_SIZE), String(SAMPLES)],
	};
}

function isInstalled(library: string, module: string): boolean {
	const look = `import importlib.util, sys; sys.exit(importlib.util.find_spec("${module}") is None)`;
	const found = spawnSync(PYTHON, ["-c", look], { stdio: "ignore" }).status === 0;
	if (!found) console.log(`${library}: left out, '${PYTHON}' does not have it (QGRAPH_PYTHON names another Python)`);
	return found;
}
