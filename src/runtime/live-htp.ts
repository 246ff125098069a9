import { type ChildProcessByStdio, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Readable, Writable } from "node:stream";
import type { NumpyArray } from "../arrays/npz.js";
import { QGraphError } from "../diagnostics.js";
import { readModel } from "../onnx/file.js";
import { providerOptions } from "../targets/provider-options.js";
import { type Target, targetName } from "../targets/target.js";
import { eachLine, MARK } from "./child.js";
import { SCRIPT, unsupportedNodes } from "./htp.js";
import { htpPython } from "./htp-environment.js";
import type { SessionEvent, TensorFile } from "./session.js";

export interface LiveHtpOptions {
	/** Folder of `setupHtp`. */
	readonly htpHome?: string | undefined;
	readonly signal?: AbortSignal | undefined;
}

/** Models that stay loaded on the emulator of the HTP, in one process, wholly there; arrays go through files. */
export class LiveHtp {
	readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
	readonly #folder: string;
	readonly #target: Target;
	readonly #ended: Promise<void>;
	#log = "";
	#waiting: { resolve: (event: SessionEvent) => void; reject: (error: unknown) => void } | undefined;
	#error: QGraphError | undefined;

	/** Compiles and loads `models`, files by name. Rejects with `htp/...`: of the environment, and `htp/failed`. */
	static async open(
		models: ReadonlyMap<string, string>,
		target: Target,
		options: LiveHtpOptions = {},
	): Promise<LiveHtp> {
		const python = htpPython(options.htpHome);
		const sessions: Record<string, object> = {};
		for (const [name, file] of models) {
			sessions[name] = {
				model: path.resolve(file),
				providerOptions: providerOptions(await readModel(file), target),
				sessionConfig: { "session.disable_cpu_ep_fallback": "1" },
			};
		}
		const live = new LiveHtp(python, sessions, target, options.signal);
		try {
			await live.#next();
			return live;
		} catch (error) {
			await live.close();
			throw error;
		}
	}

	private constructor(
		python: string,
		sessions: Record<string, object>,
		target: Target,
		signal: AbortSignal | undefined,
	) {
		this.#target = target;
		this.#folder = mkdtempSync(path.join(tmpdir(), "qgraph-htp-"));
		const job = path.join(this.#folder, "job.json");
		writeFileSync(job, JSON.stringify({ sessions, folder: this.#folder }));
		const stdio: ["pipe", "pipe", "pipe"] = ["pipe", "pipe", "pipe"];
		this.#child = spawn(python, ["-I", "-X", "utf8", SCRIPT, job], { cwd: this.#folder, stdio, windowsHide: true });
		this.#child.stdin.on("error", () => undefined);
		this.#ended = new Promise((resolve) => {
			this.#child.on("error", (error) => this.#fail(error.message));
			this.#child.on("close", (status, killedBy) => {
				this.#fail(`its process ended with ${killedBy ?? status}: ${this.#log.slice(-800)}`);
				resolve();
			});
		});
		eachLine(this.#child.stdout, (line) => this.#read(line));
		eachLine(this.#child.stderr, (line) => this.#keep(line));
		signal?.addEventListener("abort", () => this.#child.kill("SIGKILL"), { once: true });
	}

	/** Runs the model called `name` once; its outputs by name. */
	async run(name: string, inputs: ReadonlyMap<string, NumpyArray>): Promise<Map<string, NumpyArray>> {
		const files = [...inputs].map(([input, { type, shape, bytes }], index): TensorFile => {
			const file = path.join(this.#folder, `in-${index}.bin`);
			writeFileSync(file, bytes);
			return { name: input, type, shape, file };
		});
		const answer = this.#next();
		this.#child.stdin.write(`${JSON.stringify({ session: name, inputs: files })}\n`);
		const event = await answer;
		const outputs = event.event === "ran" ? event.outputs : [];
		return new Map(
			outputs.map(({ name: output, type, shape, file }) => {
				const bytes = new Uint8Array(readFileSync(file));
				rmSync(file);
				return [output, { type, shape, bytes }];
			}),
		);
	}

	async close(): Promise<void> {
		this.#child.kill("SIGKILL");
		await this.#ended;
		rmSync(this.#folder, { recursive: true, force: true });
	}

	#next(): Promise<SessionEvent> {
		return new Promise((resolve, reject) => {
			if (this.#error !== undefined) reject(this.#error);
			else this.#waiting = { resolve, reject };
		});
	}

	#read(line: string): void {
		const at = line.indexOf(MARK);
		if (at < 0) {
			this.#keep(line);
			return;
		}
		const event = JSON.parse(line.slice(at + MARK.length)) as SessionEvent;
		if (event.event === "error") this.#fail(event.message);
		this.#waiting?.resolve(event);
		this.#waiting = undefined;
	}

	#keep(line: string): void {
		this.#log = `${this.#log}${line}\n`.slice(-100_000);
	}

	#fail(reason: string): void {
		const nodes = unsupportedNodes(this.#log + reason).map(({ name, op }) => `${op} '${name}'`);
		const more = nodes.length === 0 ? "" : `; it does not take ${nodes.slice(0, 5).join(", ")}`;
		this.#error ??= new QGraphError(
			"htp/failed",
			`the emulator of ${targetName(this.#target)} failed: ${reason}${more}`,
		);
		this.#waiting?.reject(this.#error);
		this.#waiting = undefined;
	}
}
