import { writeFileSync } from "node:fs";
import { findRecipe, type ParetoPoint, parseBudget, planPrecision, readModel, writeRecipe } from "../../index.js";
import { type Command, EXIT } from "../command.js";
import { CANDIDATES_FLAG } from "../shared-flags.js";
import { byteText, decibelText, ProgressBar, table } from "../terminal.js";

export const plan: Command = {
	name: "plan",
	usage: "plan <model> [recipe]",
	describe: "Choose the precision of every float weight within a budget, and write that as a recipe",
	flags: (builder) =>
		builder
			.positional("model", { type: "string", demandOption: true, describe: "ONNX file with float weights" })
			.positional("recipe", { type: "string", describe: "Recipe file to write [default: it is printed]" })
			.option("budget", {
				type: "string",
				requiresArg: true,
				describe: "What the model may take: 4.5bpw (bits a weight, scales counted), 900MB, 1.2GiB",
			})
			.option("min-sqnr", {
				type: "number",
				requiresArg: true,
				describe: "Instead: the mean signal to noise of the weights to reach, dB, with as few bytes as possible",
			})
			.option("candidates", CANDIDATES_FLAG)
			.option("head-weight", {
				type: "number",
				requiresArg: true,
				default: 4,
				describe: "How much the noise of the head and of embeddings counts against that of others",
			})
			.option("fit", { choices: ["max", "search"], default: "search", describe: "How candidates are quantized" })
			.option("json", { type: "boolean", describe: "As JSON" })
			.conflicts("budget", "min-sqnr")
			.example("$0 plan model.onnx plan.yaml --budget 4.5bpw", ""),
	async run(args, { terminal, signal }) {
		if (args.budget === undefined && args["min-sqnr"] === undefined) {
			terminal.err.write("qgraph: name --budget or --min-sqnr\nSee 'qgraph plan --help'.\n");
			return EXIT.usage;
		}
		const budget =
			args.budget === undefined ? { minSqnrDb: args["min-sqnr"] as number } : parseBudget(args.budget as string);
		const bar = new ProgressBar(terminal);
		const model = await readModel(args.model as string);
		const candidates = (args.candidates as readonly string[] | undefined)?.map((text) => findRecipe(text).default);
		const made = await planPrecision(model, {
			budget,
			...(candidates === undefined ? {} : { candidates }),
			headWeight: args["head-weight"] as number,
			fit: args.fit as "max" | "search",
			signal,
			onProgress: (done, total) => bar.update("measuring", done, total),
		}).finally(() => bar.clear());
		const text = writeRecipe(made.recipe);
		if (args.recipe !== undefined) writeFileSync(args.recipe as string, text);
		if (args.json === true) {
			terminal.out.write(`${JSON.stringify(made, null, 2)}\n`);
			return EXIT.done;
		}
		if (args.recipe === undefined) {
			terminal.out.write(text);
			return EXIT.done;
		}
		const row = (point: ParetoPoint, what: string) => [
			what,
			point.bitsPerWeight.toFixed(2),
			byteText(point.bytes),
			decibelText(point.sqnrDb),
		];
		const rows = [...made.pareto.map((point) => row(point, "")), row(made, "this plan")];
		const isProved = made.boundDb === made.sqnrDb;
		terminal.out.write(
			`${table(["", "bits a weight", "model", "SQNR"], rows)}\n\n${
				isProved ? "proved best" : `at most ${decibelText(made.boundDb)} is possible`
			}; written: ${args.recipe}\n`,
		);
		return EXIT.done;
	},
};
