import { realpathSync, statSync } from "node:fs";
import path from "node:path";
import { type DiagnosticCode, QGraphError } from "../diagnostics.js";
import { DataFile, fileData, type TensorData } from "../ir/data.js";
import { reasonOf } from "./io-error.js";
import { decodeEntries } from "./origin.js";
import type { WireRecord } from "./record.js";
import { shown } from "./text.js";

interface Range {
	readonly tensor: string;
	readonly offset: number;
	readonly length: number;
}

/** The bytes of a tensor whose data file is not there: every read fails, so that the rest of the model is of use. */
export class MissingData implements TensorData {
	readonly byteLength: number;
	readonly #error: () => QGraphError;

	constructor(byteLength: number, error: () => QGraphError) {
		this.byteLength = byteLength;
		this.#error = error;
	}

	read(): never {
		throw this.#error();
	}
}

/**
 * Finds the data files of one model, safely. A location must be a relative path that stays in the model's folder, and
 * what it leads to, symbolic links followed, must lie there too or beside the real model file: links within a model's
 * folder and the link farms of download caches work, links that lead elsewhere are refused (as ONNX Runtime does).
 */
export class ExternalDataResolver {
	/** Where locations start. */
	readonly folder: string;
	readonly #allowed: readonly string[];
	/** By location; a string says why the file cannot be had. */
	readonly #located: Map<string, DataFile | string> = new Map();
	readonly #byPath: Map<string, DataFile> = new Map();
	readonly #ranges: Map<DataFile, Range[]> = new Map();
	#tensors = 0;

	/** `modelPath`: the model file as the user named it. */
	constructor(modelPath: string) {
		this.folder = realpathSync(path.dirname(path.resolve(modelPath)));
		this.#allowed = [this.folder, path.dirname(realpathSync(modelPath))];
	}

	/** The data files met so far, by location. */
	get files(): ReadonlyMap<string, DataFile> {
		return new Map([...this.#located].filter((entry): entry is [string, DataFile] => typeof entry[1] !== "string"));
	}

	/** Locations where no data file could be read. */
	get missing(): readonly string[] {
		return [...this.#located].filter(([, found]) => typeof found === "string").map(([location]) => location);
	}

	/** How many tensors were resolved so far. */
	get tensors(): number {
		return this.#tensors;
	}

	/** The bytes that the external_data entries of `record` describe; `expected`: how many its shape needs. */
	resolve(record: WireRecord<"TensorProto">, expected: number | undefined): TensorData {
		this.#tensors++;
		const name = record.name ?? "";
		const entries = decodeEntries(record.external_data);
		const location = entries.get("location") ?? "";
		const offset = wholeNumber(name, "offset", entries.get("offset")) ?? 0;
		const stated = wholeNumber(name, "length", entries.get("length"));
		if (stated !== undefined && expected !== undefined && stated !== expected) {
			const what = `has ${stated} bytes of external data, but its shape and type need ${expected}`;
			throw refusal("external-data/range", name, what);
		}
		const file = this.#locate(name, location);
		if (typeof file === "string") return this.#missing(name, location, stated ?? expected ?? 0, file);
		const length = stated ?? expected ?? Math.max(0, file.size - offset);
		if (offset + length > file.size) {
			const what = `points to bytes ${offset} to ${offset + length} of '${shown(location)}', which has ${file.size}`;
			throw refusal("external-data/range", name, what, file.path);
		}
		if (length > 0) this.#claim(file, { tensor: name, offset, length });
		return fileData(file, offset, length);
	}

	/** Refuses ranges that overlap without being the same: one of the two tensors would read the other's bytes. */
	checkOverlaps(): void {
		for (const [file, ranges] of this.#ranges) {
			ranges.sort((a, b) => a.offset - b.offset || a.length - b.length);
			for (let i = 1; i < ranges.length; i++) {
				const [before, after] = [ranges[i - 1]!, ranges[i]!];
				const same = before.offset === after.offset && before.length === after.length;
				if (same || before.offset + before.length <= after.offset) continue;
				const what = `overlaps with '${shown(before.tensor)}' in data file '${file.path}' at byte ${after.offset}`;
				throw refusal("external-data/range", after.tensor, what, file.path);
			}
		}
	}

	#claim(file: DataFile, range: Range): void {
		const ranges = this.#ranges.get(file);
		if (ranges) ranges.push(range);
		else this.#ranges.set(file, [range]);
	}

	/** The file at `location`, or why there is none. */
	#locate(tensor: string, location: string): DataFile | string {
		const known = this.#located.get(location);
		if (known !== undefined) return known;
		const file = this.#find(tensor, location);
		this.#located.set(location, file);
		return file;
	}

	#find(tensor: string, location: string): DataFile | string {
		if (location === "" || location.includes("\0")) {
			throw refusal("external-data/invalid", tensor, "does not say in which file its external data is");
		}
		const resolved = path.resolve(this.folder, location);
		if (path.isAbsolute(location) || path.win32.isAbsolute(location) || !isWithin(this.folder, resolved)) {
			throw this.#outside(tensor, location, "which leaves the model's folder");
		}
		try {
			const real = realpathSync(resolved);
			if (!this.#allowed.some((folder) => isWithin(folder, real))) {
				throw this.#outside(tensor, location, "a link that leads out of the model's folder");
			}
			const known = this.#byPath.get(real);
			if (known !== undefined) return known;
			if (!statSync(real).isFile()) {
				const what = `has its external data at '${shown(location)}', which is not a file`;
				throw refusal("external-data/invalid", tensor, what, real);
			}
			const file = new DataFile(real);
			this.#byPath.set(real, file);
			return file;
		} catch (error) {
			if (error instanceof QGraphError) throw error;
			return reasonOf(error);
		}
	}

	#outside(tensor: string, location: string, how: string): QGraphError {
		const what = `has its external data at '${shown(location)}', ${how}; it must be in '${this.folder}' or below`;
		return refusal("external-data/outside", tensor, what);
	}

	#missing(tensor: string, location: string, length: number, reason: string): TensorData {
		const what = `has its external data at '${shown(location)}' in '${this.folder}', which cannot be read: ${reason}`;
		const file = path.join(this.folder, location);
		return new MissingData(length, () => refusal("external-data/missing", tensor, what, file));
	}
}

function wholeNumber(tensor: string, key: string, text: string | undefined): number | undefined {
	if (text === undefined) return undefined;
	const value = Number(text);
	if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
	const what = `has '${shown(text)}' as ${key} of its external data, expected a whole number of bytes`;
	throw refusal("external-data/invalid", tensor, what);
}

function refusal(code: DiagnosticCode, tensor: string, what: string, file?: string): QGraphError {
	const where = file === undefined ? { value: tensor } : { value: tensor, file };
	return new QGraphError(code, `tensor '${shown(tensor)}' ${what}`, where);
}

/** Is `file` in `folder` or below it? */
export function isWithin(folder: string, file: string): boolean {
	const relative = path.relative(folder, file);
	return relative !== "" && relative !== ".." && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
}
