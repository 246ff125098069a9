import { intAttribute, intOf, tensorAttribute } from "../../ir/attribute.js";
import { computedData } from "../../ir/data.js";
import type { Graph } from "../../ir/graph.js";
import type { Model } from "../../ir/model.js";
import { isStandardDomain, type Node } from "../../ir/node.js";
import { bytesOf, type Tensor, tensor } from "../../ir/tensor.js";
import { DataType, tensorType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { allGraphs } from "../../ir/walk.js";

/** How elements of a float type are read. */
export interface FloatReader {
	readonly bytes: number;
	decode(bytes: Uint8Array): Float32Array;
}

export type FloatReaders = Readonly<Partial<Record<DataType, FloatReader>>>;

/** Attributes of standard operators that name the element type of a result, or of what they compute in. */
export const TYPE_ATTRIBUTES = ["to", "dtype", "output_dtype", "output_datatype", "stash_type"];

/** Makes every type of `readers` in a model FLOAT: of values, constants, which are converted when they are read, and operators. */
export function makeFloats(model: Model, readers: FloatReaders): void {
	for (const { graph } of [...allGraphs(model)]) {
		for (const value of valuesIn(graph)) retype(value, readers);
		for (const value of [...graph.initializers]) {
			const floats = value.initializer && floatsOf(value.initializer, readers);
			if (floats !== undefined) graph.setInitializer(value, floats);
		}
		for (const node of [...graph.nodes]) retypeNode(node, readers);
	}
}

function valuesIn({ inputs, outputs, initializers, valueInfo, nodes }: Graph): Set<Value> {
	const values = new Set([...inputs, ...outputs, ...initializers, ...valueInfo]);
	for (const node of nodes) for (const output of node.outputs) values.add(output);
	return values;
}

function retype(value: Value, readers: FloatReaders): void {
	const { type } = value;
	if (type?.kind === "tensor" && readers[type.elementType] !== undefined)
		value.type = tensorType(DataType.FLOAT, type.shape);
}

function retypeNode(node: Node, readers: FloatReaders): void {
	for (const [name, attribute] of node.attributes) {
		const floats = attribute.kind === "tensor" ? floatsOf(attribute.value, readers) : undefined;
		if (floats !== undefined) node.attributes.set(name, tensorAttribute(floats));
	}
	if (!isStandardDomain(node.op.domain)) return;
	for (const name of TYPE_ATTRIBUTES) {
		if (readers[intOf(node, name, 0) as DataType] !== undefined)
			node.attributes.set(name, intAttribute(DataType.FLOAT));
	}
}

/** As FLOAT; undefined for another type than those of `readers`. */
function floatsOf({ dtype, shape, data }: Tensor, readers: FloatReaders): Tensor | undefined {
	const reader = readers[dtype];
	if (reader === undefined) return undefined;
	const count = data.byteLength / reader.bytes;
	const floats = computedData(count * 4, (start, end) => {
		const [first, last] = [Math.floor(start / 4), Math.ceil(end / 4)];
		const values = reader.decode(data.read(first * reader.bytes, last * reader.bytes));
		return bytesOf(values).subarray(start - first * 4, end - first * 4);
	});
	return tensor(DataType.FLOAT, shape, floats);
}
