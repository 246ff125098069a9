import { BUILT_IN_RECIPES, findRecipe, writeExecutorchRecipe, writeRecipe } from "../../index.js";
import { type Command, EXIT } from "../command.js";
import { table } from "../terminal.js";

export const recipes: Command = {
	name: "recipes",
	usage: "recipes [recipe]",
	describe: "List the built-in precision recipes, or print one",
	flags: (builder) =>
		builder
			.positional("recipe", { type: "string", describe: "A built-in recipe, a recipe file, or a precision" })
			.option("format", {
				choices: ["yaml", "executorch"],
				default: "yaml",
				describe: "How it is printed: a recipe file, or a class for ExecuTorch's examples",
			})
			.option("json", { type: "boolean", describe: "As JSON" })
			.example("$0 recipes llama3.2-1b > my-recipe.yaml", "a recipe to start from"),
	async run(args, { terminal }) {
		if (typeof args.recipe === "string") {
			const recipe = findRecipe(args.recipe);
			const text = args.format === "executorch" ? writeExecutorchRecipe(recipe) : writeRecipe(recipe);
			terminal.out.write(args.json === true ? `${JSON.stringify(recipe, null, 2)}\n` : text);
			return EXIT.done;
		}
		if (args.json === true) {
			terminal.out.write(`${JSON.stringify(BUILT_IN_RECIPES, null, 2)}\n`);
			return EXIT.done;
		}
		const rows = BUILT_IN_RECIPES.map(({ name, default: standard, rules }) => [
			name,
			standard.precision,
			standard.precision === "16a4w_block" ? standard.blockSize : "",
			rules
				.map(
					({ match, setting }) =>
						`${match.role?.join("+")}${match.layers ? ` ${match.layers}` : ""}: ${setting.precision}`,
				)
				.join(", "),
		]);
		terminal.out.write(`${table(["recipe", "precision", "block", "but"], rows)}\n`);
		return EXIT.done;
	},
};
