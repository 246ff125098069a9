import { existsSync } from "node:fs";
import {
	CACHE_TYPES,
	type CacheLayout,
	type CacheType,
	type ConvertLlmOptions,
	convertLlm,
	type HeadPlace,
	type LlmConversion,
	type LlmQuantization,
	type PromptVerification,
	parseBudget,
	parseTarget,
} from "../../index.js";
import { type Arguments, type Command, EXIT } from "../command.js";
import { byteText, decibelText, ProgressBar, table } from "../terminal.js";

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
				choices: ["C", "A", "B"] as const,
				default: "C" as const,
				describe:
					"Who updates the cache: a graph on the CPU (C), prefill and decode, which then give all of it (A), or GenAI 0.13 to 0.16, which moves it (B)",
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
				requiresArg: true,
				describe: "Version of ONNX Runtime GenAI that is to load the directory [default: 0.18, for layout B 0.16]",
			})
			.option("recipe", {
				type: "string",
				alias: "precision",
				requiresArg: true,
				describe: "Quantize: a recipe file, a built-in recipe ('qgraph recipes'), or a precision such as 16a8w",
			})
			.option("budget", {
				type: "string",
				requiresArg: true,
				describe: "Quantize, precisions chosen within it: 4.5bpw, 900MB",
			})
			.option("kv", {
				choices: CACHE_TYPES,
				default: "u8",
				requiresArg: true,
				describe: "How quantized graphs keep keys and values",
			})
			.option("calibration-data", {
				type: "array",
				string: true,
				requiresArg: true,
				describe: "Prompts to calibrate with: text, or token ids (.npy, .npz, .json) [default: made up]",
			})
			.option("calibration-generate", {
				type: "number",
				requiresArg: true,
				describe: "Tokens that the model adds to each of them [default: 64]",
			})
			.option("evaluation-data", {
				type: "array",
				string: true,
				requiresArg: true,
				describe: "What the result is judged by [default: a tenth of the prompts]",
			})
			.option("gptq", { type: "boolean", default: true, describe: "Choose codes of 4 and 8 bits by GPTQ" })
			.conflicts("recipe", "budget")
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
		} catch (error) {
			const work = `${args.output as string}.work`;
			if (!signal.aborted || !existsSync(work)) throw error;
			bar.clear();
			terminal.err.write(
				`qgraph: interrupted; '${work}' has what was made until then, the same command goes on with it\n`,
			);
			return EXIT.interrupted;
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
		genaiVersion: args["genai-version"] as string | undefined,
		layout: args.layout as CacheLayout,
		splits: args.splits === "auto" ? ("auto" as const) : Number(args.splits),
		head: args.head as HeadPlace,
		verify: args.verify === true,
		compile: contextKind(args),
		htpHome: args["htp-home"] as string | undefined,
		overwrite: args.force === true,
		quantization: quantizationOf(args),
	};
}

function quantizationOf(args: Arguments) {
	const [recipe, budget] = [args.recipe, args.budget] as (string | undefined)[];
	if (recipe === undefined && budget === undefined) return undefined;
	return {
		recipe,
		budget: budget === undefined ? undefined : parseBudget(budget),
		cache: args.kv as CacheType,
		data: args["calibration-data"] as string[] | undefined,
		generate: args["calibration-generate"] as number | undefined,
		evaluation: args["evaluation-data"] as string[] | undefined,
		gptq: args.gptq !== false,
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
	{
		diagnostics,
		layers,
		sequence,
		context,
		graphs,
		quantization,
		contexts,
		verification,
		stages,
		padToken,
	}: LlmConversion,
	output: string,
): string {
	const names = graphs.map(({ name }) => name).join(", ");
	const reused = stages.filter(({ isReused }) => isReused).map(({ name }) => name);
	return [
		`${layers} layers, a cache of ${context} positions, prompts ${sequence} tokens at a time, filled up with token ${padToken}`,
		...diagnostics.map(({ message }) => `warning: ${message}`),
		...(quantization === null ? [] : quantizationText(quantization)),
		...contexts.map(({ graphs: inside, bytes }) => `compiled: ${inside.join(" and ")} (${byteText(bytes)})`),
		...(verification?.prompts ?? []).map((prompt) => verifiedText(prompt, verification!.target)),
		...(reused.length > 0 ? [`done by an earlier run: ${reused.join(", ")}`] : []),
		`written: ${output} (${names})`,
	].join("\n");
}

function quantizationText({ recipe, cache, calibrated, judgement, diagnostics }: LlmQuantization): string[] {
	const { sequences, tokens, layersDb, logitsDb, topAgreement, perplexity } = judgement;
	const layers = layersDb.map((db, layer) => [String(layer), decibelText(db)]);
	const { before, after } = perplexity;
	const change =
		before === null || after === null ? "" : `, perplexity ${before.toFixed(3)} before, ${after.toFixed(3)} after`;
	const agreement = topAgreement === null ? "" : `, ${(100 * topAgreement).toFixed(1)} % the same best token`;
	const warnings = diagnostics
		.filter(({ severity }) => severity === "warning")
		.map(({ message }) => `warning: ${message}`);
	return [
		`${recipe}, keys and values ${cache}, calibrated with ${calibrated.tokens} tokens in ${calibrated.sequences} sequences`,
		...[...new Set(warnings)],
		table(["layer", "SQNR"], layers),
		`on ${tokens} other tokens in ${sequences} sequences: logits ${decibelText(logitsDb)}${agreement}${change}`,
	];
}
