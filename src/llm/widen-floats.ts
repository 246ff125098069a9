import path from "node:path";
import type { Model } from "../ir/model.js";
import { DataType } from "../ir/types.js";
import { readModel, writeModel } from "../onnx/file.js";
import { type FloatReaders, makeFloats } from "../passes/support/float-types.js";
import { decodeBfloat16, decodeFloat16 } from "../quant/float16.js";

const READERS: FloatReaders = {
	[DataType.FLOAT16]: { bytes: 2, decode: decodeFloat16 },
	[DataType.BFLOAT16]: { bytes: 2, decode: decodeBfloat16 },
};

/** The half floats that a model computes in, BFLOAT16 where it has both; undefined for a model of FLOAT. */
export function halfFloatsOf({ graph }: Model): DataType | undefined {
	const types = new Set<DataType | undefined>();
	for (const { initializer } of graph.initializers) types.add(initializer?.dtype);
	for (const { type } of graph.inputs) if (type?.kind === "tensor") types.add(type.elementType);
	return [DataType.BFLOAT16, DataType.FLOAT16].find((type) => types.has(type));
}

/** Writes a model of half floats as one of FLOAT with the same values into `folder`; returns the name of its file. */
export async function widenModel(file: string, folder: string, signal?: AbortSignal): Promise<string> {
	const model = await readModel(file);
	widenFloats(model);
	const name = path.basename(file);
	await writeModel(model, path.join(folder, name), { externalData: "one-file", ...(signal && { signal }) });
	return name;
}

/** Makes every FLOAT16 and BFLOAT16 of a model FLOAT, constants too, which are widened when they are read. */
export function widenFloats(model: Model): void {
	makeFloats(model, READERS);
}
