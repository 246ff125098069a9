import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { type ChildEnd, runChild } from "./child.js";
import { runCpuSession } from "./cpu-session.js";
import { missingRuntime } from "./onnx-runtime.js";
import { type SessionEvent, type SessionJob, SessionLog, type SessionOptions, type SessionResult } from "./session.js";

const SCRIPT = fileURLToPath(new URL("./cpu-worker.js", import.meta.url));

/**
 * Loads and runs a model in ONNX Runtime on the CPU, exactly as it is written, in a process of its own. Where the compiled
 * script is not there (the sources run without a build) it runs in this process, without a time limit. Rejects with
 * `runtime/missing` where onnxruntime-node is not installed.
 */
export async function runOnCpu(job: SessionJob, options: SessionOptions): Promise<SessionResult> {
	const log = new SessionLog(options.onSample);
	let last: SessionEvent | undefined;
	const onEvent = (event: SessionEvent) => {
		last = event;
		log.add(event);
	};
	const cpuJob = { ...job, workingFolder: process.cwd() };
	let child: ChildEnd | undefined;
	if (existsSync(SCRIPT)) {
		const jobFile = path.join(job.folder, "job.json");
		await writeFile(jobFile, JSON.stringify(cpuJob));
		const { timeoutSeconds, signal } = options;
		child = await runChild(process.execPath, [SCRIPT, jobFile], {
			folder: job.folder,
			timeoutSeconds,
			signal,
			onEvent,
		});
	} else {
		options.signal?.throwIfAborted();
		await runCpuSession(cpuJob, onEvent);
	}
	if (last?.event === "missing") throw missingRuntime();
	if (last?.event === "done") return log.success();
	if (last?.event === "error") return log.failure("failed", last.message);
	if (child?.end === "timeout") return log.failure("timed-out", `no answer within ${options.timeoutSeconds} s`);
	return log.failure("crashed", `${child?.detail}: ${child?.log.trim().slice(-800)}`);
}
