import {
	type CacheLayout,
	type ConvertLlmOptions,
	convertLlm,
	type HeadPlace,
	type LlmConversion,
	type PromptVerification,
	parseTarget,
} from "../../index.js";
import { type Arguments, type Command, EXIT } from "../command.js";
import { byteText, decibelText, ProgressBar } from "../terminal.js";

export const llm: Command = {
	name: "llm",
	usage: "llm <input> <output>",
	describe: "Make a language model for ONNX Runtime GenAI static graphs, as the HTP needs them",
	flags: (builder) =>
		builder
			.positional("input", { type: "string", demandOption: true, describe: "Directory with genai_config.json" })
			.positional("output", { type: "string", demandOption: true, describe: "Directory to write" })
			.option("context", {
				type: "number",
				requiresArg: true,
				describe: "Positions of the cache [default: the model's context length, 4096 at most]",
			})
			.option("prefill", {
				type: "number",
				requiresArg: true,
				describe: "Tokens of a prompt that are taken at once [default: 128, or the context]",
			})
			.option("target", {
				type: "string",
				requiresArg: true,
				describe: "Where the graphs run, such as qnn-htp:SM8750 [default: the CPU]",
			})
			.option("layout", {
				choices: ["C", "A"] as const,
				default: "C" as const,
				describe: "Who updates the cache: a graph on the CPU (C), or prefill and decode, which then give all of it (A)",
			})
			.option("splits", {
				type: "string",
				default: "auto",
				requiresArg: true,
				describe: "Parts that prefill and decode are cut into, or auto: as few as fit into the HTP",
			})
			.option("head", {
				choices: ["htp", "cpu"] as const,
				default: "htp" as const,
				describe: "Where the head runs: with prefill and decode, or on the CPU",
			})
			.option("compile", {
				type: "boolean",
				describe: "Compile the graphs for the target: weights of prefill and decode once, in one context",
			})
			.option("separate-contexts", {
				type: "boolean",
				describe: "Compile every graph into a context of its own, which the emulator loads, too",
			})
			.option("verify", {
				type: "boolean",
				describe: "Generate on the CPU and on the target's emulator, and compare token by token",
			})
			.option("htp-home", {
				type: "string",
				requiresArg: true,
				describe: "Folder of 'qgraph setup-htp' [default: QGRAPH_HTP_HOME or the user's cache]",
			})
			.option("genai-version", {
				type: "string",
				default: "0.18",
				requiresArg: true,
				describe: "Version of ONNX Runtime GenAI that is to load the directory",
			})
			.option("json", { type: "boolean", describe: "Print the result as JSON on stdout, and nothing else there" })
			.option("quiet", { alias: "q", type: "boolean", describe: "Print nothing but errors" })
			.option("force", { type: "boolean", describe: "Replace the output directory if it exists" })
			.example("$0 llm qwen3/ qwen3-npu/ --context 2048 --target qnn-htp:SM8750 --compile", ""),
	async run(args, { terminal, signal }) {
		const bar = new ProgressBar(terminal);
		try {
			const result = await convertLlm(args.input as string, args.output as string, {
				...optionsOf(args),
				signal,
				onProgress: (step, done, total) => bar.update(step, done, total),
			});
			bar.clear();
			if (args.json === true) terminal.out.write(`${JSON.stringify(result, null, 2)}\n`);
			else if (args.quiet !== true) terminal.out.write(`${render(result, args.output as string)}\n`);
			return EXIT.done;
		} finally {
			bar.clear();
		}
	},
};

function optionsOf(args: Arguments) {
	return {
		context: args.context as number | undefined,
		prefill: args.prefill as number | undefined,
		target: args.target === undefined ? undefined : parseTarget(args.target as string),
		genaiVersion: args["genai-version"] as string,
		layout: args.layout as CacheLayout,
		splits: args.splits === "auto" ? ("auto" as const) : Number(args.splits),
		head: args.head as HeadPlace,
		verify: args.verify === true,
		compile: contextKind(args),
		htpHome: args["htp-home"] as string | undefined,
		overwrite: args.force === true,
	};
}

function contextKind(args: Arguments): ConvertLlmOptions["compile"] {
	if (args["separate-contexts"] === true) return "separate";
	return args.compile === true ? "shared" : undefined;
}

function verifiedText({ promptTokens, tokens, logitsDb, difference }: PromptVerification, target: string): string {
	const text = `${target} after a prompt of ${promptTokens} tokens: logits ${decibelText(logitsDb)}, `;
	if (difference === null) return `${text}all of ${tokens} tokens as on the CPU`;
	const { at, onTarget, onCpu, lead, isNearTie } = difference;
	const kind = isNearTie ? ", a near tie" : "";
	return `${text}token ${at} is ${onTarget}, on the CPU ${onCpu}, which leads by ${lead.toFixed(4)} of the range${kind}`;
}

/** The result for people. */
function render(
	{ layers, sequence, context, graphs, contexts, verification, stages, padToken }: LlmConversion,
	output: string,
): string {
	const names = graphs.map(({ name }) => name).join(", ");
	const reused = stages.filter(({ isReused }) => isReused).map(({ name }) => name);
	return [
		`${layers} layers, a cache of ${context} positions, prompts ${sequence} tokens at a time, filled up with token ${padToken}`,
		...contexts.map(({ graphs: inside, bytes }) => `compiled: ${inside.join(" and ")} (${byteText(bytes)})`),
		...(verification?.prompts ?? []).map((prompt) => verifiedText(prompt, verification!.target)),
		...(reused.length > 0 ? [`done by an earlier run: ${reused.join(", ")}`] : []),
		`written: ${output} (${names})`,
	].join("\n");
}
