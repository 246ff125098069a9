import { isOnnxOp, type Node } from "../ir/node.js";

/** The MaxPool that reads the result of `node` as floats and whose own result is quantized: ONNX Runtime quantizes in front of it. */
export function pooledCodes(node: Node): Node | undefined {
	const isQuantized = (pool: Node) => pool.outputs[0]!.uses.some((use) => isOnnxOp(use.node, "QuantizeLinear"));
	return node.outputs[0]!.uses.find((use) => isOnnxOp(use.node, "MaxPool") && isQuantized(use.node))?.node;
}
