import { existsSync } from "node:fs";
import {
	type Calibration,
	calibrate as calibrateModel,
	calibrationEncodings,
	computeConstants,
	type EncodingsVersion,
	fixInputs,
	fixShapes,
	foldIf,
	needsHistograms,
	OBSERVERS,
	type ObserverName,
	openSamples,
	ownVersion,
	readModel,
	runPasses,
	writeEncodings,
	writeImportance,
} from "../../index.js";
import { type Arguments, type Command, EXIT } from "../command.js";
import { imageFlags, imageOptions } from "../image-flags.js";
import { checkOutput } from "../output.js";
import { wrongNumber } from "../runtime-flags.js";
import { INPUT_VALUE_FLAG } from "../shared-flags.js";
import { ProgressBar, plain } from "../terminal.js";

/** What `calibrate --json` prints. The version rises when a field changes its meaning or goes. */
interface CalibrationReport {
	readonly schema: "qgraph-calibration";
	readonly schemaVersion: 1;
	readonly model: string;
	readonly output: string;
	readonly samples: number;
	readonly values: readonly {
		readonly name: string;
		readonly min: number;
		readonly max: number;
	}[];
	readonly diagnostics: Calibration["diagnostics"];
}

export const calibrate: Command = {
	name: "calibrate",
	usage: "calibrate <model>",
	describe: "Run a float model on samples and write the ranges of its values as an encodings file",
	flags: (builder) =>
		imageFlags(builder)
			.version(false)
			.positional("model", { type: "string", demandOption: true, describe: "ONNX file, float" })
			.option("data", {
				type: "array",
				string: true,
				demandOption: true,
				requiresArg: true,
				describe: "Samples: .npz, .npy, .jsonl, raw files by .json or .txt, images, a folder, or random:N; repeatable",
			})
			.option("output", {
				alias: "o",
				type: "string",
				demandOption: true,
				requiresArg: true,
				describe: "Encodings file to write",
			})
			.option("bits", { choices: [8, 16] as const, default: 16 as const, describe: "Of the codes of values" })
			.option("symmetric", { type: "boolean", describe: "Ranges as far below 0 as above it" })
			.option("observer", {
				choices: OBSERVERS,
				default: "min-max" as const,
				describe: "How ranges are made of what was seen",
			})
			.option("percentile", {
				type: "number",
				requiresArg: true,
				describe: "Of the elements, that ranges of the observer percentile hold [default: 99.99]",
			})
			.option("importance", {
				type: "string",
				requiresArg: true,
				describe: "Write mean squares of the input channels of weights, too, for convert --importance: .npz or .json",
			})
			.option("hessian", {
				type: "string",
				requiresArg: true,
				describe: "Write second moments of the inputs of weights, too, for convert --hessian (GPTQ): a folder",
			})
			.option("dim", {
				type: "array",
				string: true,
				requiresArg: true,
				describe: "Length of a dynamic dimension, name=length or input:axis=length; repeatable",
			})
			.option("input-value", INPUT_VALUE_FLAG)
			.option("seed", { type: "number", requiresArg: true, describe: "Of random samples [default: 0]" })
			.option("version", {
				choices: ["0.6.1", "1.0.0", "2.0.0", "2.1.0"] as const,
				default: "1.0.0" as const,
				describe: "Version of the encodings file",
			})
			.option("resume", { type: "boolean", describe: "Go on where an interrupted run with the same arguments ended" })
			.option("memory", {
				type: "number",
				requiresArg: true,
				describe: "MiB that activations and sums may take; what needs more is done in rounds [default: 4096]",
			})
			.option("force", { type: "boolean", describe: "Replace the output if it exists" })
			.option("json", { type: "boolean", describe: "Print the ranges as JSON on stdout, and nothing else there" })
			.option("quiet", { alias: "q", type: "boolean", describe: "Print nothing but errors" })
			.example("$0 calibrate model.onnx --data samples.npz -o model.encodings", ""),
	async run(args, { terminal, signal }) {
		const problem = wrongNumber(args) ?? percentileProblem(args);
		if (problem !== undefined) {
			terminal.err.write(`qgraph: ${problem}\nSee 'qgraph calibrate --help'.\n`);
			return EXIT.usage;
		}
		const [file, output, overwrite] = [args.model as string, args.output as string, args.force === true];
		const importance = args.importance as string | undefined;
		for (const written of importance === undefined ? [output] : [output, importance]) checkOutput(written, overwrite);
		const model = await readModel(file);
		const shapes = args.dim === undefined ? [] : [fixShapes({ dim: args.dim as string[] })];
		const inputValues = (args["input-value"] as string[] | undefined) ?? [];
		const fixed = inputValues.length === 0 ? [] : [fixInputs({ inputValue: inputValues }), foldIf()];
		await runPasses(model, [...shapes, ...fixed, computeConstants()], { signal });
		const source = openSamples(model, args.data as string[], {
			seed: args.seed as number | undefined,
			images: imageOptions(args),
			inputValues,
		});
		const observer = args.observer as ObserverName;
		const state = `${output}.state`;
		const bar = new ProgressBar(terminal);
		let calibration: Calibration;
		try {
			calibration = await calibrateModel(model, source, {
				histograms: needsHistograms(observer),
				meanSquares: importance !== undefined,
				hessian: args.hessian as string | undefined,
				memory: args.memory === undefined ? undefined : (args.memory as number) * 2 ** 20,
				state,
				resume: args.resume === true,
				signal,
				onProgress: (done, total) => bar.update("calibrating", done, total),
			});
		} catch (error) {
			bar.clear();
			if (!signal.aborted || !existsSync(state)) throw error;
			terminal.err.write(`qgraph: interrupted; '${state}' has what was found out, --resume goes on with it\n`);
			return EXIT.interrupted;
		}
		bar.clear();
		if (args.quiet !== true) {
			for (const { severity, code, message } of calibration.diagnostics) {
				terminal.err.write(`${severity} ${code}: ${plain(message)}\n`);
			}
		}
		const encodings = calibrationEncodings(calibration, {
			bits: args.bits as 8 | 16,
			symmetric: args.symmetric === true,
			observer,
			percentile: args.percentile as number | undefined,
			version: args.version as EncodingsVersion,
			producer: { package: "qgraph", version: ownVersion() },
		});
		writeEncodings(encodings, output, { overwrite });
		if (importance !== undefined) writeImportance(calibration.meanSquares, importance);
		if (args.json === true) terminal.out.write(`${JSON.stringify(reportOf(file, output, calibration), null, 2)}\n`);
		else if (args.quiet !== true) {
			const { samples, values } = calibration;
			const count = samples === 1 ? "1 sample" : `${samples} samples`;
			const written = [output, importance, args.hessian].filter((name) => name !== undefined);
			terminal.out.write(`ranges of ${values.size} values from ${count}; written: ${written.join(", ")}\n`);
		}
		return EXIT.done;
	},
};

function percentileProblem({ percentile, observer }: Arguments): string | undefined {
	if (percentile === undefined) return undefined;
	if (observer !== "percentile") return "--percentile needs --observer percentile";
	if (typeof percentile === "number" && percentile > 0 && percentile <= 100) return undefined;
	return `--percentile ${String(percentile)} is out of range`;
}

function reportOf(model: string, output: string, { samples, values, diagnostics }: Calibration): CalibrationReport {
	return {
		schema: "qgraph-calibration",
		schemaVersion: 1,
		model,
		output,
		samples,
		values: [...values.values()].map(({ name, min, max }) => ({ name, min, max })),
		diagnostics,
	};
}
