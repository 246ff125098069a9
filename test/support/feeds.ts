import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import * as runtime from "onnxruntime-node";
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
import { tensorOf } from "../../src/runtime/onnx-runtime.js";
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

function feed(type: ElementType, shape: readonly number[], bytes: Uint8Array): Tensor {
	return tensorOf(runtime, { type, shape: [...shape], bytes: Uint8Array.from(bytes) });
}
