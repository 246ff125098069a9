import { parseTarget, verifyModels } from "../../index.js";
import { type Arguments, type Command, type CommandContext, EXIT } from "../command.js";
import { keyValues, lengths } from "../key-values.js";
import { runtimeFlags, samplesProblem, wrongNumber } from "../runtime-flags.js";
import { ProgressBar } from "../terminal.js";
import { renderVerification } from "../verification-text.js";

export const verify: Command = {
	name: "verify",
	usage: "verify <reference> <converted>",
	describe: "Run two models on the same inputs and compare their outputs (exit code 1 when they differ too much)",
	flags: (builder) =>
		runtimeFlags(
			builder
				.positional("reference", { type: "string", demandOption: true, describe: "ONNX file; runs on the CPU" })
				.positional("converted", { type: "string", demandOption: true, describe: "ONNX file to compare with it" })
				.option("on", {
					type: "string",
					default: "cpu",
					requiresArg: true,
					describe: "Where the converted model runs: cpu, or emulated on a target such as qnn-htp:v79",
				})
				.option("inputs", {
					type: "array",
					string: true,
					requiresArg: true,
					describe: "Inputs, a file of numpy's savez for each sample; repeatable",
				})
				.option("samples", { type: "number", requiresArg: true, describe: "Random samples [default: 1]" })
				.option("seed", { type: "number", requiresArg: true, describe: "Of the random inputs [default: 0]" })
				.option("min-sqnr", {
					type: "number",
					requiresArg: true,
					describe: "Fail when an output is below so many dB [default: only when it is no number or has another shape]",
				})
				.option("per-node", {
					type: "boolean",
					describe: "Compare the values inside, too: where does it go wrong first?",
				}),
		)
			.example("$0 verify in.onnx out.onnx --samples 4", "")
			.example("$0 verify in.onnx out.onnx --on qnn-htp:v79 --min-sqnr 40", ""),
	async run(args, context) {
		const problem = usageProblem(args);
		if (problem === undefined) return runVerify(args, context);
		context.terminal.err.write(`qgraph: ${problem}\nSee 'qgraph verify --help'.\n`);
		return EXIT.usage;
	},
};

function usageProblem(args: Arguments): string | undefined {
	const samples = samplesProblem(args);
	if (samples !== undefined) return samples;
	if (args.on === "cpu") {
		const forHtp = ["option", "allow-cpu-fallback", "htp-home"].find((flag) => args[flag] !== undefined);
		if (forHtp !== undefined) return `--${forHtp} needs --on with a target`;
	}
	return wrongNumber(args);
}

async function runVerify(args: Arguments, { terminal, signal }: CommandContext): Promise<number> {
	const [reference, converted] = [args.reference as string, args.converted as string];
	const bar = new ProgressBar(terminal);
	try {
		const result = await verifyModels(reference, converted, {
			on: args.on === "cpu" ? "cpu" : parseTarget(args.on as string),
			inputs: args.inputs as string[] | undefined,
			samples: args.samples as number | undefined,
			seed: args.seed as number | undefined,
			dimensions: lengths("dim", args.dim),
			minSqnrDb: args["min-sqnr"] as number | undefined,
			perNode: args["per-node"] === true,
			providerOptions: keyValues("option", args.option),
			allowCpuFallback: args["allow-cpu-fallback"] === true,
			timeoutSeconds: args.timeout as number | undefined,
			htpHome: args["htp-home"] as string | undefined,
			signal,
			onProgress: (step, done, total) => bar.update(step, done, total),
		});
		bar.clear();
		if (args.json === true) terminal.out.write(`${JSON.stringify({ reference, converted, ...result }, null, 2)}\n`);
		else if (args.quiet !== true) terminal.out.write(`${renderVerification(result)}\n`);
		return result.passed ? EXIT.done : EXIT.failed;
	} finally {
		bar.clear();
	}
}
