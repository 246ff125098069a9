import { type Decision, explainRecipe, findRecipe, type RecipeRule, readModel } from "../../index.js";
import { type Command, EXIT } from "../command.js";
import { table } from "../terminal.js";

export const explain: Command = {
	name: "explain",
	usage: "explain <model>",
	describe: "Show what a precision recipe decides for every weight, and by which rule",
	flags: (builder) =>
		builder
			.positional("model", { type: "string", demandOption: true, describe: "ONNX file" })
			.option("recipe", {
				type: "string",
				demandOption: true,
				requiresArg: true,
				describe: "A recipe file, a built-in recipe, or a precision",
			})
			.option("json", { type: "boolean", describe: "As JSON" })
			.example("$0 explain model.onnx --recipe llama3.2-1b", ""),
	async run(args, { terminal }) {
		const recipe = findRecipe(args.recipe as string);
		const { decisions, unmatched, faults } = explainRecipe(await readModel(args.model as string), recipe);
		if (args.json === true) {
			terminal.out.write(`${JSON.stringify({ recipe: recipe.name, decisions, unmatched }, null, 2)}\n`);
			return EXIT.done;
		}
		const rows = decisions.map((decision) => [
			decision.unit.weight ?? decision.unit.node,
			decision.unit.op,
			decision.unit.role ?? "",
			decision.unit.layer ?? "",
			precisionText(decision),
			ruleText(decision.rule),
			decision.overruled.map(ruleText).join(", "),
		]);
		terminal.out.write(
			`${table(["weight", "operator", "role", "layer", "precision", "decided by", "overruled"], rows)}\n`,
		);
		for (const { code, message, remedy } of faults) {
			if (code !== "recipe/overlap") terminal.err.write(`qgraph: warning ${code}: ${message}\n  ${remedy}\n`);
		}
		return EXIT.done;
	},
};

function precisionText({ setting: { precision, blockSize } }: Decision): string {
	return precision === "16a4w_block" ? `${precision} ${blockSize}` : precision;
}

function ruleText(rule: RecipeRule | undefined): string {
	if (rule === undefined) return "default";
	return rule.line === 0 ? JSON.stringify(rule.match) : `line ${rule.line}`;
}
