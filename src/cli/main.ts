#!/usr/bin/env node
import { runCli } from "./cli.js";
import { processTerminal } from "./terminal.js";

const controller = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => controller.abort());
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
	if (error.code === "EPIPE") process.exit(0);
	process.stderr.write(`qgraph: error: cannot write to the standard output: ${error.message}\n`);
	process.exit(1);
});
process.exitCode = await runCli(process.argv.slice(2), processTerminal(), controller.signal);
