import { randomBytes } from "node:crypto";
import { closeSync, openSync, readSync, unlinkSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { QGraphError } from "../../diagnostics.js";

/**
 * Keeps results that are too large for memory in a temporary file until the model is written. The file has no name any
 * more once it is open, so that nothing is left behind however the process ends.
 */
export class Spool {
	readonly #descriptor: number;
	#size = 0;

	constructor() {
		const file = path.join(tmpdir(), `qgraph-${randomBytes(8).toString("hex")}`);
		this.#descriptor = openSync(file, "wx+", 0o600);
		unlinkSync(file);
		descriptors.register(this, this.#descriptor);
	}

	/** Room for so many bytes; returns where it begins. */
	reserve(byteLength: number): number {
		const start = this.#size;
		this.#size += byteLength;
		return start;
	}

	write(start: number, bytes: Uint8Array): void {
		try {
			for (let done = 0; done < bytes.byteLength; ) {
				done += writeSync(this.#descriptor, bytes, done, bytes.byteLength - done, start + done);
			}
		} catch (error) {
			const reason = error instanceof Error ? error.message : String(error);
			throw new QGraphError(
				"write/failed",
				`cannot write to the temporary folder '${tmpdir()}': ${reason}`,
				{},
				{ cause: error },
			);
		}
	}

	read(start: number, end: number): Uint8Array {
		const bytes = new Uint8Array(end - start);
		for (let done = 0; done < bytes.byteLength; ) {
			const count = readSync(this.#descriptor, bytes, done, bytes.byteLength - done, start + done);
			if (count === 0) throw new Error(`the spool ends before byte ${end}`);
			done += count;
		}
		return bytes;
	}
}

/** Descriptors of spools that nobody needs any more. */
const descriptors = new FinalizationRegistry<number>((descriptor) => closeSync(descriptor));
