import { getHeapStatistics } from "node:v8";
import type { MessageName } from "./schema.js";

/** Payloads above this many bytes are located and left on disk; below, a copy costs less than the bookkeeping. */
export const LIFT_THRESHOLD = 4096;

/** C++ protobuf, and so every ONNX runtime, stops at 100 nested messages; twice that reads all they read. */
export const MAX_MESSAGE_DEPTH = 200;

/**
 * Bytes of memory that a message takes while a model is read and written again, as a record and as an object of the IR:
 * measured, and rounded up.
 */
const MESSAGE_COSTS: Readonly<Partial<Record<MessageName, number>>> = {
	NodeProto: 1200,
	AttributeProto: 350,
	TensorProto: 1000,
	SparseTensorProto: 1700,
	ValueInfoProto: 600,
	GraphProto: 1400,
	FunctionProto: 2200,
	TrainingInfoProto: 450,
	TensorAnnotation: 400,
};

export function messageCost(name: MessageName): number {
	return MESSAGE_COSTS[name] ?? 256;
}

/** The same for a number, a string (its length comes on top), a name that becomes a value, and a payload's bookkeeping. */
export const NUMBER_COST = 96;
export const STRING_COST = 200;
export const NAME_COST = 450;
export const PAYLOAD_COST = 300;

/** Memory that a model's structure may take, for a small hostile file can unfold to any size. */
export function structureBudget(): number {
	return getHeapStatistics().heap_size_limit * 0.8;
}

/** A serialized protobuf message may have at most this many bytes. */
export const MAX_MODEL_BYTES = 2 ** 31 - 1;

/** ONNX's own tools leave tensors below this many bytes inside the model file. */
export const MIN_EXTERNAL_BYTES = 1024;

/** Offsets in data files are multiples of this, so that runtimes can map them. */
export const EXTERNAL_ALIGNMENT = 4096;
