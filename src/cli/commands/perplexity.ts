import { perplexity as measure, type Perplexity } from "../../index.js";
import { type Arguments, type Command, EXIT } from "../command.js";
import { ProgressBar, table } from "../terminal.js";
import { tokenData, tokenFlags, tokenProblem } from "../token-flags.js";

/** What `perplexity --json` prints. The version rises when a field changes its meaning or goes. */
interface PerplexityReport extends Perplexity {
	readonly schema: "qgraph-perplexity";
	readonly schemaVersion: 1;
	readonly model: string;
	readonly reference?: string;
}

export const perplexity: Command = {
	name: "perplexity",
	usage: "perplexity <model>",
	describe: "How well a language model predicts a text, and how far it is from another one (runs on the CPU)",
	flags: (builder) =>
		tokenFlags(
			builder.positional("model", {
				type: "string",
				demandOption: true,
				describe: "ONNX file: token ids in, logits out",
			}),
		)
			.option("reference", {
				type: "string",
				requiresArg: true,
				describe:
					"Model to compare with, such as the float one: KL divergence and how often the best token is the same",
			})
			.option("length", { type: "number", requiresArg: true, describe: "Tokens of a window [default: 512]" })
			.option("stride", {
				type: "number",
				requiresArg: true,
				describe: "Tokens from one window to the next; what they share is context only [default: the length]",
			})
			.option("limit", { type: "number", requiresArg: true, describe: "Look at no more tokens than these" })
			.option("dim", {
				type: "array",
				string: true,
				requiresArg: true,
				describe: "Length of a symbolic dimension, name=length or input:axis=length; repeatable",
			})
			.option("max-perplexity", { type: "number", requiresArg: true, describe: "Fail when it is higher (exit code 1)" })
			.option("json", { type: "boolean", describe: "As JSON" })
			.example("$0 perplexity int4.onnx --text wiki.test.raw --reference float.onnx", ""),
	async run(args, { terminal, signal }) {
		const problem = usageProblem(args);
		if (problem !== undefined) {
			terminal.err.write(`qgraph: ${problem}\nSee 'qgraph perplexity --help'.\n`);
			return EXIT.usage;
		}
		const model = args.model as string;
		const reference = args.reference as string | undefined;
		const bar = new ProgressBar(terminal);
		const result = await measure(model, {
			reference,
			...tokenData(args),
			length: args.length as number | undefined,
			stride: args.stride as number | undefined,
			limit: args.limit as number | undefined,
			signal,
			onProgress: (done, total) => bar.update("predicting", done, total),
		}).finally(() => bar.clear());
		if (args.json === true) {
			const report: PerplexityReport = {
				schema: "qgraph-perplexity",
				schemaVersion: 1,
				model,
				...(reference === undefined ? {} : { reference }),
				...result,
			};
			terminal.out.write(`${JSON.stringify(report, null, 2)}\n`);
		} else terminal.out.write(`${textOf(result)}\n`);
		const most = args["max-perplexity"] as number | undefined;
		const isGood = result.perplexity !== null && (most === undefined || result.perplexity <= most);
		return isGood ? EXIT.done : EXIT.failed;
	},
};

function usageProblem(args: Arguments): string | undefined {
	if (args.text === undefined && args.tokens === undefined) return "name --text or --tokens";
	const problem = tokenProblem(args);
	if (problem !== undefined) return problem;
	for (const [flag, least] of [
		["length", 2],
		["stride", 1],
		["limit", 2],
	] as const) {
		const value = args[flag] as number | undefined;
		if (value !== undefined && !(Number.isSafeInteger(value) && value >= least))
			return `--${flag} ${value} is out of range`;
	}
	return undefined;
}

function textOf({ perplexity, standardError, accuracy, tokens, notFinite, comparison }: Perplexity): string {
	const error = standardError === null ? "" : ` ± ${standardError.toFixed(4)}`;
	const rows = [
		["perplexity", perplexity === null ? "none" : `${perplexity.toFixed(4)}${error}`],
		["tokens predicted", String(tokens)],
		["of these the best guess", percent(accuracy)],
	];
	if (comparison !== undefined) {
		const { klDivergence, topAgreement } = comparison;
		rows.push(
			["perplexity of the reference", comparison.perplexity?.toFixed(4) ?? "none"],
			["KL divergence, mean", nats(klDivergence.mean)],
			["KL divergence, median", nats(klDivergence.median)],
			["KL divergence, 99 %", nats(klDivergence.percentile99)],
			["KL divergence, largest", nats(klDivergence.max)],
			["same best guess", percent(topAgreement)],
		);
	}
	if (notFinite > 0) rows.push(["left out, logits not finite", String(notFinite)]);
	return table(["what", "figure"], rows);
}

function percent(share: number | null): string {
	return share === null ? "none" : `${(100 * share).toFixed(2)} %`;
}

function nats(value: number | null): string {
	return value === null ? "none" : `${value.toPrecision(4)} nats`;
}
