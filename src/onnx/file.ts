import { existsSync, realpathSync, statSync } from "node:fs";
import path from "node:path";
import { QGraphError } from "../diagnostics.js";
import { DataFile } from "../ir/data.js";
import type { Model } from "../ir/model.js";
import { allTensors } from "../ir/walk.js";
import { fileSource, memorySource } from "./byte-source.js";
import { ExternalDataResolver } from "./external-data.js";
import { MAX_MODEL_BYTES } from "./limits.js";
import { decodeModel, encodeModel } from "./model-codec.js";
import { OutputSet } from "./output.js";
import { type ExternalDataPolicy, type ModelSource, PlacementPlan } from "./placement.js";
import { isStoredExternally } from "./tensor-codec.js";
import { readMessage } from "./wire-reader.js";
import { writeMessage } from "./wire-writer.js";

export interface WriteOptions {
	/** Default `auto`. */
	readonly externalData?: ExternalDataPolicy;
	/** Replace files that exist; default true. Data files that the input needs are never replaced by another model's. */
	readonly overwrite?: boolean;
	readonly signal?: AbortSignal;
	/** Called now and then with the bytes written and the bytes there are to write. */
	readonly onProgress?: (done: number, total: number) => void;
}

const sources = new WeakMap<Model, ModelSource>();

/**
 * Reads an ONNX model. The cost is that of its structure: weights, inline ones too, stay on disk until somebody reads
 * them, so the files must stay as they are as long as the model is used. Rejects with a QGraphError: `onnx/...` for the
 * model file, `external-data/...` for what it says of data files. A data file that is not there fails at the first read.
 */
export async function readModel(modelPath: string): Promise<Model> {
	const file = openModelFile(modelPath);
	try {
		const external = new ExternalDataResolver(modelPath);
		const model = decodeModel(readMessage(fileSource(file), "ModelProto"), external);
		const externalTensors = new Set([...allTensors(model)].filter(isStoredExternally)).size;
		sources.set(model, { path: realpathSync(modelPath), files: external.files, externalTensors });
		return model;
	} catch (error) {
		if (!(error instanceof QGraphError)) throw error;
		throw new QGraphError(
			error.code,
			`${modelPath}: ${error.message}`,
			{ file: modelPath, ...error.at },
			{ cause: error },
		);
	}
}

/** A model from the bytes of a model file; it must not use external data. */
export function parseModel(bytes: Uint8Array): Model {
	return decodeModel(readMessage(memorySource(bytes), "ModelProto"), undefined);
}

/**
 * Writes a model so that the output appears whole or not at all. Unchanged weights are copied from where they are,
 * computed ones are produced piece by piece. Rejects with a QGraphError: `write/...`, or what reading weights says.
 */
export async function writeModel(model: Model, modelPath: string, options: WriteOptions = {}): Promise<void> {
	const output = new OutputSet({ signal: options.signal, onBytes: (bytes) => progress(bytes) });
	let progress = (_bytes: number): void => {};
	try {
		const job = planWrite(model, modelPath, options);
		let done = 0;
		progress = (bytes) => {
			done += bytes;
			options.onProgress?.(done, job.totalBytes);
		};
		for (const { target, from } of job.copies) await output.copy(target, from.path, from.size);
		if (job.plan.runs.length > 0) await output.write(job.dataTarget, job.plan.runs);
		await output.write(job.target, withOffsets(job.pieces));
		await output.commit(job.target);
	} catch (error) {
		await output.discard();
		if (error instanceof QGraphError || options.signal?.aborted) throw error;
		if (!(error instanceof Error) || !("code" in error)) throw error;
		throw new QGraphError(
			"write/failed",
			`cannot write '${modelPath}': ${reasonOf(error)}`,
			{ file: modelPath },
			{ cause: error },
		);
	}
}

/** The bytes of a model file with all weights inside it. */
export function serializeModel(model: Model): Uint8Array {
	const { pieces, byteLength } = writeMessage(
		encodeModel(model, () => "inline"),
		"ModelProto",
	);
	if (byteLength > MAX_MODEL_BYTES) throw tooLarge(byteLength);
	return Buffer.concat(pieces.map((piece) => (piece instanceof Uint8Array ? piece : piece.read(0, piece.byteLength))));
}

