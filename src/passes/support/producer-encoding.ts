import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import { addParameters, addQdq, type Encoding, encodingAt, sameEncoding } from "./qdq.js";

/** The QuantizeLinear whose codes `value` is dequantized from, and the operator in front of it. */
export function quantizedProducer(
	value: Value | undefined,
): { readonly quantize: Node; readonly producer: Node } | undefined {
	const dequantize = value?.producer;
	const quantize = dequantize?.inputs[0]?.producer;
	const producer = quantize?.inputs[0]?.producer;
	if (dequantize === undefined || quantize === undefined || producer === undefined) return undefined;
	const isPair = isOnnxOp(dequantize, "DequantizeLinear") && isOnnxOp(quantize, "QuantizeLinear");
	return isPair ? { quantize, producer } : undefined;
}

/**
 * Gives a QuantizeLinear another encoding, and with it all that read its codes. Where these are a graph output, or something
 * else than DequantizeLinear reads them, `reader` gets a pair of its own for its input `index`. Says whether it did anything.
 */
export function encodeAnew(
	quantize: Node,
	encoding: Encoding,
	names: NameScope,
	reader?: { readonly node: Node; readonly index: number },
): boolean {
	const found = encodingAt(quantize);
	if (found === undefined || sameEncoding(found, encoding)) return false;
	const codes = quantize.outputs[0]!;
	const readers = codes.uses.map((use) => use.node);
	const graph = quantize.graph!;
	const isFree = readers.every((node) => isOnnxOp(node, "DequantizeLinear") && node.graph === graph);
	if (codes.isGraphOutput || !isFree) {
		if (reader === undefined) return false;
		const { node, index } = reader;
		node.setInput(index, addQdq(node.graph!, node.inputs[index]!, encoding, names, node));
		return true;
	}
	const parameters = addParameters(graph, codes.name, encoding, names, quantize);
	for (const user of [quantize, ...readers]) {
		for (const [index, parameter] of parameters.entries()) user.setInput(index + 1, parameter);
	}
	return true;
}
