import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** What a program took. */
interface Cost {
	readonly seconds: number;
	readonly cpuSeconds: number;
	readonly peakKib: number;
}

const PRELOAD = new URL("./peak-memory.js", import.meta.url).href;
const PLAIN = fileURLToPath(new URL("./plain-inference.js", import.meta.url));
const CLI = fileURLToPath(new URL("../../dist/bundle/main.js", import.meta.url));

/** Calibrating may take so many times what plain inference of the same samples takes. */
const LIMIT = 1.5;

const VARIANTS: readonly (readonly [name: string, ...flags: string[]])[] = [
	["min-max"],
	["moving-average", "--observer", "moving-average"],
	["percentile", "--observer", "percentile"],
	["mse", "--observer", "mse"],
	["entropy", "--observer", "entropy"],
	["importance", "--importance", "IMPORTANCE"],
	["hessian", "--hessian", "HESSIAN"],
];

/**
 * Time of `calibrate` against plain inference of the same random samples, run by turns, and its memory with ever more
 * samples. Time is that of the samples alone: what loading takes is measured with one sample and taken off.
 */
export function showCalibration(
	model: string,
	dimensions: readonly string[],
	samples: number,
	rounds: number,
	parent: string,
): void {
	const folder = mkdtempSync(path.join(parent, "calibration-"));
	try {
		const plain = (count: number) => run(folder, [PLAIN, model, String(count), ...dimensions]);
		const calibrate = (flags: readonly string[], count: number) => {
			const output = path.join(folder, "out.encodings");
			const dims = dimensions.flatMap((dimension) => ["--dim", dimension]);
			const own = flags.map((flag) => (/^[A-Z]+$/.test(flag) ? path.join(folder, `${flag}.npz`) : flag));
			const args = ["calibrate", model, "--data", `random:${count}`, "-o", output, "--force", "-q"];
			return run(folder, [CLI, ...args, ...dims, ...own]);
		};
		console.log(`${path.basename(model)}, ${samples} samples; medians of ${rounds} rounds`);
		for (const [name, ...flags] of VARIANTS) {
			const ratios = Array.from({ length: rounds }, () => {
				const ours = difference(calibrate(flags, samples), calibrate(flags, 1));
				const theirs = difference(plain(samples), plain(1));
				const ms = (seconds: number) => (1000 * seconds) / (samples - 1);
				return {
					time: ours.seconds / theirs.seconds,
					cpu: ours.cpuSeconds / theirs.cpuSeconds,
					ours: ms(ours.cpuSeconds),
					theirs: ms(theirs.cpuSeconds),
				};
			});
			const of = (key: keyof (typeof ratios)[number]) => median(ratios.map((ratio) => ratio[key]));
			const kept = of("time") <= LIMIT ? "kept" : "exceeded";
			console.log(
				`${name.padEnd(12)} time ${of("time").toFixed(2)}, CPU time ${of("cpu").toFixed(2)} of plain inference's (${of("ours").toFixed(1)} and ${of("theirs").toFixed(1)} ms CPU a sample), limit ${LIMIT}: ${kept}`,
			);
		}
		const peaks = [samples, 4 * samples].map(
			(count) => `${count} samples ${Math.round(calibrate([], count).peakKib / 1024)} MiB`,
		);
		console.log(`peak memory: ${peaks.join(", ")}\n`);
	} finally {
		rmSync(folder, { recursive: true, force: true });
	}
}

function run(folder: string, args: readonly string[]): Cost {
	const [peak, cpu] = [path.join(folder, "peak"), path.join(folder, "cpu")];
	const start = performance.now();
	const { status, stderr } = spawnSync(process.execPath, ["--import", PRELOAD, ...args], {
		env: { ...process.env, QGRAPH_BENCH_PEAK: peak, QGRAPH_BENCH_CPU: cpu },
		stdio: ["ignore", "ignore", "pipe"],
		encoding: "utf8",
	});
	const seconds = (performance.now() - start) / 1000;
	if (status !== 0) throw new Error(`${args[0]} failed: ${stderr}`);
	return { seconds, cpuSeconds: Number(readFileSync(cpu, "utf8")), peakKib: Number(readFileSync(peak, "utf8")) };
}

function difference(a: Cost, b: Cost): Pick<Cost, "seconds" | "cpuSeconds"> {
	return { seconds: a.seconds - b.seconds, cpuSeconds: a.cpuSeconds - b.cpuSeconds };
}

function median(values: readonly number[]): number {
	return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}
