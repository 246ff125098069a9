import { closest, distance } from "fastest-levenshtein";
import yargs from "yargs";
import type { Command } from "./command.js";

/**
 * What yargs found wrong with `args`, the arguments of `command`, with `; did you mean '--flag'?` where they have a flag that is
 * close to one of the command's. yargs misses what is required before it looks for flags that it does not know, and these may
 * be the same one, misspelled: they are named first.
 */
export async function usageMessage(message: string, command: Command, args: readonly string[]): Promise<string> {
	const help = await command.flags(yargs([])).getHelp();
	const flags = Array.from(help.matchAll(/--([a-z][a-z\d-]*)/g), ([, flag]) => flag!);
	const [unknown] = /^Unknown arguments?: ([^,]+)/.exec(message)?.slice(1) ?? flagsOf(args).filter(isNoneOf(flags));
	if (unknown === undefined) return message;
	const nearest = closest(unknown, flags);
	const isNear = distance(unknown, nearest) <= Math.max(2, unknown.length / 4);
	const found = message.startsWith("Unknown argument") ? message : `Unknown argument: ${unknown}`;
	return isNear ? `${found}; did you mean '--${nearest}'?` : found;
}

/** Names of the flags among arguments: `--name` and `--name=value`, up to a `--`. */
function flagsOf(args: readonly string[]): string[] {
	const end = args.indexOf("--");
	return args.slice(0, end === -1 ? undefined : end).flatMap((arg) => /^--([^=]+)/.exec(arg)?.[1] ?? []);
}

function isNoneOf(flags: readonly string[]): (flag: string) => boolean {
	return (flag) => !flags.includes(flag) && !flags.includes(flag.replace(/^no-/, ""));
}
