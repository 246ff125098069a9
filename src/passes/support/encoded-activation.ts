import type { PlacedAffine } from "../../encodings/placement.js";
import type { Model } from "../../ir/model.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { nodesInOrder } from "../../ir/order.js";
import type { Use, Value } from "../../ir/value.js";
import { allGraphs } from "../../ir/walk.js";
import { MOVING, movedOutputs } from "./grid-operators.js";
import { addQdq, type Encoding, encodingAt, encodingOf, sameEncoding } from "./qdq.js";
import { replaceValue } from "./replace-value.js";

/** Does a DequantizeLinear make `value`, or do none but quantizers read it? */
export function isQuantizedActivation(value: Value): boolean {
	if (value.producer !== undefined && isOnnxOp(value.producer, "DequantizeLinear")) return true;
	return !value.isGraphOutput && value.uses.length > 0 && value.uses.every(isQuantizer);
}

function isQuantizer({ node, index }: Value["uses"][number]): boolean {
	return index === 0 && isOnnxOp(node, "QuantizeLinear");
}

/** The encoding of one scale in the type of its codes. */
export function activationEncoding({ scales, zeroPoints }: PlacedAffine, dtype: number): Encoding {
	return encodingOf(dtype, scales[0]!, zeroPoints?.[0] ?? 0);
}

/**
 * `value -> readers` becomes `value -> Q -> DQ -> readers`, for some readers or for all; what quantizes it already stays. A
 * graph output keeps its name: it is then what comes out of the pair, where that is for all. Returns the DequantizeLinear.
 */
export function quantizeActivation(
	model: Model,
	value: Value,
	encoding: Encoding,
	names: NameScope,
	some?: readonly Use[],
): Node {
	const { graph, name, producer } = value;
	const quantizers = value.uses.filter(isQuantizer);
	const readers = some ?? value.uses.filter((use) => !isQuantizer(use));
	const [front] = graph.nodes;
	const result = addQdq(graph, value, encoding, names, producer === undefined ? front : producer.next);
	const dequantize = result.producer!;
	if (some === undefined && value.isGraphOutput && producer !== undefined) {
		replaceValue(model, value, result, names.fresh(`${name}_float`));
		for (const { node, index } of quantizers) node.setInput(index, value);
		dequantize.inputs[0]!.producer!.setInput(0, value);
	} else for (const { node, index } of readers) node.setInput(index, result);
	return dequantize;
}

/**
 * Gives what operators such as Reshape and Transpose make of the outputs of `dequantized` the same encoding, and what they
 * make it of, so that chips that compute them on codes find codes on both sides: no value changes by that. Returns how
 * many tensors it quantized.
 */
export function quantizeMoved(model: Model, dequantized: readonly Node[], names: NameScope): number {
	const made = new Set(dequantized);
	let count = 0;
	const add = (value: Value, encoding: Encoding) => {
		made.add(quantizeActivation(model, value, encoding, names));
		count++;
	};
	for (const { graph } of [...allGraphs(model)]) {
		const nodes = nodesInOrder(graph).filter((node) => isOnnxOp(node, ...MOVING, "Concat"));
		for (const node of nodes) {
			const encoding = inputEncoding(node, made);
			if (encoding === undefined) continue;
			for (const output of movedOutputs(node))
				if (isRead(output) && !isQuantizedActivation(output)) add(output, encoding);
		}
		for (const node of nodes.reverse()) {
			const input = node.inputs[0];
			if (input?.producer === undefined || node.outputs.length !== 1 || isOnnxOp(node, "Concat", "Gather")) continue;
			if (input.uses.length !== 1 || input.isGraphOutput || isOnnxOp(input.producer, "DequantizeLinear", "Constant"))
				continue;
			const encoding = outputEncoding(node.outputs[0]!, made);
			if (encoding !== undefined) add(input, encoding);
		}
	}
	return count;
}

function isRead(value: Value): boolean {
	return value.uses.length > 0 || value.isGraphOutput;
}

/** The encoding of all inputs that are moved, where pairs of this pass give them one. */
function inputEncoding(node: Node, made: ReadonlySet<Node>): Encoding | undefined {
	const moved = isOnnxOp(node, "Concat") ? node.inputs : node.inputs.slice(0, 1);
	const encodings = moved.map((input) => {
		const producer = input?.producer;
		return producer !== undefined && made.has(producer) ? encodingAt(producer) : undefined;
	});
	const [first] = encodings;
	return first !== undefined && encodings.every((other) => other && sameEncoding(other, first)) ? first : undefined;
}

/** The encoding of the only pair that reads `output`, where this pass made it. */
function outputEncoding(output: Value, made: ReadonlySet<Node>): Encoding | undefined {
	const [use] = output.uses;
	if (use === undefined || output.uses.length > 1 || output.isGraphOutput || !isQuantizer(use)) return undefined;
	const dequantize = use.node.outputs[0]?.uses[0]?.node;
	return dequantize !== undefined && made.has(dequantize) ? encodingAt(dequantize) : undefined;
}
