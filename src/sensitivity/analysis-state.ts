import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { QGraphError } from "../diagnostics.js";
import { reasonOf } from "../onnx/io-error.js";

const VERSION = 2;
const SAVE_INTERVAL_MS = 5_000;

/** What an interrupted analysis had measured: JSON by name, in a file. */
export class AnalysisState {
	readonly #file: string;
	readonly #belongsTo: string;
	readonly #entries: Map<string, unknown>;
	#saved = performance.now();

	/**
	 * @param belongsTo all that measurements depend on.
	 * @param isResumed take over what the file has; without it the file is begun anew.
	 * @throws QGraphError `analyze/state` for a file of another model, other samples or other options.
	 */
	constructor(file: string, belongsTo: Readonly<Record<string, unknown>>, isResumed: boolean) {
		this.#file = file;
		this.#belongsTo = JSON.stringify(belongsTo);
		this.#entries = new Map(isResumed ? this.#read() : []);
	}

	/** What was measured before, else what `measure` finds, which is kept. */
	async once<T>(name: string, measure: () => Promise<T>): Promise<T> {
		if (!this.#entries.has(name)) {
			this.#entries.set(name, await measure());
			if (performance.now() - this.#saved > SAVE_INTERVAL_MS) this.save();
		}
		return this.#entries.get(name) as T;
	}

	has(name: string): boolean {
		return this.#entries.has(name);
	}

	/** What was measured before; undefined where it was not. */
	get<T>(name: string): T | undefined {
		return this.#entries.get(name) as T | undefined;
	}

	/** @throws QGraphError `write/failed`. */
	save(): void {
		this.#saved = performance.now();
		const temporary = `${this.#file}.part`;
		try {
			const content = { version: VERSION, belongsTo: this.#belongsTo, entries: [...this.#entries] };
			writeFileSync(temporary, JSON.stringify(content));
			renameSync(temporary, this.#file);
		} catch (error) {
			const message = `cannot write '${this.#file}': ${reasonOf(error)}`;
			throw new QGraphError("write/failed", message, { file: this.#file }, { cause: error });
		}
	}

	#read(): [string, unknown][] {
		let stored: { version?: unknown; belongsTo?: unknown; entries?: [string, unknown][] };
		try {
			stored = JSON.parse(readFileSync(this.#file, "utf8"));
		} catch (error) {
			if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
			throw this.#error(reasonOf(error));
		}
		if (stored.version !== VERSION) throw this.#error("it is of another version");
		if (stored.belongsTo !== this.#belongsTo) {
			throw this.#error(
				"it belongs to another model, other samples or other options; leave --resume out to begin anew",
			);
		}
		return stored.entries ?? [];
	}

	#error(problem: string): QGraphError {
		return new QGraphError("analyze/state", `cannot go on with '${this.#file}': ${problem}`, { file: this.#file });
	}
}
