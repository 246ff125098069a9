import type { Argv } from "yargs";
import type { SessionFailure } from "../index.js";
import { table } from "./terminal.js";

/** Flags of the commands that run or compile models for an HTP. */
export function runtimeFlags(builder: Argv): Argv {
	return builder
		.option("dim", {
			type: "array",
			string: true,
			requiresArg: true,
			describe: "Length of a symbolic dimension, name=length or input:axis=length; repeatable",
		})
		.option("option", {
			type: "array",
			string: true,
			requiresArg: true,
			describe: "Option of ONNX Runtime's QNN provider, name=value; repeatable",
		})
		.option("allow-cpu-fallback", { type: "boolean", describe: "Let nodes that the HTP does not take run on the CPU" })
		.option("timeout", { type: "number", requiresArg: true, describe: "Seconds after which a run is ended" })
		.option("htp-home", {
			type: "string",
			requiresArg: true,
			describe: "Folder of 'qgraph setup-htp' [default: QGRAPH_HTP_HOME or the user's cache]",
		})
		.option("json", { type: "boolean", describe: "Print the result as JSON on stdout, and nothing else there" })
		.option("quiet", { alias: "q", type: "boolean", describe: "Print nothing but errors" });
}

/** Why the flags that say what models run on do not go together; undefined where they do. */
export function samplesProblem({ inputs, samples, seed }: Readonly<Record<string, unknown>>): string | undefined {
	if (inputs === undefined || (samples === undefined && seed === undefined)) return undefined;
	return "--inputs gives the samples; --samples and --seed are for random ones";
}

/** The first of the flags that has a number which it does not take, as a sentence. */
export function wrongNumber(args: Readonly<Record<string, unknown>>): string | undefined {
	for (const [flag, least] of [
		["timeout", Number.MIN_VALUE],
		["memory", 1],
		["samples", 1],
		["seed", 0],
		["headroom", 0],
		["min-sqnr", Number.NEGATIVE_INFINITY],
	] as const) {
		const value = args[flag];
		if (value === undefined) continue;
		const isWhole = flag !== "samples" && flag !== "seed" ? true : Number.isSafeInteger(value);
		if (typeof value === "number" && value >= least && isWhole) continue;
		return `--${flag} ${String(value)} is out of range`;
	}
	return undefined;
}

/** Why a model did not run, for people. `what` is the model, `doing` what was done to it. */
export function failureText(what: string, doing: string, failure: SessionFailure): string {
	if (failure.status !== "refused") {
		const how = { failed: "failed", crashed: "crashed", "timed-out": "took too long" }[failure.status];
		return `${what} ${how} while ${doing}: ${failure.message}`;
	}
	const nodes = failure.unsupported;
	const rows = nodes.map(({ name, op }) => [name, op]);
	return `${what} has ${nodes.length} ${nodes.length === 1 ? "node" : "nodes"} that the HTP does not take:\n\n${table(["node", "operator"], rows)}`;
}
