import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import {
	type Analysis,
	analyzeSensitivity,
	findRecipe,
	parseTarget,
	QGraphError,
	renderAnalysisReport,
} from "../../index.js";
import { renderAnalysis } from "../analysis-text.js";
import { type Arguments, type Command, EXIT } from "../command.js";
import { IMAGE_FLAGS, imageFlags, imageOptions } from "../image-flags.js";
import { wrongNumber } from "../runtime-flags.js";
import { CANDIDATES_FLAG, DIM_FLAG, INPUT_VALUE_FLAG, TARGET_FLAG } from "../shared-flags.js";
import { ProgressBar } from "../terminal.js";
import { tokenData, tokenFlags, tokenProblem } from "../token-flags.js";

const ANALYSIS_FILE = "analysis.json";
const REPORT_FILE = "report.html";
const WORK_FOLDER = "work";

export const analyze: Command = {
	name: "analyze",
	usage: "analyze <model>",
	describe: "Find out where quantizing a float model loses precision, and suggest a recipe",
	flags: (builder) =>
		imageFlags(tokenFlags(builder))
			.positional("model", { type: "string", demandOption: true, describe: "ONNX file, float" })
			.option("output", {
				alias: "o",
				type: "string",
				demandOption: true,
				requiresArg: true,
				describe: "Folder to write: report.html, analysis.json, recipe.yaml, ExecuTorch's CSV and Python recipe",
			})
			.option("recipe", {
				type: "string",
				requiresArg: true,
				describe:
					"The recipe to start from, what it keeps stays float: a file, a built-in one, a precision [default: 16a4w_block]",
			})
			.option("data", {
				type: "array",
				string: true,
				requiresArg: true,
				describe: "Samples, as 'qgraph calibrate' takes them; repeatable [default: weights alone are looked at]",
			})
			.option("threshold", {
				type: "number",
				requiresArg: true,
				describe: "Promote what is below so many dB [default: 10]",
			})
			.option("grouping", {
				choices: ["executorch", "unit"] as const,
				describe: "What is promoted together: groups of layers, or each unit by itself [default: executorch]",
			})
			.option("budget", {
				type: "string",
				requiresArg: true,
				describe: "Instead: the best recipe of a size, 4.5bpw (of what the recipe quantizes), 900MB, 1.2GiB",
			})
			.option("candidates", CANDIDATES_FLAG)
			.option("head-weight", {
				type: "number",
				requiresArg: true,
				describe:
					"How much the noise of heads, embeddings and what makes an output counts [default: 1, without data 4]",
			})
			.option("fit", {
				choices: ["max", "search", "gptq"] as const,
				describe: "How candidates are quantized [default: gptq as 'qgraph quantize' does, without data search]",
			})
			.option("measure", {
				choices: ["all", "isolated"] as const,
				default: "all" as const,
				describe: "isolated: nothing but what each unit loses by itself, which takes seconds",
			})
			.option("end-to-end", {
				type: "number",
				requiresArg: true,
				describe: "Units that are run end to end by themselves, those nearest to the decision [default: 128]",
			})
			.option("hold-out", {
				type: "number",
				requiresArg: true,
				describe: "Samples to judge by and not to measure with [default: a tenth, 8 at most]",
			})
			.option("target", TARGET_FLAG)
			.option("dim", DIM_FLAG)
			.option("input-value", INPUT_VALUE_FLAG)
			.option("products", {
				choices: ["auto", "16x16", "16x8"] as const,
				describe: "Bits of both sides of attention's products [default: auto]",
			})
			.option("token-limit", {
				type: "number",
				requiresArg: true,
				default: 4096,
				describe: "With --text or --tokens, which give perplexities: look at no more tokens than these",
			})
			.option("resume", { type: "boolean", describe: "Go on where an interrupted run with the same arguments ended" })
			.option("force", { type: "boolean", describe: "Replace an analysis that is in the folder" })
			.option("json", { type: "boolean", describe: "Print the analysis as JSON on stdout, and nothing else there" })
			.option("quiet", { alias: "q", type: "boolean", describe: "Print nothing but errors" })
			.conflicts("budget", ["threshold", "grouping"])
			.implies(Object.fromEntries(IMAGE_FLAGS.map((flag) => [flag, "data"])))
			.example("$0 analyze model.onnx --data samples.npz -o analysis/ --budget 4.5bpw", ""),
	async run(args, { terminal, signal }) {
		const problem = wrongNumber(args) ?? tokenProblem(args);
		if (problem !== undefined) {
			terminal.err.write(`qgraph: ${problem}\nSee 'qgraph analyze --help'.\n`);
			return EXIT.usage;
		}
		const [model, folder, resume] = [args.model as string, args.output as string, args.resume === true];
		prepareFolder(folder, args.force === true || resume);
		const work = path.join(folder, WORK_FOLDER);
		const bar = new ProgressBar(terminal);
		let analysis: Analysis;
		let files: ReadonlyMap<string, string>;
		try {
			({ analysis, files } = await analyzeSensitivity(model, {
				...optionsOf(args),
				workFolder: work,
				resume,
				signal,
				onProgress: (step, done, total) => bar.update(step, done, total),
			}));
		} finally {
			bar.clear();
		}
		writeFileSync(path.join(folder, ANALYSIS_FILE), `${JSON.stringify(analysis, null, "\t")}\n`);
		writeFileSync(path.join(folder, REPORT_FILE), renderAnalysisReport(analysis));
		for (const [name, text] of files) writeFileSync(path.join(folder, name), text);
		if (!analysis.isPartial) rmSync(work, { recursive: true, force: true });
		if (args.json === true) terminal.out.write(`${JSON.stringify(analysis, null, 2)}\n`);
		else if (args.quiet !== true) {
			terminal.out.write(
				`${renderAnalysis(analysis)}\n\nwritten: ${folder}: ${[REPORT_FILE, ANALYSIS_FILE, ...files.keys()].join(", ")}\n`,
			);
		}
		if (!analysis.isPartial) return EXIT.done;
		terminal.err.write(`qgraph: interrupted; '${folder}' has what was measured until then, --resume goes on with it\n`);
		return EXIT.interrupted;
	},
};

