import { subgraphsOf } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { DataType, tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { encodingAt } from "../passes/support/qdq.js";
import type { Measured } from "./compare.js";

/** A tensor of a model that can be had as an output, and how its integers stand for real numbers. */
export interface Probe {
	readonly value: Value;
	readonly encoding: Measured["encoding"];
}

/** A value that two models have in common. */
export interface CommonValue {
	readonly name: string;
	/** The node of the converted model that computes it. */
	readonly node: Node;
	readonly reference: Probe;
	readonly converted: Probe;
}

/** How an output can be read: integers that a QuantizeLinear made are decoded. */
export function outputProbe(value: Value): Probe {
	const { producer } = value;
	return {
		value,
		encoding: producer !== undefined && isOnnxOp(producer, "QuantizeLinear") ? encodingAt(producer) : undefined,
	};
}

/**
 * The float values of the main graphs that both models compute from their inputs under the same name, in the order of the
 * converted model. What is only quantized in both is taken as integers: what these do not keep is not wrong. Where
 * `isQuantized`, all values are taken as integers where they become such: a float output between an operator and its
 * QuantizeLinear would keep the two from being compiled into one.
 */
export function commonValues(reference: Model, converted: Model, isQuantized: boolean): CommonValue[] {
	const originals = new Map(computedValues(reference).map((value) => [value.name, value] as const));
	const common: CommonValue[] = [];
	for (const value of computedValues(converted)) {
		const original = originals.get(value.name);
		if (original === undefined) continue;
		const asIntegers = isQuantized || (isOnlyQuantized(original) && isOnlyQuantized(value));
		common.push({
			name: value.name,
			node: value.producer!,
			reference: asIntegers ? integersOf(original) : { value: original, encoding: undefined },
			converted: asIntegers ? integersOf(value) : { value, encoding: undefined },
		});
	}
	return common;
}

/** Adds probed values to the outputs of their model. */
export function exposeProbes(model: Model, probes: readonly Probe[]): void {
	for (const { value } of probes) if (!value.isGraphOutput) model.graph.addOutput(value);
}

/** The values of the main graph that may be float and that depend on what the model is given. */
export function computedValues({ graph }: Model): Value[] {
	const given = new Set<Value>(graph.inputs.filter((value) => value.initializer === undefined));
	const found: Value[] = [];
	for (const node of graph.nodes) {
		const reads = [...node.inputs, ...capturesOf(node)];
		if (!reads.some((value) => value !== undefined && given.has(value))) continue;
		for (const value of node.outputs) {
			given.add(value);
			if (value.name !== "" && mayBeFloat(value)) found.push(value);
		}
	}
	return found;
}

/** All that the subgraphs of a node read. */
function capturesOf(node: Node): (Value | undefined)[] {
	const graphs = [...subgraphsOf(node)].map(([, graph]) => graph);
	return graphs.flatMap((graph) => [...graph.nodes].flatMap((inner) => [...inner.inputs, ...capturesOf(inner)]));
}

const FLOATS: readonly DataType[] = [DataType.FLOAT, DataType.FLOAT16, DataType.DOUBLE];

function mayBeFloat(value: Value): boolean {
	if (value.producer !== undefined && isOnnxOp(value.producer, "QuantizeLinear")) return false;
	const { type } = value;
	return type === undefined || type.kind === "unknown" || isFloatType(value);
}

/** Is the value stated to be a tensor of floats? */
export function isFloatType({ type }: Value): boolean {
	return type?.kind === "tensor" && FLOATS.includes(type.elementType);
}

function isOnlyQuantized({ uses, isGraphOutput }: Value): boolean {
	const isQuantizer = ({ node, index }: Value["uses"][number]) => index === 0 && isOnnxOp(node, "QuantizeLinear");
	return !isGraphOutput && uses.length > 0 && uses.every(isQuantizer);
}

/** The integers that `value` is rounded to, or that it was made from; itself where there are none. */
function integersOf(value: Value): Probe {
	const quantizers = value.uses.filter(({ node, index }) => index === 0 && isOnnxOp(node, "QuantizeLinear"));
	for (const { node } of quantizers) {
		const probe = integerProbe(node, node.outputs[0]);
		if (probe !== undefined) return probe;
	}
	const { producer } = value;
	const dequantized = producer !== undefined && isOnnxOp(producer, "DequantizeLinear") ? producer : undefined;
	const probe = dequantized === undefined ? undefined : integerProbe(dequantized, dequantized.inputs[0]);
	return probe ?? { value, encoding: undefined };
}

function integerProbe(node: Node, integers: Value | undefined): Probe | undefined {
	const encoding = encodingAt(node);
	if (encoding === undefined || integers === undefined || integers.initializer !== undefined) return undefined;
	integers.type ??= tensorType(encoding.dtype);
	return { value: integers, encoding };
}
