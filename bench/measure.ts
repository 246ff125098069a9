import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { type Contender, copy } from "./contenders.js";

export interface Measurement {
	/** Of the whole program, or of its work where it tells how long that took. */
	readonly seconds: number;
	/** Of the whole program. */
	readonly wholeSeconds: number;
	/** Peak resident memory; undefined for programs that do not tell. */
	readonly peakKib: number | undefined;
}

export interface Comparison {
	readonly seconds: number;
	readonly wholeSeconds: number;
	readonly copySeconds: number;
	/** Median of the ratios of each run to the `cp` before it. */
	readonly ratio: number;
	readonly peakKib: number | undefined;
}

/** Runs a contender once, into a folder that is new for it. */
export function measure(contender: Contender, input: string): Measurement {
	const folder = path.join(path.dirname(input), "out");
	const peakFile = path.join(path.dirname(input), "peak");
	rmSync(folder, { recursive: true, force: true });
	rmSync(peakFile, { force: true });
	mkdirSync(folder);
	settle(input);
	const [program, ...args] = contender.command(input, path.join(folder, path.basename(input)));
	const start = performance.now();
	const { status, error, stderr } = spawnSync(program, args, {
		env: { ...process.env, QGRAPH_BENCH_PEAK: peakFile },
		stdio: ["ignore", "ignore", "pipe"],
		encoding: "utf8",
	});
	const wholeSeconds = (performance.now() - start) / 1000;
	if (status !== 0) throw error ?? new Error(`${contender.name} failed: ${stderr}`);
	const [peakKib, seconds = wholeSeconds] = existsSync(peakFile)
		? readFileSync(peakFile, "utf8").split(" ").map(Number)
		: [];
	return { seconds, wholeSeconds, peakKib };
}

/** So long after memory was freed, a virtual machine's host has taken it back: getting it again costs everybody the same. */
const PAUSE_SECONDS = 3;

/**
 * Brings the machine into the same state before every run. The disk finishes what earlier runs left it to write, the input
 * is in memory, and what the removed output held there is not: a program that starts faster would find more of it.
 */
function settle(input: string): void {
	spawnSync("sync");
	spawnSync("sleep", [String(PAUSE_SECONDS)]);
	spawnSync("sh", ["-c", 'cat "$1"*', "sh", input], { stdio: "ignore" });
}

/** Measures each contender `rounds` times, each time after a `cp` of the same files; the medians. */
export function compare(contenders: readonly Contender[], input: string, rounds: number): Map<Contender, Comparison> {
	const runs = new Map<Contender, { run: Measurement; copySeconds: number }[]>();
	for (let round = 0; round < rounds; round++) {
		for (const contender of contenders) {
			const { seconds: copySeconds } = measure(copy, input);
			const run = measure(contender, input);
			runs.set(contender, [...(runs.get(contender) ?? []), { run, copySeconds }]);
		}
	}
	return new Map([...runs].map(([contender, list]) => [contender, summarize(list)]));
}

function summarize(list: readonly { run: Measurement; copySeconds: number }[]): Comparison {
	const peaks = list.flatMap(({ run }) => run.peakKib ?? []);
	return {
		seconds: median(list.map(({ run }) => run.seconds)),
		wholeSeconds: median(list.map(({ run }) => run.wholeSeconds)),
		copySeconds: median(list.map(({ copySeconds }) => copySeconds)),
		ratio: median(list.map(({ run, copySeconds }) => run.seconds / copySeconds)),
		peakKib: peaks.length > 0 ? Math.max(...peaks) : undefined,
	};
}

function median(values: readonly number[]): number {
	const sorted = values.toSorted((a, b) => a - b);
	const middle = sorted.length >> 1;
	return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
