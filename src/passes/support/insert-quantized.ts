import { type Attribute, intAttribute } from "../../ir/attribute.js";
import { computedData } from "../../ir/data.js";
import type { Graph } from "../../ir/graph.js";
import type { NameScope } from "../../ir/names.js";
import type { Node } from "../../ir/node.js";
import { type Tensor, tensor } from "../../ir/tensor.js";
import { bitsPerElement, DataType, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { addConstant, type Constant, removeIfUnused } from "../../weights/constant.js";

/** An input of a node that reads a float constant. */
export interface ConstantUse {
	readonly node: Node;
	readonly input: number;
}

/** Codes and scales in place of a float constant, as one DequantizeLinear reads them. */
export interface QuantizedConstant {
	readonly codes: Tensor;
	/** FLOAT. */
	readonly scales: Tensor;
	/** undefined where one scale serves all. */
	readonly axis: number | undefined;
	/** 0 where scales are not blocked. */
	readonly blockSize: number;
}

/**
 * Makes `uses` of the float constant read DequantizeLinear(codes, scales, zero points of 0) instead, followed by a Cast
 * where the constant was not FLOAT. Who else reads the constant goes on doing so.
 *
 * @returns the DequantizeLinear nodes, one a graph.
 */
export function insertDequantization(
	constant: Constant,
	uses: readonly ConstantUse[],
	quantized: QuantizedConstant,
	names: NameScope,
): Node[] {
	const { name } = constant.value;
	const home = constant.value.graph;
	const before = constant.value.producer ?? uses[0]!.node;
	const add = (suffix: string, value: Tensor) => addConstant(home, names.fresh(name + suffix), value, before);
	const codes = add("_quantized", quantized.codes);
	const scales = add("_scale", quantized.scales);
	const zeros = add("_zero_point", zerosLike(quantized));
	const attributes: Record<string, Attribute> = {};
	if (quantized.axis !== undefined) attributes.axis = intAttribute(quantized.axis);
	if (quantized.blockSize > 0) attributes.block_size = intAttribute(quantized.blockSize);
	const byGraph = new Map<Graph, { node: Node; output: Value }>();
	for (const { node, input } of uses) {
		const graph = node.graph!;
		let made = byGraph.get(graph);
		if (made === undefined) {
			made = insertInto(graph, node);
			byGraph.set(graph, made);
		}
		node.setInput(input, made.output);
	}
	removeIfUnused(constant.value);
	return [...byGraph.values()].map(({ node }) => node);

	function insertInto(graph: Graph, reader: Node): { node: Node; output: Value } {
		const output = graph.createValue(names.fresh(`${name}_dequantized`));
		const node = graph.createNode(
			{
				op: "DequantizeLinear",
				name: names.fresh(`${name}_DQ`),
				inputs: [codes, scales, zeros],
				outputs: [output],
				attributes,
			},
			reader,
		);
		const { dtype } = constant.tensor;
		if (dtype === DataType.FLOAT) return { node, output };
		return { node, output: insertCast(graph, output, dtype, names, reader) };
	}
}

/** Makes `uses` of the constant read `stored`, of another float type, through a Cast. */
export function insertNarrowed(
	constant: Constant,
	uses: readonly ConstantUse[],
	stored: Tensor,
	names: NameScope,
): void {
	const home = constant.value.graph;
	const before = constant.value.producer ?? uses[0]!.node;
	const value = addConstant(home, names.fresh(`${constant.value.name}_fp16`), stored, before);
	const byGraph = new Map<Graph, Value>();
	for (const { node, input } of uses) {
		const graph = node.graph!;
		const cast = byGraph.get(graph) ?? insertCast(graph, value, constant.tensor.dtype, names, node);
		byGraph.set(graph, cast);
		node.setInput(input, cast);
	}
	removeIfUnused(constant.value);
}

function insertCast(graph: Graph, value: Value, dtype: DataType, names: NameScope, before: Node): Value {
	const output = graph.createValue(names.fresh(`${value.name}_cast`));
	const name = names.fresh(`${value.name}_Cast`);
	graph.createNode(
		{ op: "Cast", name, inputs: [value], outputs: [output], attributes: { to: intAttribute(dtype) } },
		before,
	);
	return output;
}

function zerosLike({ codes, scales }: QuantizedConstant): Tensor {
	const byteLength = Math.ceil((elementCount(scales.shape) * bitsPerElement(codes.dtype)!) / 8);
	const zeros = computedData(byteLength, (start, end) => new Uint8Array(end - start));
	return tensor(codes.dtype, scales.shape, zeros);
}
