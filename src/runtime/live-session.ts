import { bytesPerElement, isElementType, numbersOf } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { bytesOf } from "../ir/tensor.js";
import {
	type InferenceSession,
	loadRuntime,
	missingRuntime,
	type OnnxRuntime,
	type Tensor,
	tensorOf,
} from "./onnx-runtime.js";

export interface LiveSessionOptions {
	/** Threads of an operator; all cores when left out. */
	readonly threads?: number | undefined;
	/** Where the data files are that the bytes of a model point to. */
	readonly dataFolder?: string | undefined;
	/**
	 * Put weights into the order that kernels like best, which is a copy of them, or, for MatMulNBits, what makes it fast.
	 * Without it weights of a data file stay there, where the system may drop them from memory. Default true.
	 */
	readonly prepacks?: boolean | undefined;
	/**
	 * Keep the memory of values for the next run, in one piece, which is up to twice what they take at a time. Without it a
	 * large network takes half as much, and no longer. Default true.
	 */
	readonly pools?: boolean | undefined;
}

/** A model that is loaded in ONNX Runtime in this process, exactly as it is written: all graph optimizations are off. */
export class LiveSession {
	readonly #runtime: OnnxRuntime;
	readonly #session: InferenceSession;

	private constructor(runtime: OnnxRuntime, session: InferenceSession) {
		this.#runtime = runtime;
		this.#session = session;
	}

	/** Rejects with `runtime/missing` where onnxruntime-node is not installed, and with what the runtime says of a model. */
	static async open(
		model: string | Uint8Array,
		{ threads, dataFolder, prepacks = true, pools = true }: LiveSessionOptions = {},
	): Promise<LiveSession> {
		const runtime = await loadRuntime(process.cwd());
		if (runtime === undefined) throw missingRuntime();
		const options = {
			executionProviders: ["cpu"],
			graphOptimizationLevel: "disabled",
			logSeverityLevel: 4,
			enableCpuMemArena: pools,
			enableMemPattern: pools,
			...(threads === undefined ? {} : { intraOpNumThreads: threads }),
			extra: {
				session: {
					...(prepacks ? {} : { disable_prepacking: "1" }),
					...(dataFolder === undefined ? {} : { model_external_initializers_file_folder_path: dataFolder }),
				},
			},
		} as const;
		const { InferenceSession } = runtime;
		const session = await (typeof model === "string"
			? InferenceSession.create(model, options)
			: InferenceSession.create(model, options));
		return new LiveSession(runtime, session);
	}

	/**
	 * Runs the model once; the outputs by name, those that are no tensors of numbers left out.
	 *
	 * @param wanted names of the outputs; all when left out.
	 */
	async run(inputs: ReadonlyMap<string, NumpyArray>, wanted?: readonly string[]): Promise<Map<string, NumpyArray>> {
		const feeds: Record<string, Tensor> = {};
		for (const [name, array] of inputs) feeds[name] = tensorOf(this.#runtime, array);
		const names = wanted ?? this.#session.outputNames;
		const results = await this.#session.run(feeds, names);
		const outputs = new Map<string, NumpyArray>();
		for (const name of names) {
			const output = results[name];
			if (!(output instanceof this.#runtime.Tensor) || !isElementType(output.type) || !ArrayBuffer.isView(output.data))
				continue;
			outputs.set(name, { type: output.type, shape: output.dims, bytes: bytesOf(output.data) });
		}
		return outputs;
	}

	async close(): Promise<void> {
		await this.#session.release();
	}
}

/** The elements of an array as float32, in the array's own memory where they are that. */
export function floatsOf({ type, bytes }: NumpyArray): Float32Array {
	const isAligned = bytes.byteOffset % bytesPerElement(type) === 0;
	if (type === "float32" && isAligned) return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
	return Float32Array.from(numbersOf(type, new Uint8Array(bytes).buffer));
}
