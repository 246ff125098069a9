import path from "node:path";
import { intAttribute, intOf, tensorAttribute } from "../ir/attribute.js";
import { computedData } from "../ir/data.js";
import type { Graph } from "../ir/graph.js";
import type { Model } from "../ir/model.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { bytesOf, type Tensor, tensor } from "../ir/tensor.js";
import { DataType, tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allGraphs } from "../ir/walk.js";
import { readModel, writeModel } from "../onnx/file.js";
import { decodeBfloat16, decodeFloat16 } from "../quant/float16.js";

const DECODERS: Readonly<Partial<Record<DataType, (bytes: Uint8Array) => Float32Array>>> = {
	[DataType.FLOAT16]: decodeFloat16,
	[DataType.BFLOAT16]: decodeBfloat16,
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
	for (const { graph } of [...allGraphs(model)]) {
		for (const value of valuesIn(graph)) widenType(value);
		for (const value of [...graph.initializers]) {
			const wide = value.initializer && widened(value.initializer);
			if (wide !== undefined) graph.setInitializer(value, wide);
		}
		for (const node of [...graph.nodes]) widenNode(node);
	}
}

function valuesIn({ inputs, outputs, initializers, valueInfo, nodes }: Graph): Set<Value> {
	const values = new Set([...inputs, ...outputs, ...initializers, ...valueInfo]);
	for (const node of nodes) for (const output of node.outputs) values.add(output);
	return values;
}

function widenType(value: Value): void {
	const { type } = value;
	if (type?.kind === "tensor" && DECODERS[type.elementType] !== undefined)
		value.type = tensorType(DataType.FLOAT, type.shape);
}

/** Constants in attributes, and casts to half floats. */
function widenNode(node: Node): void {
	for (const [name, attribute] of node.attributes) {
		const wide = attribute.kind === "tensor" ? widened(attribute.value) : undefined;
		if (wide !== undefined) node.attributes.set(name, tensorAttribute(wide));
	}
	if (!isOnnxOp(node, "Cast")) return;
	if (DECODERS[intOf(node, "to", 0) as DataType] !== undefined) node.attributes.set("to", intAttribute(DataType.FLOAT));
}

/** As FLOAT; undefined for what is no half float. */
function widened({ dtype, shape, data }: Tensor): Tensor | undefined {
	const decode = DECODERS[dtype];
	if (decode === undefined) return undefined;
	const floats = computedData(data.byteLength * 2, (start, end) => {
		const [first, last] = [Math.floor(start / 4), Math.ceil(end / 4)];
		return bytesOf(decode(data.read(first * 2, last * 2))).subarray(start - first * 4, end - first * 4);
	});
	return tensor(DataType.FLOAT, shape, floats);
}
