import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import type * as OnnxRuntime from "onnxruntime-node";
import { type ElementType, isElementType } from "../arrays/element-type.js";
import { bytesOf } from "../ir/tensor.js";
import type { SessionEvent, SessionJob, TensorFile } from "./session.js";

export interface CpuSessionJob extends SessionJob {
	/** The folder that the user works in: onnxruntime-node may be installed there. */
	readonly workingFolder: string;
}

/** Loads and runs a model with onnxruntime-node, telling `emit` how it goes. Throws only for bugs. */
export async function runCpuSession(job: CpuSessionJob, emit: (event: SessionEvent) => void): Promise<void> {
	const runtime = await loadRuntime(job.workingFolder);
	if (runtime === undefined) return emit({ event: "missing" });
	try {
		await runModel(runtime, job, emit);
		emit({ event: "done" });
	} catch (error) {
		emit({ event: "error", message: error instanceof Error ? error.message : String(error) });
	}
}

/** onnxruntime-node as qgraph finds it, or as the folder that the user works in has it; undefined where neither has. */
async function loadRuntime(workingFolder: string): Promise<typeof OnnxRuntime | undefined> {
	try {
		return await import("onnxruntime-node");
	} catch (error) {
		if (!isNotFound(error)) throw error;
	}
	try {
		const found = createRequire(path.join(workingFolder, "x")).resolve("onnxruntime-node");
		return await import(pathToFileURL(found).href);
	} catch (error) {
		if (!isNotFound(error)) throw error;
		return undefined;
	}
}

function isNotFound(error: unknown): boolean {
	const code = error instanceof Error && "code" in error ? error.code : undefined;
	return code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND";
}

/**
 * All graph optimizations are off: they replace DequantizeLinear and MatMul by a kernel that rounds activations to 8 bits,
 * which is no reference.
 */
async function runModel(
	runtime: typeof OnnxRuntime,
	job: SessionJob,
	emit: (event: SessionEvent) => void,
): Promise<void> {
	let start = performance.now();
	const session = await runtime.InferenceSession.create(job.model, {
		executionProviders: ["cpu"],
		graphOptimizationLevel: "disabled",
		freeDimensionOverrides: job.dimensions,
		logSeverityLevel: 3,
	});
	emit({ event: "loaded", seconds: (performance.now() - start) / 1000 });
	for (const [sample, inputs] of job.samples.entries()) {
		const feeds: Record<string, OnnxRuntime.Tensor> = {};
		for (const input of inputs) {
			if (session.inputNames.includes(input.name)) feeds[input.name] = await tensorFrom(runtime, input);
		}
		start = performance.now();
		const results = await session.run(feeds);
		const seconds = (performance.now() - start) / 1000;
		const outputs: TensorFile[] = [];
		for (const [index, name] of session.outputNames.entries()) {
			const output = results[name];
			if (!(output instanceof runtime.Tensor) || !isElementType(output.type) || !ArrayBuffer.isView(output.data))
				continue;
			const file = path.join(job.folder, `${sample}-${index}.bin`);
			await writeFile(file, bytesOf(output.data));
			outputs.push({ name, type: output.type, shape: [...output.dims], file });
		}
		emit({ event: "ran", sample, seconds, outputs });
	}
	await session.release();
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

async function tensorFrom(runtime: typeof OnnxRuntime, { type, shape, file }: TensorFile): Promise<OnnxRuntime.Tensor> {
	const bytes = new Uint8Array(await readFile(file));
	return new runtime.Tensor(type, new ARRAYS[type](bytes.buffer), shape);
}
