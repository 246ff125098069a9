import { diffModels, readModel } from "../../index.js";
import { type Command, EXIT } from "../command.js";
import { byteText, plain, table } from "../terminal.js";

export const diff: Command = {
	name: "diff",
	usage: "diff <before> <after>",
	describe: "Compare two models: nodes, constants, bytes (exit code 1 when they differ)",
	flags: (builder) =>
		builder
			.positional("before", { type: "string", demandOption: true, describe: "ONNX file" })
			.positional("after", { type: "string", demandOption: true, describe: "ONNX file" })
			.option("json", { type: "boolean", describe: "As JSON" }),
	async run(args, { terminal }) {
		const [before, after] = [await readModel(args.before as string), await readModel(args.after as string)];
		const difference = diffModels(before, after);
		const exitCode = difference.identical ? EXIT.done : EXIT.failed;
		if (args.json === true) {
			terminal.out.write(`${JSON.stringify(difference, null, 2)}\n`);
			return exitCode;
		}
		const [a, b] = [difference.before, difference.after];
		const rows: (readonly (string | number)[])[] = [
			["nodes", a.nodes, b.nodes],
			["tensor bytes", byteText(a.bytes), byteText(b.bytes)],
		];
		for (const op of new Set([...Object.keys(a.ops), ...Object.keys(b.ops)])) {
			if (a.ops[op] !== b.ops[op]) rows.push([op, a.ops[op] ?? 0, b.ops[op] ?? 0]);
		}
		terminal.out.write(`${table(["", "before", "after"], rows)}\n`);
		for (const [what, { added, removed, changed }] of Object.entries({
			node: difference.nodes,
			constant: difference.constants,
		})) {
			for (const name of removed) terminal.out.write(`- ${what} ${plain(name)}\n`);
			for (const name of added) terminal.out.write(`+ ${what} ${plain(name)}\n`);
			for (const change of changed) terminal.out.write(`~ ${what} ${plain(change)}\n`);
		}
		if (difference.identical) terminal.out.write("no differences\n");
		return exitCode;
	},
};
