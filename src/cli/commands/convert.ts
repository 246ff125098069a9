import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import {
	checkModel,
	collectStatisticsOf,
	type ExternalDataPolicy,
	type FileStatistics,
	missingDataFiles,
	type Pass,
	type PipelineReport,
	parseTarget,
	QGraphError,
	readModel,
	refusalOf,
	runPasses,
	summarizeModel,
	type Target,
	targetName,
	type Verification,
	type VerifyOptions,
	verifyModels,
	writeModel,
} from "../../index.js";
import { calibrationFlags, calibrationOptions, givenCalibrationFlag } from "../calibration-flags.js";
import { type Arguments, type Command, type CommandContext, EXIT } from "../command.js";
import { conversionReport, renderReport } from "../conversion-report.js";
import { passesFrom, passFlags, unusedOptions } from "../flags.js";
import { lengths } from "../key-values.js";
import { checkFolder, checkOutput } from "../output.js";
import { samplesProblem, wrongNumber } from "../runtime-flags.js";
import { ProgressBar, plain } from "../terminal.js";

export const convert: Command = {
	name: "convert",
	usage: "convert <input> [output]",
	describe: "Run passes over a model and write the result",
	flags(builder) {
		builder
			.positional("input", { type: "string", demandOption: true, describe: "ONNX file" })
			.positional("output", { type: "string", describe: "ONNX file to write; with --dry-run there is none" });
		for (const [name, flag] of Object.entries(passFlags())) builder.option(name, flag);
		return calibrationFlags(builder)
			.option("target", {
				type: "string",
				requiresArg: true,
				describe: "Make the model legal there, with every pass that this takes: qnn-htp:v79, or a chip, qnn-htp:SM8750",
			})
			.option("calibration-data", {
				type: "array",
				string: true,
				requiresArg: true,
				describe:
					"With --recipe: samples for ranges of activations and for GPTQ, as 'qgraph calibrate' takes them; repeatable",
			})
			.option("allow-illegal", {
				type: "boolean",
				describe: "Write the model although the target would refuse it or compute it wrong",
			})
			.option("verify", {
				type: "boolean",
				describe:
					"Run the result afterwards, on the target's emulator or else on the CPU, and compare it with the input",
			})
			.option("min-sqnr", {
				type: "number",
				requiresArg: true,
				describe: "With --verify: fail when an output is below so many dB",
			})
			.option("inputs", {
				type: "array",
				string: true,
				requiresArg: true,
				describe: "With --verify: inputs, a file of numpy's savez for each sample [default: random ones]",
			})
			.option("samples", { type: "number", requiresArg: true, describe: "With --verify: random samples [default: 1]" })
			.option("seed", {
				type: "number",
				requiresArg: true,
				describe: "With --verify: of the random samples [default: 0]",
			})
			.option("external-data", {
				choices: ["auto", "keep", "inline", "one-file"] as const,
				default: "auto" as const,
				describe: "Where weights go: into data files as they are, inline, or all into one",
			})
			.option("force", { type: "boolean", describe: "Replace the output if it exists" })
			.option("dry-run", { type: "boolean", describe: "Do everything but write" })
			.option("strict", {
				type: "boolean",
				describe: "Fail, and write nothing, when a block-quantized weight was left alone",
			})
			.option("report", { type: "string", requiresArg: true, describe: "Write a JSON report to this file" })
			.option("json", { type: "boolean", describe: "Print the report as JSON on stdout, and nothing else there" })
			.option("quiet", { alias: "q", type: "boolean", describe: "Print nothing but errors" })
			.example("$0 convert --bq-to-lpbq in.onnx out.onnx", "")
			.example("$0 convert --target qnn-htp:v79 in.onnx out.onnx", "")
			.example("$0 convert --target qnn-htp:v79 --verify --min-sqnr 30 in.onnx out.onnx", "")
			.example("$0 convert --recipe 16a4w_block --verify --report report.json in.onnx out.onnx", "")
			.example("$0 convert --recipe 16a8w --calibration-data samples.npz --target qnn-htp:v79 in.onnx out.onnx", "")
			.example("$0 convert --bq-to-lpbq --float-weights float.onnx in.onnx out.onnx", "");
	},
	async run(args, context) {
		const problem = usageProblem(args);
		if (problem !== undefined) {
			context.terminal.err.write(`qgraph: ${problem}\nSee 'qgraph convert --help'.\n`);
			return EXIT.usage;
		}
		return args["calibration-data"] === undefined ? runConvert(args, context) : runCalibrated(args, context);
	},
};

