import type * as Runtime from "onnxruntime-node";
import type { ElementType } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { QGraphError } from "../diagnostics.js";
import { loadOptional } from "./load-optional.js";

export type OnnxRuntime = typeof Runtime;
export type Tensor = Runtime.Tensor;
export type InferenceSession = Runtime.InferenceSession;

/**
 * Has ONNX Runtime tell nobody what it runs, unless the environment says otherwise. To be called before it is loaded, and
 * by the main thread, as the environment of other threads is a copy.
 */
export function disableTelemetry(): void {
	process.env.ORT_DISABLE_TELEMETRY ??= "1";
}

/** onnxruntime-node as qgraph finds it, or as the folder that the user works in has it; undefined where neither has. */
export async function loadRuntime(workingFolder: string): Promise<OnnxRuntime | undefined> {
	disableTelemetry();
	return (await loadOptional("onnxruntime-node", workingFolder)) as OnnxRuntime | undefined;
}

/** The error that says that onnxruntime-node is not installed. */
export function missingRuntime(): QGraphError {
	return new QGraphError(
		"runtime/missing",
		"the package 'onnxruntime-node', which runs models on the CPU, is not installed; run 'npm install onnxruntime-node' (everything but running models works without it)",
	);
}

const ARRAYS = {
	float32: Float32Array,
	float64: Float64Array,
	float16: Uint16Array,
	int8: Int8Array,
	uint8: Uint8Array,
	int16: Int16Array,
	uint16: Uint16Array,
	int32: Int32Array,
	uint32: Uint32Array,
	int64: BigInt64Array,
	uint64: BigUint64Array,
	bool: Uint8Array,
} as const satisfies Record<ElementType, new (buffer: ArrayBuffer) => ArrayBufferView>;

/** An array as the runtime takes it. Bytes that fill their buffer are not copied. */
export function tensorOf(runtime: OnnxRuntime, { type, shape, bytes }: NumpyArray): Tensor {
	const isWhole = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength;
	const buffer = (isWhole ? bytes : new Uint8Array(bytes)).buffer as ArrayBuffer;
	return new runtime.Tensor(type, new ARRAYS[type](buffer), shape);
}
