import { InferenceSession, type OnnxValue, Tensor } from "onnxruntime-node";

/** What a model gets or gives, by the names of its inputs or outputs. */
export type Tensors = Readonly<Record<string, Tensor>>;

/**
 * Runs a model in ONNX Runtime on the CPU as it is written: without graph optimizations, which would replace
 * DequantizeLinear and MatMul by a kernel that rounds activations to 8 bits.
 *
 * @param model the bytes of a model file, or its path where weights are in files beside it.
 */
export async function run(model: Uint8Array | string, feeds: Tensors): Promise<Tensors> {
	const options: InferenceSession.SessionOptions = {
		executionProviders: ["cpu"],
		graphOptimizationLevel: "disabled",
		logSeverityLevel: 3,
	};
	const session = await (typeof model === "string"
		? InferenceSession.create(model, options)
		: InferenceSession.create(model, options));
	try {
		const outputs: Record<string, OnnxValue> = await session.run(feeds);
		return Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, asTensor(name, value)]));
	} finally {
		await session.release();
	}
}

function asTensor(name: string, value: OnnxValue): Tensor {
	if (value instanceof Tensor) return value;
	throw new Error(`output '${name}' is no tensor`);
}

/** The values of a float tensor; throws where it has another type. */
export function floatsOf(tensor: Tensor | undefined): Float32Array {
	if (tensor?.data instanceof Float32Array) return tensor.data;
	throw new Error(`expected a float tensor, found ${tensor?.type}`);
}

export function floatFeed(shape: readonly number[], values: Float32Array): Tensor {
	return new Tensor("float32", values, shape);
}

export function boolFeed(value: boolean): Tensor {
	return new Tensor("bool", [value], []);
}

/** How close `actual` is to `reference`, 10 log10(sum of reference^2 / sum of difference^2); Infinity where they are equal. */
export function sqnrDb(reference: ArrayLike<number>, actual: ArrayLike<number>): number {
	if (reference.length !== actual.length) throw new Error(`${actual.length} values instead of ${reference.length}`);
	let signal = 0;
	let noise = 0;
	for (let index = 0; index < reference.length; index++) {
		signal += reference[index]! ** 2;
		noise += (reference[index]! - actual[index]!) ** 2;
	}
	if (noise === 0) return Number.POSITIVE_INFINITY;
	return Number.isNaN(noise) ? Number.NEGATIVE_INFINITY : 10 * Math.log10(signal / noise);
}
