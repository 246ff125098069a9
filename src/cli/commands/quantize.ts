import { parseBudget, parseTarget, type Quantization, quantizeModel } from "../../index.js";
import { calibrationFlags, calibrationOptions } from "../calibration-flags.js";
import { type Arguments, type Command, EXIT } from "../command.js";
import { checkOutput } from "../output.js";
import { renderQuantization } from "../quantization-text.js";
import { wrongNumber } from "../runtime-flags.js";
import { DIM_FLAG, INPUT_VALUE_FLAG, TARGET_FLAG } from "../shared-flags.js";
import { ProgressBar } from "../terminal.js";

export const quantize: Command = {
	name: "quantize",
	usage: "quantize <model> <output>",
	describe: "Take a float model to integers and to a target in one go: calibrate, quantize, make legal, run, compare",
	flags: (builder) =>
		calibrationFlags(builder)
			.positional("model", { type: "string", demandOption: true, describe: "ONNX file, float" })
			.positional("output", { type: "string", demandOption: true, describe: "ONNX file to write" })
			.option("recipe", {
				type: "string",
				requiresArg: true,
				describe: "A recipe file, a built-in recipe ('qgraph recipes'), or a precision [default: 16a8w]",
			})
			.option("budget", {
				type: "string",
				requiresArg: true,
				describe: "Instead: choose precisions that keep it: 4.5bpw (bits a weight, scales counted), 900MB, 1.2GiB",
			})
			.option("data", {
				type: "array",
				string: true,
				requiresArg: true,
				describe: "Samples, as 'qgraph calibrate' takes them; repeatable",
			})
			.option("encodings", {
				type: "string",
				requiresArg: true,
				describe: "File with the ranges of values, instead of samples or beside them",
			})
			.option("target", TARGET_FLAG)
			.option("dim", DIM_FLAG)
			.option("input-value", INPUT_VALUE_FLAG)
			.option("hold-out", {
				type: "number",
				requiresArg: true,
				describe: "Samples to judge by and not to calibrate with [default: a tenth, 8 at most]",
			})
			.option("gptq-gain", {
				type: "boolean",
				default: true,
				describe:
					"Make and run it without GPTQ, too, to say what GPTQ gained; --no-gptq-gain: do not, which saves time",
			})
			.option("block-gain", {
				type: "boolean",
				default: true,
				describe:
					"Where it has blocks, make and run it with a scale a channel, too, and both rounded to the nearest on min-max scales, to say what blocks gained; --no-block-gain: do not",
			})
			.option("products", {
				choices: ["auto", "16x16", "16x8"] as const,
				describe: "Bits of both sides of attention's products [default: auto]",
			})
			.option("io", {
				choices: ["float", "integer"] as const,
				describe: "Inputs and outputs of the model: float as they are, or codes [default: float]",
			})
			.option("existing", {
				choices: ["keep", "widen"] as const,
				describe: "Activations that the model has in 8 bits: as they are, or 16 bits [default: keep]",
			})
			.option("verify", { type: "boolean", default: true, describe: "Run the result; --no-verify: do not" })
			.option("min-sqnr", { type: "number", requiresArg: true, describe: "Fail when an output is below so many dB" })
			.option("allow-illegal", {
				type: "boolean",
				describe: "Write the model although the target would refuse it or compute it wrong",
			})
			.option("htp-home", {
				type: "string",
				requiresArg: true,
				describe: "Folder of 'qgraph setup-htp' [default: QGRAPH_HTP_HOME or the user's cache]",
			})
			.option("force", { type: "boolean", describe: "Replace the output if it exists" })
			.option("json", { type: "boolean", describe: "Print the report as JSON on stdout, and nothing else there" })
			.option("quiet", { alias: "q", type: "boolean", describe: "Print nothing but errors" })
			.conflicts("recipe", "budget")
			.example("$0 quantize model.onnx out.onnx --recipe 16a4w_block --data samples.npz --target qnn-htp:v79", ""),
	async run(args, { terminal, signal }) {
		const problem = usageProblem(args);
		if (problem !== undefined) {
			terminal.err.write(`qgraph: ${problem}\nSee 'qgraph quantize --help'.\n`);
			return EXIT.usage;
		}
		const [model, output] = [args.model as string, args.output as string];
		checkOutput(output, args.force === true);
		const bar = new ProgressBar(terminal);
		let result: Quantization;
		try {
			result = await quantizeModel(model, output, {
				...optionsOf(args),
				signal,
				onProgress: (step, done, total) => bar.update(step, done, total),
			});
		} finally {
			bar.clear();
		}
		if (args.json === true) {
			terminal.out.write(
				`${JSON.stringify({ schema: "qgraph-quantization", schemaVersion: 1, model, output, ...result }, null, 2)}\n`,
			);
		} else if (args.quiet !== true) terminal.out.write(`${renderQuantization(result, output)}\n`);
		const failed = [result.onCpu, result.onTarget].some((verification) => verification?.passed === false);
		return failed ? EXIT.failed : EXIT.done;
	},
};

function usageProblem(args: Arguments): string | undefined {
	if (args.data === undefined && args.encodings === undefined) return "name samples (--data) or ranges (--encodings)";
	return wrongNumber(args);
}

function optionsOf(args: Arguments) {
	return {
		recipe: args.recipe as string | undefined,
		budget: args.budget === undefined ? undefined : parseBudget(args.budget as string),
		data: args.data as string[] | undefined,
		encodings: args.encodings as string | undefined,
		target: args.target === undefined ? undefined : parseTarget(args.target as string),
		dim: args.dim as string[] | undefined,
		inputValues: args["input-value"] as string[] | undefined,
		holdOut: args["hold-out"] as number | undefined,
		...calibrationOptions(args),
		gptqGain: args["gptq-gain"] !== false,
		blockGain: args["block-gain"] !== false,
		products: args.products as "auto" | "16x16" | "16x8" | undefined,
		io: args.io as "float" | "integer" | undefined,
		existing: args.existing as "keep" | "widen" | undefined,
		verify: args.verify !== false,
		minSqnrDb: args["min-sqnr"] as number | undefined,
		allowIllegal: args["allow-illegal"] === true,
		htpHome: args["htp-home"] as string | undefined,
		overwrite: args.force === true,
	};
}
