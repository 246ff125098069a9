import { QGraphError } from "../diagnostics.js";
import type { TensorData } from "../ir/data.js";
import type { Model } from "../ir/model.js";
import { spreadComputed } from "./buffered-file.js";
import { isSystemError, reasonOf } from "./io-error.js";
import { MAX_MODEL_BYTES } from "./limits.js";
import { encodeModel } from "./model-codec.js";
import { OutputSet } from "./output.js";
import { exactBytes } from "./payload.js";
import type { ExternalDataPolicy } from "./placement.js";
import { sourceOf } from "./read-model.js";
import type { WireRecord } from "./record.js";
import { isStoredExternally } from "./tensor-codec.js";
import { writeMessage } from "./wire-writer.js";
import { planWrite, tooLarge } from "./write-plan.js";

export interface WriteOptions {
	/** Default `auto`. */
	readonly externalData?: ExternalDataPolicy;
	/** Replace files that exist; default true. Data files that the input needs are never replaced by another model's. */
	readonly overwrite?: boolean;
	/**
	 * Called when everything is written but not yet in its place. The output appears only once the result has resolved;
	 * when it rejects, so does the write, and nothing appears.
	 */
	readonly onWritten?: () => Promise<unknown>;
	/** Ends the write; it then rejects with the signal's reason. */
	readonly signal?: AbortSignal;
	/** Called now and then with the bytes written and the bytes there are to write. */
	readonly onProgress?: (done: number, total: number) => void;
}

/**
 * Writes a model so that the output appears whole or not at all. Unchanged weights are copied from where they are,
 * computed ones are produced piece by piece. A model that was written over its own input must be read again before it is
 * used further. Rejects with a QGraphError: `write/...`, or what reading weights says.
 */
export async function writeModel(model: Model, modelPath: string, options: WriteOptions = {}): Promise<void> {
	const { externalData: policy = "auto", overwrite = true, onWritten, signal, onProgress } = options;
	let [done, total] = [0, 0];
	const onBytes = (bytes: number) => {
		done += bytes;
		onProgress?.(done, total);
	};
	const output = new OutputSet({ signal, onBytes });
	try {
		signal?.throwIfAborted();
		const job = planWrite({ model, source: sourceOf(model), modelPath, policy, overwrite });
		total = job.totalBytes;
		for (const { target, from } of job.copies) await output.copy(target, from);
		if (job.data !== undefined) await output.write(job.data.target, spreadComputed(job.data.runs));
		await output.write(job.target, withOffsets(job.pieces));
		await onWritten?.();
		await output.commit(job.target);
	} catch (error) {
		await output.discard();
		if (!isSystemError(error)) throw error;
		const message = `cannot write '${modelPath}': ${reasonOf(error)}`;
		throw new QGraphError("write/failed", message, { file: modelPath }, { cause: error });
	}
}

/** The bytes of a model file with all weights inside it. */
export function serializeModel(model: Model): Uint8Array {
	return bytesOf(encodeModel(model, () => "inline"));
}

/** How long {@link serializeModel} makes a model; reads no weights. */
export function serializedSize(model: Model): number {
	return writeMessage(
		encodeModel(model, () => "inline"),
		"ModelProto",
	).byteLength;
}

/** A model file's bytes, and where data files are that it points to. */
export interface ModelSkeleton {
	readonly bytes: Uint8Array;
	/** undefined: all weights are inside. */
	readonly dataFolder: string | undefined;
}

/**
 * The bytes of a model file with those weights inside it that are in no data file; the others stay where they are.
 *
 * @param source the model that was read with these weights, where `model` has taken them over.
 */
export function serializeSkeleton(model: Model, source: Model = model): ModelSkeleton {
	let isSplit = false;
	const record = encodeModel(model, (tensor) => {
		isSplit ||= isStoredExternally(tensor);
		return isStoredExternally(tensor) ? "stored" : "inline";
	});
	return { bytes: bytesOf(record), dataFolder: isSplit ? sourceOf(source)?.folder : undefined };
}

function bytesOf(record: WireRecord<"ModelProto">): Uint8Array {
	const { pieces, byteLength } = writeMessage(record, "ModelProto");
	if (byteLength > MAX_MODEL_BYTES) throw tooLarge(byteLength);
	return Buffer.concat(pieces.map((piece) => exactBytes(piece, 0, piece.byteLength)));
}

function* withOffsets(pieces: readonly TensorData[]): Generator<{ offset: number; data: TensorData }> {
	let offset = 0;
	for (const data of pieces) {
		yield { offset, data };
		offset += data.byteLength;
	}
}
