import {
	type EncodingsVersion,
	exportEncodings,
	ownVersion,
	readModel,
	removeQdq,
	runPasses,
	writeEncodings,
	writeModel,
} from "../../index.js";
import { type Command, EXIT } from "../command.js";
import { checkOutput } from "../output.js";

export const exportEncodingsCommand: Command = {
	name: "export-encodings",
	usage: "export-encodings <model> <output>",
	describe: "Write how a model is quantized as an encodings file for AIMET and QAIRT",
	flags: (builder) =>
		builder
			.version(false)
			.positional("model", { type: "string", demandOption: true, describe: "ONNX file, with Q/DQ" })
			.positional("output", { type: "string", demandOption: true, describe: "Encodings file to write" })
			.option("version", {
				choices: ["0.6.1", "1.0.0", "2.0.0", "2.1.0"] as const,
				default: "1.0.0" as const,
				describe: "Version of the encodings file",
			})
			.option("bias", { type: "boolean", describe: "With biases [default: from version 2.0.0 on]" })
			.option("float-model", {
				type: "string",
				requiresArg: true,
				describe: "Write the model that the file belongs to, too: without Q/DQ, weights as floats",
			})
			.option("force", { type: "boolean", describe: "Replace the outputs if they exist" })
			.example("$0 export-encodings model.onnx model.encodings --float-model float.onnx", ""),
	async run(args, { terminal, signal }) {
		const [output, floatModel] = [args.output as string, args["float-model"] as string | undefined];
		const overwrite = args.force === true;
		for (const file of [output, ...(floatModel === undefined ? [] : [floatModel])]) checkOutput(file, overwrite);
		const model = await readModel(args.model as string);
		const { encodings, diagnostics } = exportEncodings(model, {
			version: args.version as EncodingsVersion,
			producer: { package: "qgraph", version: ownVersion() },
			...(args.bias === undefined ? {} : { bias: args.bias === true }),
		});
		for (const { code, message } of diagnostics) terminal.err.write(`warning ${code}: ${message}\n`);
		if (floatModel !== undefined) {
			const report = await runPasses(model, [removeQdq()], { signal });
			for (const { code, message } of report.diagnostics) terminal.err.write(`warning ${code}: ${message}\n`);
			await writeModel(model, floatModel, { overwrite, signal });
		}
		writeEncodings(encodings, output, { overwrite });
		const written = floatModel === undefined ? output : `${output}, ${floatModel}`;
		terminal.out.write(`${encodings.entries.length} encodings written: ${written}\n`);
		return EXIT.done;
	},
};
