import yargs, { type Argv } from "yargs";
import { ownVersion, QGraphError } from "../index.js";
import { type Arguments, type Command, EXIT } from "./command.js";
import { analyze } from "./commands/analyze.js";
import { calibrate } from "./commands/calibrate.js";
import { check } from "./commands/check.js";
import { compile } from "./commands/compile.js";
import { convert } from "./commands/convert.js";
import { diff } from "./commands/diff.js";
import { explain } from "./commands/explain.js";
import { exportEncodingsCommand } from "./commands/export-encodings.js";
import { inspect } from "./commands/inspect.js";
import { kernels } from "./commands/kernels.js";
import { listPasses } from "./commands/list-passes.js";
import { llm } from "./commands/llm.js";
import { perplexity } from "./commands/perplexity.js";
import { plan } from "./commands/plan.js";
import { print } from "./commands/print.js";
import { quantize } from "./commands/quantize.js";
import { recipes } from "./commands/recipes.js";
import { setupHtpCommand } from "./commands/setup-htp.js";
import { verify } from "./commands/verify.js";
import { usageMessage } from "./misspelled-flag.js";
import { plain, type Terminal } from "./terminal.js";

const COMMANDS: readonly Command[] = [
	convert,
	quantize,
	calibrate,
	check,
	verify,
	perplexity,
	compile,
	setupHtpCommand,
	exportEncodingsCommand,
	inspect,
	print,
	diff,
	listPasses,
	recipes,
	explain,
	plan,
	analyze,
	llm,
	kernels,
];

/** Codes of errors that come of a wrong name on the command line. */
const USAGE_CODES = /^(pass|target|kernels)\/unknown|^llm\/(length|settings)|^cli\/|^kernels\/command/;

/** Runs one command line; resolves to the exit code: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted. */
export async function runCli(args: readonly string[], terminal: Terminal, signal: AbortSignal): Promise<number> {
	try {
		const chosen = await parse(args, terminal);
		return chosen === undefined ? EXIT.done : await chosen.command.run(chosen.args, { terminal, signal });
	} catch (error) {
		if (error instanceof UsageFailure) {
			const command = COMMANDS.find(({ name }) => name === args[0]);
			const help = command === undefined ? "qgraph --help" : `qgraph ${command.name} --help`;
			const message = command === undefined ? error.message : await usageMessage(error.message, command, args.slice(1));
			terminal.err.write(`qgraph: ${message}\nSee '${help}'.\n`);
			return EXIT.usage;
		}
		if (signal.aborted) {
			terminal.err.write("qgraph: interrupted; nothing was written\n");
			return EXIT.interrupted;
		}
		if (!(error instanceof QGraphError)) throw error;
		terminal.err.write(`qgraph: error ${error.code}: ${plain(error.message)}\n`);
		return USAGE_CODES.test(error.code) ? EXIT.usage : EXIT.failed;
	}
}

/** The command that the arguments name, or undefined where they only asked for help or the version, which is printed. */
async function parse(args: readonly string[], terminal: Terminal): Promise<Chosen | undefined> {
	let usageError = "";
	const parser: Argv = yargs()
		.scriptName("qgraph")
		.usage("$0 <command> [options]\n\nTakes int4 block-quantized ONNX models to Qualcomm's Hexagon HTP.")
		.version(ownVersion())
		.help()
		.alias("help", "h")
		.strict()
		.recommendCommands()
		.demandCommand(1, "Name a command.")
		.wrap(Math.min(120, terminal.columns))
		.parserConfiguration({ "dot-notation": false, "camel-case-expansion": false, "greedy-arrays": false })
		.exitProcess(false)
		.showHelpOnFail(false)
		.fail((message, error) => {
			if (error && error.name !== "YError") throw error;
			usageError ||= message;
			throw new UsageFailure(message);
		});
	for (const command of COMMANDS) {
		parser.command(
			command.usage,
			command.describe,
			(builder) => command.flags(builder),
			(parsed) => {
				const repeated = repeatedFlag(parsed, parser);
				if (repeated === undefined) throw new Chosen(command, parsed);
				throw new UsageFailure(`--${repeated} is given more than once.`);
			},
		);
	}
	try {
		await parser.parseAsync(args, {}, (_error, _parsed, output) => {
			if (output !== "") terminal.out.write(`${output}\n`);
		});
		return undefined;
	} catch (thrown) {
		if (thrown instanceof Chosen) return thrown;
		throw usageError === "" ? thrown : new UsageFailure(usageError);
	}
}

/** A flag with several values, of those that take one. */
function repeatedFlag(parsed: Arguments, parser: Argv): string | undefined {
	const { array } = (parser as Argv & { getOptions(): { readonly array: readonly string[] } }).getOptions();
	return Object.keys(parsed).find((name) => name !== "_" && Array.isArray(parsed[name]) && !array.includes(name));
}

/** Thrown by the handler of a command: when a handler returns, yargs lays out the whole help text, used or not. */
class Chosen {
	readonly command: Command;
	readonly args: Arguments;

	constructor(command: Command, args: Arguments) {
		this.command = command;
		this.args = args;
	}
}

class UsageFailure extends Error {}
