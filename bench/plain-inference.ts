/* Runs a model on random samples as any program would, with the default settings of onnxruntime-node: model, count, dimensions. */
import type * as OnnxRuntime from "onnxruntime-node";
import { fixShapes, openSamples, readModel, runPasses } from "qgraph";

const runtime: typeof OnnxRuntime = await import("onnxruntime-node");
const [file, count, ...dimensions] = process.argv.slice(2);
const model = await readModel(file!);
await runPasses(model, [fixShapes({ dim: dimensions })]);
const session = await runtime.InferenceSession.create(file!, { logSeverityLevel: 3 });

const ARRAYS = { float32: Float32Array, int64: BigInt64Array, int32: Int32Array, uint8: Uint8Array, bool: Uint8Array };

for await (const { arrays } of openSamples(model, [`random:${count}`]).samples(0)) {
	const feeds: Record<string, OnnxRuntime.Tensor> = {};
	for (const [name, { type, shape, bytes }] of arrays) {
		const elements = new ARRAYS[type as keyof typeof ARRAYS](Uint8Array.from(bytes).buffer);
		feeds[name] = new runtime.Tensor(type as "float32", elements as Float32Array, shape);
	}
	await session.run(feeds);
}
await session.release();
