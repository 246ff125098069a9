import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { isElementType } from "../arrays/element-type.js";
import { bytesOf } from "../ir/tensor.js";
import { loadRuntime, type OnnxRuntime, type Tensor, tensorOf } from "./onnx-runtime.js";
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

/**
 * All graph optimizations are off: they replace DequantizeLinear and MatMul by a kernel that rounds activations to 8 bits,
 * which is no reference.
 */
async function runModel(runtime: OnnxRuntime, job: SessionJob, emit: (event: SessionEvent) => void): Promise<void> {
	let start = performance.now();
	const session = await runtime.InferenceSession.create(job.model, {
		executionProviders: ["cpu"],
		graphOptimizationLevel: "disabled",
		freeDimensionOverrides: job.dimensions,
		logSeverityLevel: 3,
	});
	emit({ event: "loaded", seconds: (performance.now() - start) / 1000 });
	for (const [sample, inputs] of job.samples.entries()) {
		const feeds: Record<string, Tensor> = {};
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

async function tensorFrom(runtime: OnnxRuntime, { type, shape, file }: TensorFile): Promise<Tensor> {
	return tensorOf(runtime, { type, shape, bytes: new Uint8Array(await readFile(file)) });
}
