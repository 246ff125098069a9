import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { Tensor } from "onnxruntime-node";
import { bytesFrom, type ElementType, elementTypeOf } from "../../src/arrays/element-type.js";
import { readAll } from "../../src/ir/data.js";
import type { Model } from "../../src/ir/model.js";
import type { Tensor as StoredTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { memorySource } from "../../src/onnx/byte-source.js";
import { decodeTensor } from "../../src/onnx/tensor-codec.js";
import { readMessage } from "../../src/onnx/wire-reader.js";
import { inputsOf } from "../../src/runtime/model-inputs.js";
import { randomValues } from "../../src/runtime/random-inputs.js";
import type { Tensors } from "./ort.js";

/**
 * Random inputs that suit each input, as `verify` makes them.
 *
 * @param lengthOf the length of a dimension that the model leaves open, by its name or as `input:axis`.
 */
export function suitableFeeds(model: Model, lengthOf: (dimension: string) => number): Tensors {
	return Object.fromEntries(
		inputsOf(model).map((input) => {
			const shape = (input.shape ?? []).map((dimension, axis) => {
				if (typeof dimension === "number" && dimension >= 0) return dimension;
				return lengthOf(typeof dimension === "string" ? dimension : `${input.name}:${axis}`);
			});
			return [input.name, feed(input.type, shape, bytesFrom(input.type, randomValues(input, shape, 0, 0)))];
		}),
	);
}

/** The inputs in the folder `test_data_set_0` beside a model, as ONNX's own tests have them; undefined where there are none. */
export function storedFeeds(file: string, model: Model): Tensors | undefined {
	const folder = path.join(file, "..", "test_data_set_0");
	if (!existsSync(folder)) return undefined;
	const count = readdirSync(folder).filter((name) => name.startsWith("input_")).length;
	const inputs = model.graph.inputs.slice(0, count);
	if (inputs.length < inputsOf(model).length) return undefined;
	return Object.fromEntries(
		inputs.map(({ name }, index) => {
			const bytes = readFileSync(path.join(folder, `input_${index}.pb`));
			const tensor = decodeTensor(readMessage(memorySource(bytes), "TensorProto"), undefined);
			if (tensor.dtype === DataType.STRING) return [name, new Tensor("string", textsOf(tensor), tensor.shape)];
			const type = elementTypeOf(tensor.dtype);
			if (type === undefined) throw new Error(`input '${name}' is of a type that ONNX Runtime does not take`);
			return [name, feed(type, tensor.shape, readAll(tensor.data))];
		}),
	);
}

function textsOf({ strings = [] }: StoredTensor): string[] {
	return strings.map((bytes) => new TextDecoder().decode(bytes));
}

/** The arrays in which onnxruntime-node takes elements. */
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
} as const satisfies Record<ElementType, unknown>;

function feed(type: ElementType, shape: readonly number[], bytes: Uint8Array): Tensor {
	return new Tensor(type, new ARRAYS[type](bytes.slice().buffer), shape);
}
