import type { Argv } from "yargs";
import type { Terminal } from "./terminal.js";

export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

export interface CommandContext {
	readonly terminal: Terminal;
	readonly signal: AbortSignal;
}

/** Parsed arguments, as the flags of the command declare them. */
export type Arguments = Readonly<Record<string, unknown>>;

export interface Command {
	readonly name: string;
	/** Name and positional arguments, as yargs takes them. */
	readonly usage: string;
	readonly describe: string;
	flags(builder: Argv): Argv;
	/** Resolves to the exit code. */
	run(args: Arguments, context: CommandContext): Promise<number>;
}
