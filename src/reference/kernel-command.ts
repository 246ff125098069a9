import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { bytesFrom, isFloat, numbersOf } from "../arrays/element-type.js";
import { type NumpyArray, readNpz, writeNpz } from "../arrays/npz.js";
import { QGraphError } from "../diagnostics.js";
import { runChild } from "../runtime/child.js";
import type { KernelCall, KernelFunction } from "./compare.js";
import { ARRAY_CLASSES, type TensorArray, type TensorArrays, tensorShape, tensorType } from "./tensor-spec.js";

export interface KernelCommandOptions {
	/** Where the command runs; default: the current folder. */
	readonly folder?: string | undefined;
	/** Default 600. */
	readonly timeoutSeconds?: number | undefined;
	readonly signal?: AbortSignal | undefined;
}

/**
 * An implementation that is a command. In it, {in} stands for the .npz file that it reads, {out} for the one that it writes,
 * {kernel} for the name of the kernel; it is run without a shell, once a case.
 *
 * The file read holds the kernel's inputs under their names, and the scalars `group_size` (int64) and `half_even` (bool: how
 * an exact half is rounded). The file written holds the outputs under their names, and may hold `sums`.
 *
 * @throws QGraphError `kernels/command` where {in} or {out} is missing.
 */
export function kernelCommand(command: string, options: KernelCommandOptions = {}): KernelFunction {
	const words = wordsOf(command);
	for (const name of ["{in}", "{out}"]) {
		if (words.some((word) => word.includes(name))) continue;
		throw new QGraphError("kernels/command", `the command '${command}' has no ${name}, which stands for an .npz file`);
	}
	return async (call) => {
		const folder = await mkdtemp(path.join(tmpdir(), "qgraph-kernel-"));
		try {
			const files = {
				"{in}": path.join(folder, "in.npz"),
				"{out}": path.join(folder, "out.npz"),
				"{kernel}": call.kernel.name,
			};
			const [program, ...args] = words.map((word) =>
				word.replace(/\{(?:in|out|kernel)\}/g, (name) => files[name as keyof typeof files]),
			);
			writeNpz(files["{in}"], arraysOf(call));
			const { end, detail, log } = await runChild(program!, args, {
				folder: options.folder ?? process.cwd(),
				timeoutSeconds: options.timeoutSeconds ?? 600,
				signal: options.signal,
				onEvent: () => undefined,
			});
			const tail = log.trim().split("\n").slice(-5).join("\n");
			if (end === "timeout") throw new Error(`no answer within ${options.timeoutSeconds ?? 600} s`);
			if (end !== "exit" || detail !== "exit status 0") throw new Error(tail === "" ? detail : `${detail}: ${tail}`);
			return outputsOf(call, readNpz(files["{out}"]));
		} finally {
			await rm(folder, { recursive: true, force: true });
		}
	};
}

/** The words of a command: parted by spaces, but for those in single or double quotes. */
function wordsOf(command: string): string[] {
	return [...command.matchAll(/(?:[^\s"']+|"[^"]*"|'[^']*')+/g)].map(([word]) =>
		word.replace(/"([^"]*)"|'([^']*)'/g, "$1$2"),
	);
}

function arraysOf({ kernel, config, inputs }: KernelCall): Map<string, NumpyArray> {
	const arrays = new Map<string, NumpyArray>();
	for (const [name, array] of Object.entries(inputs)) {
		const spec = kernel.inputs[name]!;
		const type = tensorType(spec, config);
		arrays.set(name, { type, shape: tensorShape(spec, config), bytes: bytesFrom(type, array) });
	}
	arrays.set("group_size", { type: "int64", shape: [], bytes: bytesFrom("int64", [config.groupSize]) });
	const isHalfEven = config.rounding === "half-even" ? 1 : 0;
	arrays.set("half_even", { type: "bool", shape: [], bytes: bytesFrom("bool", [isHalfEven]) });
	return arrays;
}

/** The arrays of the file that the kernel has as outputs; of floats any width. */
function outputsOf({ kernel, config }: KernelCall, arrays: ReadonlyMap<string, NumpyArray>): TensorArrays {
	const { outputs } = kernel;
	const found: Record<string, TensorArray> = {};
	for (const [name, { type, bytes }] of arrays) {
		const expected = name === "sums" ? "float32" : outputs[name] && tensorType(outputs[name], config);
		if (expected === undefined) continue;
		if (type !== expected && !(isFloat(type) && isFloat(expected)))
			throw new Error(`'${name}' is ${type}, expected ${expected}`);
		found[name] = ARRAY_CLASSES[expected].from(numbersOf(type, new Uint8Array(bytes).buffer));
	}
	return found;
}
