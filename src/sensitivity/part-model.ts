import type { Attribute } from "../ir/attribute.js";
import { Graph } from "../ir/graph.js";
import { Model } from "../ir/model.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import { DataType, tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { constantOf } from "../weights/constant.js";
import type { UnitPart } from "./find-sensitivity-units.js";

/** The operator set of these models: the first with 4-bit codes. The operators here are the same in all before. */
const OPSET = 21;

/** What a single operator of a unit reads. */
export interface OperatorInputs {
	readonly node: Node;
	/** Index of the input that is the constant; undefined where two activations are multiplied. */
	readonly weight: number | undefined;
	/** Indices of the activations, and what they are in the model. */
	readonly activations: readonly { readonly index: number; readonly value: Value }[];
}

/** Looks at an operator of a part: a bias is none of its inputs. */
export function operatorInputs(node: Node, { constant }: UnitPart): OperatorInputs {
	const weight = node.inputs.findIndex((value) => value !== undefined && value === constant?.value);
	const activations = node.inputs.slice(0, 2).flatMap((value, index) => {
		return value === undefined || index === weight ? [] : [{ index, value }];
	});
	return { node, weight: weight < 0 ? undefined : weight, activations };
}

/** The names of the inputs and the output of an {@link operatorModel}. */
export const WEIGHT = "weight";
export const OUTPUT = "y";
export function activationName(index: number): string {
	return `x${index}`;
}

/**
 * One operator by itself on floats, what it reads as inputs of the model, its bias left out.
 *
 * @param hasWeight is its constant in the model, and no input of it?
 */
export function operatorModel(
	{ node, weight, activations }: OperatorInputs,
	isInteger: (value: Value) => boolean,
	hasWeight: boolean,
): Model {
	const model = emptyModel();
	const { graph } = model;
	const inputs: Value[] = [];
	for (const { index, value } of activations) {
		const type = isInteger(value) ? DataType.INT64 : DataType.FLOAT;
		inputs[index] = graph.createValue(activationName(index), tensorType(type));
		graph.addInput(inputs[index]);
	}
	if (weight !== undefined) {
		const { tensor } = constantOf(node.inputs[weight])!;
		inputs[weight] = graph.createValue(WEIGHT, tensorType(DataType.FLOAT, tensor.shape));
		if (hasWeight) graph.setInitializer(inputs[weight], tensor);
		else graph.addInput(inputs[weight]);
	}
	const output = graph.createValue(OUTPUT, tensorType(DataType.FLOAT));
	copyOf(node, graph, inputs, output);
	graph.addOutput(output);
	return model;
}

/** The constant of a part with all its operators as they read it, for what quantizes weights to look at. */
export function constantModel({ operators, constant }: UnitPart): { readonly model: Model; readonly weight: Value } {
	const model = emptyModel();
	const { graph } = model;
	const weight = graph.createValue(constant!.value.name);
	graph.setInitializer(weight, constant!.tensor);
	for (const [number, node] of operators.entries()) {
		const inputs = node.inputs.slice(0, 2).map((value, index) => {
			if (value === constant!.value) return weight;
			return graph.createValue(`${activationName(index)} of ${number}`);
		});
		for (const input of inputs) if (input !== weight) graph.addInput(input);
		const output = graph.createValue(`${OUTPUT} of ${number}`);
		copyOf(node, graph, inputs, output).name = node.name;
		graph.addOutput(output);
	}
	return { model, weight };
}

/**
 * Takes everything out of a {@link constantModel} whose constant was quantized but what makes that constant: the outputs
 * are the constants that the operators read, FLOAT.
 *
 * @returns the name of the output for each operator.
 */
export function onlyConstants({ graph }: Model, { shape }: Tensor): string[] {
	const readers = [...graph.nodes].filter((node) => node.outputs.some((value) => value.isGraphOutput));
	const given = new Set(graph.inputs);
	const made = readers.map(({ inputs }) => inputs.find((value) => value !== undefined && !given.has(value))!);
	for (const node of readers) {
		for (const value of node.outputs) graph.removeOutput(value);
		node.remove();
	}
	for (const input of given) graph.removeInput(input);
	const outputs = new Map([...new Set(made)].map((value) => [value, uncast(value)] as const));
	for (const value of outputs.values()) {
		value.type = tensorType(DataType.FLOAT, shape);
		graph.addOutput(value);
	}
	return made.map((value) => outputs.get(value)!.name);
}

/** Codes of a constant with 16 bits are dequantized to 32 and cast then. */
function uncast(value: Value): Value {
	const cast = value.producer;
	const source = cast !== undefined && isOnnxOp(cast, "Cast") ? cast.inputs[0] : undefined;
	if (source?.producer === undefined || !isOnnxOp(source.producer, "DequantizeLinear")) return value;
	cast!.remove();
	return source;
}

function emptyModel(): Model {
	const model = new Model(new Graph("part"));
	model.opsetImports.set("", OPSET);
	return model;
}

function copyOf({ op, attributes }: Node, graph: Graph, inputs: readonly Value[], output: Value): Node {
	const copied: Map<string, Attribute> = new Map(attributes);
	return graph.createNode({ op, inputs, outputs: [output], attributes: copied });
}