function planWrite(model: Model, modelPath: string, options: WriteOptions) {
	const target = realTarget(modelPath);
	const folder = path.dirname(target);
	const source = sources.get(model);
	const sameFolder = source !== undefined && path.dirname(source.path) === folder;
	const replacesSource = source?.path === target;
	const renames = sameFolder && !replacesSource;
	const plan = new PlacementPlan(model, source, target, options.externalData ?? "auto", renames);
	const encoded = writeMessage(
		encodeModel(model, (tensor) => plan.place(tensor)),
		"ModelProto",
	);
	if (encoded.byteLength > MAX_MODEL_BYTES) throw tooLarge(encoded.byteLength);
	const dataTarget = path.join(folder, plan.newLocation);
	const copies: { target: string; from: DataFile }[] = [];
	if (plan.keepsFiles && !sameFolder) {
		for (const [location, from] of source?.files ?? []) {
			const copy = { target: path.join(folder, location), from };
			if (!hasBytesOf(copy.target, from)) copies.push(copy);
		}
	}
	const targets = [target, ...copies.map((copy) => copy.target), ...(plan.runs.length > 0 ? [dataTarget] : [])];
	const overwrite = options.overwrite ?? true;
	for (const file of targets) {
		const ofOtherModel = file !== target && file !== dataTarget && !existsSync(target);
		checkTarget(file, source, replacesSource, overwrite && !ofOtherModel);
	}
	const copiedBytes = copies.reduce((sum, copy) => sum + copy.from.size, 0);
	return {
		target,
		dataTarget,
		plan,
		copies,
		pieces: encoded.pieces,
		totalBytes: encoded.byteLength + plan.newBytes + copiedBytes,
	};
}

/** Refuses a target that exists without leave, or that the input needs although it is not what is being replaced. */
function checkTarget(
	target: string,
	source: ModelSource | undefined,
	replacesSource: boolean,
	overwrite: boolean,
): void {
	const stat = statSync(target, { throwIfNoEntry: false });
	if (stat === undefined) return;
	if (!stat.isFile()) {
		throw new QGraphError("write/failed", `cannot write '${target}': it exists and is not a file`, { file: target });
	}
	const needed = [source?.path, ...(source === undefined ? [] : [...source.files.values()].map((file) => file.path))];
	if (!replacesSource && needed.some((file) => file !== undefined && isSameFile(file, stat))) {
		throw new QGraphError(
			"write/would-overwrite-input",
			`writing '${target}' would replace a file that the input model '${source?.path}' needs; choose another output name`,
			{ file: target },
		);
	}
	if (!overwrite) throw new QGraphError("write/exists", `'${target}' exists`, { file: target });
}

function isSameFile(file: string, stat: { dev: number; ino: number }): boolean {
	const other = statSync(file, { throwIfNoEntry: false });
	return other?.dev === stat.dev && other.ino === stat.ino;
}

/** Is `target` a copy of `from` already? Then another model beside it may be using it, and it can stay. */
function hasBytesOf(target: string, from: DataFile): boolean {
	if (statSync(target, { throwIfNoEntry: false })?.size !== from.size) return false;
	const existing = new DataFile(target);
	const piece = 2 ** 20;
	for (let at = 0; at < from.size; at += piece) {
		const length = Math.min(piece, from.size - at);
		if (Buffer.compare(existing.read(at, length), from.read(at, length)) !== 0) return false;
	}
	return true;
}

/** The file that a write to `modelPath` replaces: links are followed. */
function realTarget(modelPath: string): string {
	const absolute = path.resolve(modelPath);
	try {
		return realpathSync(absolute);
	} catch {
		return path.join(realpathSync(path.dirname(absolute)), path.basename(absolute));
	}
}

function openModelFile(modelPath: string): DataFile {
	try {
		if (!statSync(modelPath).isFile()) throw new Error("it is not a file");
		return new DataFile(realpathSync(modelPath));
	} catch (error) {
		throw new QGraphError(
			"onnx/not-found",
			`cannot read '${modelPath}': ${reasonOf(error)}`,
			{ file: modelPath },
			{ cause: error },
		);
	}
}

function reasonOf(error: unknown): string {
	const code = error instanceof Error && "code" in error ? String(error.code) : "";
	const reasons: Record<string, string> = {
		ENOENT: "no such file or folder",
		EACCES: "permission denied",
		EPERM: "permission denied",
		ENOSPC: "the disk is full",
		EROFS: "the file system is read-only",
		EDQUOT: "the disk quota is used up",
		ENOTDIR: "a part of the path is not a folder",
		ELOOP: "too many symbolic links",
	};
	return reasons[code] ?? (error instanceof Error ? error.message : String(error));
}

function tooLarge(bytes: number): QGraphError {
	return new QGraphError(
		"write/too-large",
		`the model file would have ${bytes} bytes, more than the ${MAX_MODEL_BYTES} that protobuf allows; write the weights to external data`,
	);
}

function* withOffsets<T extends { byteLength: number }>(pieces: readonly T[]): Generator<{ offset: number; data: T }> {
	let offset = 0;
	for (const data of pieces) {
		yield { offset, data };
		offset += data.byteLength;
	}
}
