import {
	checkModel,
	compileForHtp,
	type Finding,
	type HtpCompilation,
	parseTarget,
	readModel,
	type Target,
} from "../../index.js";
import { type Arguments, type Command, type CommandContext, EXIT } from "../command.js";
import { PLACES_SHOWN, renderFindings } from "../findings.js";
import { keyValues, lengths } from "../key-values.js";
import { failureText, runtimeFlags, wrongNumber } from "../runtime-flags.js";
import { byteText, ProgressBar, table } from "../terminal.js";

export const compile: Command = {
	name: "compile",
	usage: "compile <model> <output>",
	describe: "Compile a model for an HTP and write the EPContext model that runs there",
	flags: (builder) =>
		runtimeFlags(
			builder
				.positional("model", { type: "string", demandOption: true, describe: "ONNX file" })
				.positional("output", { type: "string", demandOption: true, describe: "EPContext model to write" })
				.option("target", {
					type: "string",
					demandOption: true,
					requiresArg: true,
					describe: "What to compile for, such as qnn-htp:v79 or qnn-htp:SM8750",
				})
				.option("embed", {
					type: "boolean",
					default: true,
					describe: "Put the compiled context into the output; --no-embed: into a file beside it",
				})
				.option("force", { type: "boolean", describe: "Replace the output if it exists" }),
		).example("$0 compile out.onnx ctx.onnx --target qnn-htp:SM8750", ""),
	async run(args, context) {
		const problem = wrongNumber(args);
		if (problem === undefined) return runCompile(args, context);
		context.terminal.err.write(`qgraph: ${problem}\nSee 'qgraph compile --help'.\n`);
		return EXIT.usage;
	},
};

async function runCompile(args: Arguments, { terminal, signal }: CommandContext): Promise<number> {
	const [model, output] = [args.model as string, args.output as string];
	const target = parseTarget(args.target as string);
	const bar = new ProgressBar(terminal);
	try {
		bar.update(`compiling for ${args.target}`, 0, 1);
		const result = await compileForHtp(model, output, target, {
			providerOptions: keyValues("option", args.option),
			allowCpuFallback: args["allow-cpu-fallback"] === true,
			embed: args.embed === true,
			dimensions: lengths("dim", args.dim),
			overwrite: args.force === true,
			timeoutSeconds: args.timeout as number | undefined,
			htpHome: args["htp-home"] as string | undefined,
			signal,
		});
		const findings = result.failure === null ? await wrongOn(target, model) : [];
		bar.clear();
		if (args.json === true) terminal.out.write(`${JSON.stringify({ model, ...result, findings }, null, 2)}\n`);
		else if (args.quiet !== true) terminal.out.write(`${render(model, result, findings)}\n`);
		return result.failure === null ? EXIT.done : EXIT.failed;
	} finally {
		bar.clear();
	}
}

/** What compiles and is computed wrong: what is refused has been seen. */
async function wrongOn(target: Target, model: string): Promise<Finding[]> {
	const findings = await checkModel(await readModel(model), target);
	return findings.filter(({ consequence }) => consequence === "wrong");
}

/** The result for people. */
function render(model: string, result: HtpCompilation, findings: readonly Finding[]): string {
	const { failure, notOnHtp, contexts, contextBytes, seconds, target, files } = result;
	if (failure !== null) {
		return `${failureText(`'${model}'`, `being compiled for ${target}`, failure)}\n\nnothing was written`;
	}
	const size = `${contexts} ${contexts === 1 ? "context" : "contexts"} of ${byteText(contextBytes)}`;
	const parts = [`compiled for ${target} in ${seconds.toFixed(1)} s: ${size}`];
	if (notOnHtp.length === 0) parts.push("the whole model is on the HTP");
	else {
		const rows = notOnHtp.map(({ name, op }) => [name, op]);
		parts.push(`${notOnHtp.length} of its nodes stay on the CPU:`, table(["node", "operator"], rows));
	}
	parts.push(...files.map(({ path, bytes }) => `written: ${path} (${byteText(bytes)})`));
	if (findings.length === 0) return parts.join("\n");
	const warning = `warning: by these rules ${target} computes it wrong all the same; 'qgraph verify --on ${target}' shows how far off it is, 'qgraph convert --target ${target}' makes it right`;
	return [...renderFindings(findings, PLACES_SHOWN), parts.join("\n"), warning].join("\n\n");
}
