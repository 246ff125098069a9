/** Payloads above this many bytes are located and left on disk; below, a copy costs less than the bookkeeping. */
export const LIFT_THRESHOLD = 4096;

/** C++ protobuf, and so every ONNX runtime, stops at 100 nested messages; twice that reads all they read. */
export const MAX_MESSAGE_DEPTH = 200;

/** Bytes of structure (everything but lifted payloads) that are read; the largest public models have some 20 MiB. */
export const MAX_STRUCTURE_BYTES = 512 * 2 ** 20;

/** Messages, strings and numbers in the structure, each of which becomes an object; a million nodes need about 10 million. */
export const MAX_STRUCTURE_ITEMS = 16_000_000;

/** A serialized protobuf message may have at most this many bytes. */
export const MAX_MODEL_BYTES = 2 ** 31 - 1;

/** ONNX's own tools leave tensors below this many bytes inside the model file. */
export const MIN_EXTERNAL_BYTES = 1024;

/** Offsets in data files are multiples of this, so that runtimes can map them. */
export const EXTERNAL_ALIGNMENT = 4096;

/** Inline weights move to external data when less than this is left of MAX_MODEL_BYTES for everything else. */
export const STRUCTURE_RESERVE = 64 * 2 ** 20;
