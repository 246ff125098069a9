import { allPasses } from "../../index.js";
import { type Command, EXIT } from "../command.js";

export const listPasses: Command = {
	name: "list-passes",
	usage: "list-passes",
	describe: "List the passes and their options",
	flags: (builder) => builder.option("json", { type: "boolean", describe: "As JSON" }),
	async run(args, { terminal }) {
		const definitions = allPasses.map(({ definition }) => definition);
		if (args.json === true) {
			const list = definitions.map(({ name, summary, options }) => ({ name, summary, options }));
			terminal.out.write(`${JSON.stringify(list, null, 2)}\n`);
			return EXIT.done;
		}
		for (const { name, summary, options } of definitions) {
			terminal.out.write(`${name}\n  ${summary}\n`);
			for (const [option, spec] of Object.entries(
				options as Record<string, { default: unknown; describe: string; choices?: readonly unknown[] }>,
			)) {
				const choices = spec.choices === undefined ? "" : ` (${spec.choices.join(", ")})`;
				const value = JSON.stringify(spec.default);
				terminal.out.write(`    ${option}${choices}, default ${value}: ${spec.describe}\n`);
			}
		}
		return EXIT.done;
	},
};
