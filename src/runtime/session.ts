import type { ElementType } from "../arrays/element-type.js";

/** A tensor in a file of its own: little-endian elements in row-major order. */
export interface TensorFile {
	readonly name: string;
	readonly type: ElementType;
	readonly shape: readonly number[];
	readonly file: string;
}

/** One model, loaded once and run on every sample. */
export interface SessionJob {
	readonly model: string;
	/** Lengths of symbolic dimensions, by their names. */
	readonly dimensions: Readonly<Record<string, number>>;
	/** The inputs of every run; none: the model is only loaded. */
	readonly samples: readonly (readonly TensorFile[])[];
	/** Where the outputs go: `<sample>-<index>.bin`. */
	readonly folder: string;
}

export type SessionStage = "load" | "run";

export interface UnsupportedNode {
	readonly name: string;
	readonly op: string;
}

/** What came of a session. Whatever a model or a native library does is one of these, never an exception. */
export type SessionResult =
	| {
			readonly status: "ok";
			/** The outputs of every sample; those that are no tensors of numbers are not among them. */
			readonly outputs: readonly (readonly TensorFile[])[];
			readonly loadSeconds: number;
			readonly runSeconds: number;
	  }
	| SessionFailure;

export interface SessionFailure {
	/**
	 * `refused`: nodes cannot run on the device; `failed`: the runtime reported an error; `crashed`: its process died;
	 * `timed-out`: it did not end in time.
	 */
	readonly status: "refused" | "failed" | "crashed" | "timed-out";
	readonly stage: SessionStage;
	readonly message: string;
	/** With `refused`: the nodes. */
	readonly unsupported: readonly UnsupportedNode[];
}

/** What a session tells while it works, one JSON object a line; the last one is `done` or `error`. */
export type SessionEvent =
	| { readonly event: "loaded"; readonly seconds: number }
	| {
			readonly event: "ran";
			readonly sample: number;
			readonly seconds: number;
			readonly outputs: readonly TensorFile[];
	  }
	| { readonly event: "done" }
	| { readonly event: "error"; readonly message: string }
	| { readonly event: "missing" };

export interface SessionOptions {
	/** After so many seconds the session is ended. */
	readonly timeoutSeconds: number;
	readonly signal?: AbortSignal | undefined;
	/** Called when the model is loaded (0) and after every sample. */
	readonly onSample?: ((done: number) => void) | undefined;
}

/** Adds up the events of a session. */
export class SessionLog {
	readonly #outputs: (readonly TensorFile[])[] = [];
	readonly #onSample: ((done: number) => void) | undefined;
	#loadSeconds: number | undefined;
	#runSeconds = 0;

	constructor(onSample: ((done: number) => void) | undefined) {
		this.#onSample = onSample;
	}

	/** What the session was at when it last told something. */
	get stage(): SessionStage {
		return this.#loadSeconds === undefined ? "load" : "run";
	}

	add(event: SessionEvent): void {
		if (event.event === "loaded") {
			this.#loadSeconds = event.seconds;
			this.#onSample?.(0);
		} else if (event.event === "ran") {
			this.#outputs.push(event.outputs);
			this.#runSeconds += event.seconds;
			this.#onSample?.(this.#outputs.length);
		}
	}

	success(): SessionResult {
		const seconds = { loadSeconds: this.#loadSeconds ?? 0, runSeconds: this.#runSeconds };
		return { status: "ok", outputs: this.#outputs, ...seconds };
	}

	failure(
		status: SessionFailure["status"],
		message: string,
		unsupported: readonly UnsupportedNode[] = [],
	): SessionFailure {
		return { status, stage: this.stage, message, unsupported };
	}
}