/** @throws QGraphError `write/exists` for a folder with another analysis, `write/failed` for what is no folder. */
function prepareFolder(folder: string, isReplaced: boolean): void {
	if (existsSync(folder) && !statSync(folder).isDirectory()) {
		throw new QGraphError("write/failed", `cannot write '${folder}': it exists and is no folder`, { file: folder });
	}
	const file = path.join(folder, ANALYSIS_FILE);
	if (existsSync(file) && !isReplaced && !isPartial(file)) {
		throw new QGraphError("write/exists", `'${file}' exists; use --force to replace it`, { file });
	}
	try {
		mkdirSync(folder, { recursive: true });
	} catch (error) {
		const reason = error instanceof Error ? error.message : String(error);
		throw new QGraphError("write/failed", `cannot write '${folder}': ${reason}`, { file: folder }, { cause: error });
	}
}

function isPartial(file: string): boolean {
	try {
		return JSON.parse(readFileSync(file, "utf8")).isPartial === true;
	} catch {
		return false;
	}
}

function optionsOf(args: Arguments) {
	const tokens = tokenData(args);
	return {
		recipe: args.recipe as string | undefined,
		data: args.data as string[] | undefined,
		images: args.data === undefined ? undefined : imageOptions(args),
		dim: args.dim as string[] | undefined,
		inputValues: args["input-value"] as string[] | undefined,
		target: args.target === undefined ? undefined : parseTarget(args.target as string),
		thresholdDb: args.threshold as number | undefined,
		grouping: args.grouping as "executorch" | "unit" | undefined,
		budget: args.budget as string | undefined,
		candidates: (args.candidates as readonly string[] | undefined)?.map((text) => findRecipe(text).default),
		headWeight: args["head-weight"] as number | undefined,
		fit: args.fit as "max" | "search" | "gptq" | undefined,
		measures: args.measure as "all" | "isolated",
		endToEndUnits: args["end-to-end"] as number | undefined,
		holdOut: args["hold-out"] as number | undefined,
		products: args.products as "auto" | "16x16" | "16x8" | undefined,
		perplexity: tokens && { ...tokens, limit: args["token-limit"] as number },
	};
}
