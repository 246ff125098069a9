#!/usr/bin/env node
import { runCli } from "./cli.js";
import { processTerminal } from "./terminal.js";

const controller = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => controller.abort());
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
	if (error.code === "EPIPE") process.exit(0);
	throw error;
});
process.exitCode = await runCli(process.argv.slice(2), processTerminal(), controller.signal);
