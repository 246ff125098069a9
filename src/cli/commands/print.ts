import { printModel, readModel } from "../../index.js";
import { type Command, EXIT } from "../command.js";
import { plain } from "../terminal.js";

export const print: Command = {
	name: "print",
	usage: "print <model>",
	describe: "Print the text form of a model",
	flags: (builder) =>
		builder
			.positional("model", { type: "string", demandOption: true, describe: "ONNX file" })
			.option("digests", { type: "boolean", describe: "A digest of the bytes of every tensor (reads all weights)" })
			.example("$0 print model.onnx", ""),
	async run(args, { terminal }) {
		const model = await readModel(args.model as string);
		const lines = printModel(model, { digests: args.digests === true }).split("\n");
		terminal.out.write(lines.map(plain).join("\n"));
		return EXIT.done;
	},
};
