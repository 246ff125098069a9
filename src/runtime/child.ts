import { spawn } from "node:child_process";
import type { SessionEvent } from "./session.js";

/** Stands in front of events among all that native libraries print. */
export const MARK = "@@qgraph@@";

/** Of what a child prints, no more than this is kept. */
const MAX_LOG_LENGTH = 2 ** 24;

export interface ChildOptions {
	readonly folder: string;
	readonly timeoutSeconds: number;
	readonly signal?: AbortSignal | undefined;
	readonly onEvent: (event: SessionEvent) => void;
}

/** How a child ended, and what it printed that was no event. */
export interface ChildEnd {
	readonly end: "exit" | "signal" | "timeout" | "not-started";
	/** `exit status 3`, `SIGSEGV`, or why the program did not start. */
	readonly detail: string;
	readonly log: string;
}

/**
 * Runs a program that prints events, and waits for its end, whatever that is. It has a pipe as stdin, which closes when
 * this process ends, so that it can end, too. Rejects only with the reason of the abort signal.
 */
export async function runChild(program: string, args: readonly string[], options: ChildOptions): Promise<ChildEnd> {
	const { folder, timeoutSeconds, signal, onEvent } = options;
	signal?.throwIfAborted();
	const child = spawn(program, args, { cwd: folder, stdio: ["pipe", "pipe", "pipe"], windowsHide: true });
	child.stdin.on("error", () => undefined);
	let log = "";
	const keep = (line: string) => {
		if (log.length < MAX_LOG_LENGTH) log += `${line}\n`;
	};
	eachLine(child.stdout, (line) => {
		const at = line.indexOf(MARK);
		if (at < 0) return keep(line);
		onEvent(JSON.parse(line.slice(at + MARK.length)));
	});
	eachLine(child.stderr, keep);
	let isLate = false;
	const timer = setTimeout(() => {
		isLate = true;
		child.kill("SIGKILL");
	}, timeoutSeconds * 1000);
	const onAbort = () => child.kill("SIGKILL");
	signal?.addEventListener("abort", onAbort);
	try {
		const { end, detail } = await new Promise<Omit<ChildEnd, "log">>((resolve) => {
			child.on("error", (error) => resolve({ end: "not-started", detail: error.message }));
			child.on("close", (status, killedBy) => {
				if (killedBy !== null) resolve({ end: "signal", detail: killedBy });
				else resolve({ end: "exit", detail: `exit status ${status}` });
			});
		});
		signal?.throwIfAborted();
		return { end: isLate ? "timeout" : end, detail, log };
	} finally {
		clearTimeout(timer);
		signal?.removeEventListener("abort", onAbort);
	}
}

/** Calls `visit` with every line of a stream. */
export function eachLine(stream: NodeJS.ReadableStream, visit: (line: string) => void): void {
	let rest = "";
	stream.setEncoding("utf8");
	stream.on("data", (chunk: string) => {
		const lines = (rest + chunk).split("\n");
		rest = lines.pop() ?? "";
		for (const line of lines) visit(line.replace(/\r$/, ""));
	});
	stream.on("end", () => {
		if (rest !== "") visit(rest);
	});
}
