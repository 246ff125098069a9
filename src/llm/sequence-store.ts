import { existsSync, mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import { type NumpyArray, readNpy, writeNpy } from "../arrays/npz.js";

/** What is known of each of some sequences: arrays by name, in files. */
export class SequenceStore {
	readonly #folder: string;
	readonly sequences: readonly (readonly number[])[];

	/** @param folder is made where it is not there. */
	constructor(folder: string, sequences: readonly (readonly number[])[]) {
		this.#folder = folder;
		this.sequences = sequences;
		mkdirSync(folder, { recursive: true });
	}

	put(sequence: number, arrays: ReadonlyMap<string, NumpyArray>): void {
		for (const [name, array] of arrays) writeNpy(this.#file(sequence, name), array);
	}

	get(sequence: number, name: string): NumpyArray | undefined {
		const file = this.#file(sequence, name);
		return existsSync(file) ? readNpy(file) : undefined;
	}

	/** Those of `names` that there are. */
	take(sequence: number, names: Iterable<string>): Map<string, NumpyArray> {
		const found = Array.from(names, (name) => [name, this.get(sequence, name)] as const);
		return new Map(found.filter((entry): entry is [string, NumpyArray] => entry[1] !== undefined));
	}

	/** Forgets the arrays of a name, of all sequences. */
	drop(name: string): void {
		for (const index of this.sequences.keys()) rmSync(this.#file(index, name), { force: true });
	}

	#file(sequence: number, name: string): string {
		return path.join(this.#folder, `${sequence} ${encodeURIComponent(name)}.npy`);
	}
}
