import { readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { QGraphError } from "../diagnostics.js";
import { reasonOf } from "../onnx/io-error.js";

/** Keeps a folder to one analysis at a time: a file in it that names the process. */
export class WorkLock {
	readonly #file: string;

	/**
	 * @throws QGraphError `analyze/state` where a process that is still there works in the folder, `write/failed` where it cannot
	 *   be written to. What a process left that has ended does not count.
	 */
	constructor(folder: string) {
		this.#file = path.join(folder, "lock");
		if (this.#take()) return;
		const owner = this.#owner();
		if (owner !== undefined && isRunning(owner)) {
			const message = `another analysis works in '${folder}' (process ${owner}); wait for it, or name another folder`;
			throw new QGraphError("analyze/state", message, { file: this.#file });
		}
		this.release();
		if (!this.#take()) {
			const message = `another analysis began to work in '${folder}' just now; wait for it, or name another folder`;
			throw new QGraphError("analyze/state", message, { file: this.#file });
		}
	}

	release(): void {
		rmSync(this.#file, { force: true });
	}

	#take(): boolean {
		try {
			writeFileSync(this.#file, `${process.pid}\n`, { flag: "wx" });
			return true;
		} catch (error) {
			if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
			const message = `cannot write '${this.#file}': ${reasonOf(error)}`;
			throw new QGraphError("write/failed", message, { file: this.#file }, { cause: error });
		}
	}

	#owner(): number | undefined {
		try {
			const owner = Number(readFileSync(this.#file, "utf8"));
			return Number.isInteger(owner) && owner > 0 ? owner : undefined;
		} catch {
			return undefined;
		}
	}
}

function isRunning(owner: number): boolean {
	try {
		process.kill(owner, 0);
		return true;
	} catch (error) {
		// of another user
		return error instanceof Error && "code" in error && error.code === "EPERM";
	}
}
