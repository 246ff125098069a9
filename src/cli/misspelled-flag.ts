import { closest, distance } from "fastest-levenshtein";
import yargs from "yargs";
import type { Command } from "./command.js";

/** `; did you mean '--flag'?` where yargs knows an argument not, and a flag of the command is close to it; else nothing. */
export async function flagSuggestion(message: string, command: Command): Promise<string> {
	const unknown = /^Unknown arguments?: ([^,]+)/.exec(message)?.[1];
	if (unknown === undefined) return "";
	const help = await command.flags(yargs([])).getHelp();
	const flags = Array.from(help.matchAll(/--([a-z][a-z\d-]*)/g), ([, flag]) => flag!);
	const nearest = closest(unknown, flags);
	return distance(unknown, nearest) <= Math.max(2, unknown.length / 4) ? `; did you mean '--${nearest}'?` : "";
}