function usageProblem(args: Arguments): string | undefined {
	const isCalibrated = args["calibration-data"] !== undefined;
	const taken = isCalibrated ? quantizing(args) : args;
	const unused = unusedOptions(args.verify === true || isCalibrated ? { ...taken, dim: undefined } : taken);
	if (unused.length > 0) return unused.join("; ");
	if (args["allow-illegal"] === true && args.target === undefined) return "--allow-illegal needs --target";
	if (args.verify === true && args["dry-run"] === true) return "--verify needs an output to run";
	if (isCalibrated && (args.recipe === undefined || args.encodings !== undefined)) {
		return "--calibration-data needs --recipe, and takes the place of --encodings";
	}
	const calibrating = givenCalibrationFlag(args);
	if (calibrating !== undefined && !isCalibrated) {
		return `${calibrating} needs --calibration-data`;
	}
	const verifying = ["min-sqnr", "inputs", "samples", "seed"].find((flag) => args[flag] !== undefined);
	if (verifying !== undefined && args.verify !== true) return `--${verifying} needs --verify`;
	const wrong = wrongNumber(args) ?? samplesProblem(args);
	if (wrong !== undefined) return wrong;
	if (args.output === undefined && args["dry-run"] !== true) return "Name the output file, or use --dry-run.";
	return undefined;
}

/** Calibrates first what the recipe is to be applied to, and converts with what that found. */
async function runCalibrated(args: Arguments, context: CommandContext): Promise<number> {
	const { terminal, signal } = context;
	if (args["dry-run"] !== true) checkOutput(args.output as string, args.force === true);
	const folder = await mkdtemp(path.join(tmpdir(), "qgraph-convert-"));
	const bar = new ProgressBar(terminal);
	let found: FileStatistics | undefined;
	try {
		found = await collectStatisticsOf(args.input as string, args["calibration-data"] as string[], folder, {
			...calibrationOptions(args),
			recipe: args.recipe as string,
			dim: (args.dim as string[] | undefined) ?? [],
			inputValues: (args["input-value"] as string[] | undefined) ?? [],
			passes: passesBefore(quantizing(args), "apply-precision-recipe"),
			target: targetOf(args),
			signal,
			onProgress: (done, total) => bar.update("calibrating", done, total ?? 0),
			onRounds: (done, total) => bar.update("calibrating layers", done, total),
		});
		bar.clear();
		const statistics = { encodings: found.encodings, "apply-precision-recipe-hessian": found.hessian };
		const lengths = args.target === undefined ? {} : { dim: found.dim };
		return await runConvert({ ...args, ...statistics, ...lengths }, context, found);
	} finally {
		bar.clear();
		await found?.observer?.close();
		await rm(folder, { recursive: true, force: true });
	}
}

/** Arguments with ranges, which are still to be found, so that they choose the passes that these make possible. */
function quantizing(args: Arguments): Arguments {
	return { ...args, encodings: args.encodings ?? "" };
}

function targetOf({ target }: Arguments): Target | undefined {
	return target === undefined ? undefined : parseTarget(target as string);
}

/** Those of the passes asked for that run in front of another one. */
function passesBefore(args: Arguments, name: string): Pass[] {
	const passes = passesFrom(args);
	return passes.slice(
		0,
		Math.max(
			0,
			passes.findIndex((pass) => pass.name === name),
		),
	);
}

