import type { Model } from "../../ir/model.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { int64Tensor } from "../../ir/tensor.js";
import { tensorType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { addConstant } from "../../weights/constant.js";
import { addQdq, encodingAt, encodingBehind } from "./qdq.js";
import { replaceValue } from "./replace-value.js";

/** The shapes between which an operator is put. */
export interface Reshaping {
	/** Of what the operator is to read. */
	readonly input: readonly number[];
	/** Of what it makes of that. */
	readonly result: readonly number[];
	/** Of what it made before, which its readers get. */
	readonly output: readonly number[];
}

/**
 * `DQ -> node -> Q` -> `DQ -> Reshape -> Q -> DQ -> node -> Q -> DQ -> Reshape -> Q`, each pair in the encoding of its
 * neighbour; where there is none on a side, a Reshape alone. With `isView` nothing is quantized behind the operator: for
 * MatMuls, which take a Reshape in front of their quantizer.
 */
export function reshapeAround(model: Model, node: Node, shapes: Reshaping, names: NameScope, isView = false): void {
	reshapeInput(node, 0, shapes.input, names);
	reshapeBehind(model, node, shapes, names, isView);
}

/** `node` reads its input `index` as `shape`, and in the encoding that it has. */
export function reshapeInput(node: Node, index: number, shape: readonly number[], names: NameScope): void {
	const graph = node.graph!;
	const input = node.inputs[index]!;
	const flat = graph.createValue(names.fresh(`${input.name}_matrix`));
	addReshape(node, { from: input, to: flat, shape, name: input.name, suffix: "flatten" }, names, node);
	const encoding = encodingBehind(input);
	node.setInput(index, encoding === undefined ? flat : addQdq(graph, flat, encoding, names, node));
}

/**
 * `node -> Q` -> `node -> Q -> DQ -> Reshape -> Q`: readers get the shape `output` of what has the shape `result` now. With
 * `isView`, or where nothing is quantized, a Reshape alone.
 *
 * @param output of the node, the first by default.
 */
export function reshapeBehind(
	model: Model,
	node: Node,
	shapes: Pick<Reshaping, "result" | "output">,
	names: NameScope,
	isView = false,
	output = node.outputs[0]!,
): void {
	const graph = node.graph!;
	const quantizer = isView ? undefined : output.uses.find((use) => isOnnxOp(use.node, "QuantizeLinear"))?.node;
	const behind = quantizer && encodingAt(quantizer);
	const result = graph.createValue(names.fresh(`${output.name}_reshaped`));
	const { name, type } = output;
	const before = node.next;
	replaceValue(model, output, result, names.fresh(`${output.name}_matrix`));
	output.type = type?.kind === "tensor" ? tensorType(type.elementType, shapes.result) : type;
	const rounded = behind === undefined ? output : addQdq(graph, output, behind, names, before);
	addReshape(node, { from: rounded, to: result, shape: shapes.output, name, suffix: "unflatten" }, names, before);
}

interface Reshape {
	readonly from: Value;
	readonly to: Value;
	readonly shape: readonly number[];
	/** Of the value that it is about. */
	readonly name: string;
	readonly suffix: string;
}

/** A Reshape in front of `before`, named for `node`. */
export function addReshape(
	{ graph, name: nodeName }: Node,
	{ from, to, shape, name, suffix }: Reshape,
	names: NameScope,
	before: Node | undefined,
): void {
	const target = addConstant(graph!, names.fresh(`${name}_shape`), int64Tensor([shape.length], shape), before);
	const label = names.fresh(`${nodeName || name}_${suffix}`);
	graph!.createNode({ op: "Reshape", name: label, inputs: [from, target], outputs: [to] }, before);
}
