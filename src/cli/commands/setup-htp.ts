import { setupHtp } from "../../index.js";
import { type Command, EXIT } from "../command.js";
import { byteText } from "../terminal.js";

export const setupHtpCommand: Command = {
	name: "setup-htp",
	usage: "setup-htp",
	describe:
		"Install the HTP's compiler and emulator, which 'verify --on' and 'compile' use (once; a Python environment)",
	flags: (builder) =>
		builder
			.option("htp-home", {
				type: "string",
				requiresArg: true,
				describe: "Folder to install into [default: QGRAPH_HTP_HOME or the user's cache]",
			})
			.option("python", {
				type: "string",
				requiresArg: true,
				describe: "Python 3.11 or later to use [default: the first in PATH]",
			})
			.option("json", { type: "boolean", describe: "Print the result as JSON on stdout, and nothing else there" })
			.example("$0 setup-htp", ""),
	async run(args, { terminal, signal }) {
		const environment = await setupHtp({
			home: args["htp-home"] as string | undefined,
			python: args.python as string | undefined,
			signal,
			onStep: (step) => terminal.err.write(`${step}\n`),
		});
		const { folder, made, bytes } = environment;
		if (args.json === true) terminal.out.write(`${JSON.stringify(environment, null, 2)}\n`);
		else terminal.out.write(`${made ? "made" : "already there"}: ${folder} (${byteText(bytes)})\n`);
		return EXIT.done;
	},
};