async function runConvert(
	args: Arguments,
	{ terminal, signal }: CommandContext,
	{ observer, diagnostics = [] }: Partial<Pick<FileStatistics, "observer" | "diagnostics">> = {},
): Promise<number> {
	const passes = passesFrom(args);
	const target = targetOf(args);
	if (args["dry-run"] !== true) checkOutput(args.output as string, args.force === true);
	if (typeof args.report === "string") checkFolder(args.report);
	const bar = new ProgressBar(terminal);
	const failure = new AbortController();
	let endWrite = () => {};
	try {
		const model = await readModel(args.input as string);
		for (const location of missingDataFiles(model)) {
			terminal.err.write(
				`qgraph: warning: data file '${plain(location)}' is not there; weights in it are out of reach\n`,
			);
		}
		const before = summarizeModel(model);
		const deferred: Promise<void>[] = [];
		const written = new Promise<void>((resolve) => {
			endWrite = resolve;
		});
		const result = await runPasses(model, passes, {
			...(target === undefined ? {} : { target }),
			...(observer === undefined ? {} : { observer }),
			signal: AbortSignal.any([signal, failure.signal]),
			onProgress: (pass, done, total) => bar.update(pass, done, total),
			onDeferred: (work) => deferred.push(work),
			written,
		});
		const measured = Promise.all(deferred);
		measured.catch(() => undefined);
		const findings = target === undefined ? [] : await checkModel(model, target);
		const refused =
			(args.strict === true ? strictFailure(result) : undefined) ??
			(target === undefined || args["allow-illegal"] === true ? undefined : refusalOf(findings, target));
		if (refused === undefined && args["dry-run"] !== true) {
			await writeModel(model, args.output as string, {
				externalData: args["external-data"] as ExternalDataPolicy,
				overwrite: args.force === true,
				onWritten: () => {
					endWrite();
					return measured;
				},
				signal,
				onProgress: (done, total) => bar.update("writing", done, total),
			});
		}
		endWrite();
		await measured;
		const isWritten = refused === undefined && args["dry-run"] !== true;
		const change = { before, after: summarizeModel(model) };
		const aimedAt = target === undefined ? undefined : { target: targetName(target), findings };
		const verification =
			isWritten && args.verify === true
				? await verifyConversion(args, target, { signal, onProgress: (...step) => bar.update(...step) })
				: undefined;
		bar.clear();
		const said = { ...result, diagnostics: [...diagnostics, ...result.diagnostics] };
		const report = conversionReport(args, isWritten, change, said, { ...aimedAt, ...verification });
		const json = JSON.stringify(report, null, 2);
		if (typeof args.report === "string") writeReport(args.report, json);
		if (args.json === true) terminal.out.write(`${json}\n`);
		else if (args.quiet !== true) terminal.out.write(renderReport(report));
		if (refused !== undefined) throw refused;
		return verification?.verification.passed === false ? EXIT.failed : EXIT.done;
	} finally {
		failure.abort();
		endWrite();
		bar.clear();
	}
}

function writeReport(file: string, json: string): void {
	try {
		writeFileSync(file, `${json}\n`);
	} catch (error) {
		const reason = error instanceof Error ? error.message : String(error);
		throw new QGraphError("write/failed", `cannot write the report '${file}': ${reason}`, { file }, { cause: error });
	}
}

/** Reasons that no conversion could overcome and that --strict therefore accepts. */
const ACCEPTED = new Set([
	"weight/excluded",
	"weight/float",
	"weight/not-int4",
	"weight/not-block",
	"weight/operator",
	"lpbq/already",
]);

function strictFailure(result: PipelineReport): QGraphError | undefined {
	const kept = result.weights.filter((weight) => weight.status === "kept" && !ACCEPTED.has(weight.code));
	const [first] = kept;
	if (first === undefined) return undefined;
	const more = kept.length > 1 ? ` (and ${kept.length - 1} more)` : "";
	return new QGraphError(
		"pass/strict",
		`--strict: ${first.message} [${first.code}] at '${first.node}'${more}; nothing was written`,
		{ graph: first.graph, node: first.node, value: first.weight },
	);
}

/** Runs the output on the emulator of its target, or on the CPU where there is none, and the input on the CPU. */
async function verifyConversion(
	args: Arguments,
	target: Target | undefined,
	options: Pick<VerifyOptions, "signal" | "onProgress">,
): Promise<{ verification: Verification }> {
	const verification = await verifyModels(args.input as string, args.output as string, {
		...options,
		...(target === undefined ? {} : { on: target }),
		inputs: args.inputs as string[] | undefined,
		samples: args.samples as number | undefined,
		seed: args.seed as number | undefined,
		dimensions: lengths("dim", args.dim),
		minSqnrDb: args["min-sqnr"] as number | undefined,
	});
	return { verification };
}
