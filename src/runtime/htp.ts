import { writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { runChild } from "./child.js";
import {
	type SessionEvent,
	type SessionJob,
	SessionLog,
	type SessionOptions,
	type SessionResult,
	type UnsupportedNode,
} from "./session.js";

export const SCRIPT = fileURLToPath(new URL("../../python/htp_session.py", import.meta.url));

/** How ONNX Runtime names the nodes that the HTP does not take. */
const UNSUPPORTED = /\{ name: ([^,}]*), type: (\w+) \}/g;

export interface HtpSessionJob extends SessionJob {
	/** Options of the QNN execution provider. */
	readonly providerOptions: Readonly<Record<string, string>>;
	/** May nodes that the HTP does not take run on the CPU? Default: no, the session is refused then. */
	readonly allowCpuFallback?: boolean | undefined;
	/** Where the compiled model goes; undefined: nowhere. Nothing may be there. */
	readonly context?: ContextFile | undefined;
	/** Models that are compiled before it in the same process: all share what is the same in their weights, in one file. */
	readonly before?: readonly CompiledBefore[] | undefined;
}

export interface ContextFile {
	readonly file: string;
	readonly embed: boolean;
}

export interface CompiledBefore {
	readonly model: string;
	readonly providerOptions: Readonly<Record<string, string>>;
	readonly context: ContextFile;
}

/** Compiles a model for the HTP and runs it on the emulator, in a process of its own, with the Python of `setupHtp`. */
export async function runOnHtp(python: string, job: HtpSessionJob, options: SessionOptions): Promise<SessionResult> {
	const log = new SessionLog(options.onSample);
	let last: SessionEvent | undefined;
	const jobFile = path.join(job.folder, "job.json");
	const { before = [] } = job;
	const isShared = before.length > 0;
	const content = {
		...job,
		sessionConfig: { ...sessionConfig(job), ...(isShared ? { ...SHARED, "ep.stop_share_ep_contexts": "1" } : {}) },
		before: before.map((other) => ({ ...other, sessionConfig: { ...sessionConfig({ ...job, ...other }), ...SHARED } })),
	};
	await writeFile(jobFile, JSON.stringify(content));
	const child = await runChild(python, ["-I", "-X", "utf8", SCRIPT, jobFile], {
		folder: job.folder,
		timeoutSeconds: options.timeoutSeconds,
		signal: options.signal,
		onEvent(event) {
			last = event;
			log.add(event);
		},
	});
	if (last?.event === "done") return log.success();
	if (last?.event === "error") {
		const unsupported = unsupportedNodes(child.log + last.message);
		return log.failure(unsupported.length > 0 ? "refused" : "failed", last.message, unsupported);
	}
	if (child.end === "timeout") return log.failure("timed-out", `no answer within ${options.timeoutSeconds} s`);
	const tail = child.log.trim().split("\n").slice(-5).join("\n").slice(-800);
	return log.failure("crashed", tail === "" ? child.detail : `${child.detail}: ${tail}`);
}

const SHARED = { "ep.share_ep_contexts": "1" };

function sessionConfig({ allowCpuFallback, context }: HtpSessionJob): Record<string, string> {
	return {
		"session.disable_cpu_ep_fallback": allowCpuFallback === true ? "0" : "1",
		...(context === undefined
			? {}
			: {
					"ep.context_enable": "1",
					"ep.context_file_path": context.file,
					"ep.context_embed_mode": context.embed ? "1" : "0",
				}),
	};
}

/** The nodes that ONNX Runtime names as such that the HTP does not take. */
export function unsupportedNodes(text: string): UnsupportedNode[] {
	const found = new Map<string, UnsupportedNode>();
	for (const [all, name, op] of text.matchAll(UNSUPPORTED)) found.set(all, { name: name!, op: op! });
	return [...found.values()];
}
