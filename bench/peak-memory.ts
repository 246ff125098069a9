/*
 * Preloaded into a Node program: when it ends, writes its peak resident memory in KiB to the file QGRAPH_BENCH_PEAK, and the
 * seconds of CPU time that it took, all threads together, to QGRAPH_BENCH_CPU.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { isMainThread } from "node:worker_threads";

/** Linux's figure for this program alone; the one of resourceUsage also counts what the parent had at the start. */
function peakKib(): number {
	const status = existsSync("/proc/self/status") ? readFileSync("/proc/self/status", "utf8") : "";
	return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? process.resourceUsage().maxRSS);
}

const file = process.env.QGRAPH_BENCH_PEAK;
if (file !== undefined && isMainThread) process.on("exit", () => writeFileSync(file, String(peakKib())));

const cpuFile = process.env.QGRAPH_BENCH_CPU;
if (cpuFile !== undefined && isMainThread) {
	process.on("exit", () => {
		const { user, system } = process.cpuUsage();
		writeFileSync(cpuFile, String((user + system) / 1e6));
	});
}
