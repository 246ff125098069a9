import { closeSync, openSync, readSync, realpathSync, statSync } from "node:fs";
import { QGraphError } from "../diagnostics.js";
import { DataFile } from "../ir/data.js";
import type { Model } from "../ir/model.js";
import { fileSource, memorySource } from "./byte-source.js";
import { ExternalDataResolver } from "./external-data.js";
import { isSystemError, reasonOf } from "./io-error.js";
import { decodeModel } from "./model-codec.js";
import type { ModelSource } from "./placement.js";
import { readMessage } from "./wire-reader.js";

const sources = new WeakMap<Model, ModelSource>();

/** Where `model` was read from; undefined for a model that was made or parsed. */
export function sourceOf(model: Model): ModelSource | undefined {
	return sources.get(model);
}

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
		const { folder, files, missing, tensors } = external;
		sources.set(model, { path: file.path, folder, files, missing, externalTensors: tensors });
		return model;
	} catch (error) {
		file.close();
		throw located(error, modelPath);
	}
}

/** The data files that `model` points to and that were not there when it was read, as the model names them. */
export function missingDataFiles(model: Model): readonly string[] {
	return sources.get(model)?.missing ?? [];
}

/** A model from the bytes of a model file; it must not use external data. */
export function parseModel(bytes: Uint8Array): Model {
	return decodeModel(readMessage(memorySource(bytes), "ModelProto"), undefined);
}

function openModelFile(modelPath: string): DataFile {
	try {
		if (!statSync(modelPath).isFile()) throw new Error("it is not a file");
		const file = new DataFile(realpathSync(modelPath));
		file.open();
		return file;
	} catch (error) {
		throw unreadable(modelPath, error);
	}
}

/** The error of a read that failed, naming the file. */
function located(error: unknown, modelPath: string): unknown {
	if (isSystemError(error)) return unreadable(modelPath, error);
	if (!(error instanceof QGraphError)) return error;
	const hint = isLfsPointer(modelPath) ? "this is a Git LFS pointer, not the model; run `git lfs pull`" : error.message;
	return new QGraphError(error.code, `${modelPath}: ${hint}`, { file: modelPath, ...error.at }, { cause: error });
}

function unreadable(modelPath: string, cause: unknown): QGraphError {
	const message = `cannot read '${modelPath}': ${reasonOf(cause)}`;
	return new QGraphError("onnx/not-found", message, { file: modelPath }, { cause });
}

/** What Git leaves in the place of a large file that was not fetched. */
function isLfsPointer(modelPath: string): boolean {
	const start = "version https://git-lfs";
	const bytes = Buffer.alloc(start.length);
	const descriptor = openSync(modelPath, "r");
	try {
		readSync(descriptor, bytes, 0, bytes.length, 0);
	} finally {
		closeSync(descriptor);
	}
	return bytes.toString("latin1") === start;
}
