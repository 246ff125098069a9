import { readModel, summarizeModel, summarizeWeights } from "../../index.js";
import { type Command, EXIT } from "../command.js";
import { byteText, plain, table } from "../terminal.js";

export const inspect: Command = {
	name: "inspect",
	usage: "inspect <model>",
	describe: "Show operators, bytes per element type, and every weight with what it could become",
	flags: (builder) =>
		builder
			.positional("model", { type: "string", demandOption: true, describe: "ONNX file" })
			.option("json", { type: "boolean", describe: "As JSON" })
			.example("$0 inspect model.onnx", ""),
	async run(args, { terminal }) {
		const model = await readModel(args.model as string);
		const summary = summarizeModel(model);
		const weights = summarizeWeights(model);
		if (args.json === true) {
			terminal.out.write(`${JSON.stringify({ ...summary, weights }, null, 2)}\n`);
			return EXIT.done;
		}
		const opsets = Object.entries(summary.opsets).map(([domain, version]) => `${plain(domain)} ${version}`);
		const lines = [
			`${args.model}`,
			`IR version ${summary.irVersion}, operator sets ${opsets.join(", ")}${summary.producer ? `, by ${plain(summary.producer)}` : ""}`,
			"",
			table(["operator", "nodes"], Object.entries(summary.ops)),
			"",
			table(
				["element type", "tensors", "bytes"],
				[
					...Object.entries(summary.tensors).map(([type, { count, bytes }]) => [type, count, byteText(bytes)]),
					["all", Object.values(summary.tensors).reduce((sum, { count }) => sum + count, 0), byteText(summary.bytes)],
				],
			),
		];
		if (weights.length > 0) {
			const rows = weights.map((weight) => [
				weight.weight,
				weight.op,
				`${weight.dtype}[${weight.shape.join(",")}]`,
				weight.blockSize > 0 ? `${weight.scheme} ${weight.blockSize}` : weight.scheme,
				weight.activations,
				weight.reason === undefined ? "yes" : `no: ${weight.lpbq}`,
			]);
			lines.push("", table(["weight", "operator", "stored as", "scheme", "activations", "LPBQ"], rows));
			const reasons = new Map<string, string>();
			for (const { lpbq, reason } of weights) if (reason !== undefined && !reasons.has(lpbq)) reasons.set(lpbq, reason);
			if (reasons.size > 0)
				lines.push("", ...[...reasons].map(([code, reason]) => `${code}: for one, ${plain(reason)}`));
		}
		terminal.out.write(`${lines.join("\n")}\n`);
		return EXIT.done;
	},
};
