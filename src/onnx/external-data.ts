import { realpathSync, statSync } from "node:fs";
import path from "node:path";
import { QGraphError } from "../diagnostics.js";
import { computedData, DataFile, fileData, type TensorData } from "../ir/data.js";
import { decodeEntries } from "./origin.js";
import type { WireRecord } from "./record.js";

interface Range {
	readonly tensor: string;
	readonly offset: number;
	readonly length: number;
}

/**
 * Finds the data files of one model, safely. A location must be a relative path that stays in the model's folder, and
 * what it leads to, symbolic links followed, must lie there too or beside the real model file: links within a model's
 * folder and the link farms of download caches work, links that lead elsewhere are refused (as ONNX Runtime does).
 */
export class ExternalDataResolver {
	readonly #folder: string;
	readonly #allowed: readonly string[];
	readonly #files: Map<string, DataFile> = new Map();
	readonly #ranges: Map<DataFile, Range[]> = new Map();

	/** `modelPath`: the model file as the user named it. */
	constructor(modelPath: string) {
		this.#folder = path.dirname(path.resolve(modelPath));
		this.#allowed = [realpathSync(this.#folder), path.dirname(realpathSync(modelPath))];
	}

	/** The data files met so far, by location. */
	get files(): ReadonlyMap<string, DataFile> {
		return this.#files;
	}

	/** The bytes that the external_data entries of `record` describe; `expected`: how many its shape needs. */
	resolve(record: WireRecord<"TensorProto">, expected: number | undefined): TensorData {
		const name = record.name ?? "";
		const entries = decodeEntries(record.external_data);
		const location = entries.get("location") ?? "";
		const offset = this.#number(name, "offset", entries.get("offset")) ?? 0;
		const stated = this.#number(name, "length", entries.get("length"));
		if (stated !== undefined && expected !== undefined && stated !== expected) {
			throw new QGraphError(
				"external-data/range",
				`tensor '${name}' has ${stated} bytes of external data, but its shape and type need ${expected}`,
				{ value: name },
			);
		}
		const file = this.#file(name, location);
		if (file === undefined) return this.#missing(name, location, stated ?? expected ?? 0);
		const length = stated ?? expected ?? file.size - offset;
		if (offset + length > file.size) {
			throw new QGraphError(
				"external-data/range",
				`tensor '${name}' points to bytes ${offset} to ${offset + length} of '${location}', which has ${file.size}`,
				{ value: name, file: file.path },
			);
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
				throw new QGraphError(
					"external-data/range",
					`tensors '${before.tensor}' and '${after.tensor}' overlap in data file '${file.path}' at byte ${after.offset}`,
					{ value: after.tensor, file: file.path },
				);
			}
		}
	}

	#claim(file: DataFile, range: Range): void {
		const ranges = this.#ranges.get(file);
		if (ranges) ranges.push(range);
		else this.#ranges.set(file, [range]);
	}

	#number(tensor: string, key: string, text: string | undefined): number | undefined {
		if (text === undefined) return undefined;
		const value = Number(text);
		if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) {
			throw new QGraphError(
				"external-data/invalid",
				`tensor '${tensor}' has '${text}' as ${key} of its external data, expected a whole number of bytes`,
				{ value: tensor },
			);
		}
		return value;
	}

	/** The file at `location`; undefined where there is none. */
	#file(tensor: string, location: string): DataFile | undefined {
		const known = this.#files.get(location);
		if (known !== undefined) return known;
		if (location === "" || location.includes("\0")) {
			throw new QGraphError("external-data/invalid", `tensor '${tensor}' does not say where its external data is`, {
				value: tensor,
			});
		}
		const resolved = path.resolve(this.#folder, location);
		if (path.isAbsolute(location) || path.win32.isAbsolute(location) || !isWithin(this.#folder, resolved)) {
			throw this.#outside(tensor, location, "which leaves the model's folder");
		}
		const real = realPathOf(resolved);
		if (real === undefined) return undefined;
		if (!this.#allowed.some((folder) => isWithin(folder, real))) {
			throw this.#outside(tensor, location, "a link that leads out of the model's folder");
		}
		if (!statSync(real).isFile()) {
			throw new QGraphError(
				"external-data/invalid",
				`external data '${location}' of tensor '${tensor}' is not a file`,
				{
					value: tensor,
				},
			);
		}
		const file = new DataFile(real);
		this.#files.set(location, file);
		return file;
	}

	#outside(tensor: string, location: string, how: string): QGraphError {
		return new QGraphError(
			"external-data/outside",
			`tensor '${tensor}' has its external data at '${location}', ${how}; it must be in '${this.#folder}' or below`,
			{ value: tensor },
		);
	}

	#missing(tensor: string, location: string, length: number): TensorData {
		const folder = this.#folder;
		return computedData(length, () => {
			throw new QGraphError(
				"external-data/missing",
				`the data file '${location}' of tensor '${tensor}' is not in '${folder}'`,
				{ value: tensor, file: path.join(folder, location) },
			);
		});
	}
}

function realPathOf(file: string): string | undefined {
	try {
		return realpathSync(file);
	} catch {
		return undefined;
	}
}

/** Is `file` in `folder` or below it? */
export function isWithin(folder: string, file: string): boolean {
	const relative = path.relative(folder, file);
	return relative !== "" && relative !== ".." && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
}
