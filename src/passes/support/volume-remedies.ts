import { intAttribute } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { TURNED_ACROSS } from "../../targets/rules/signed-volumes.js";
import { encodeAnew } from "./producer-encoding.js";
import { addQdq, encodingAt, encodingBehind, recoded } from "./qdq.js";
import type { Remedy, Tools } from "./remedy.js";

/** INT16 codes that a Transpose of rank 5 reads and makes, or all that are behind an operator of another layout, as UINT16. */
export const unsignVolumes: Remedy = ({ node, inputs, outputs }, { names }) => {
	if (!isOnnxOp(node, "Transpose")) return unsignAll(node, names);
	const front = inputs[0]?.quantization && node.inputs[0]!.producer?.inputs[0]?.producer;
	let done = false;
	for (const quantizer of [front, outputs[0]?.quantization?.node]) {
		if (quantizer !== undefined && isOnnxOp(quantizer, "QuantizeLinear") && unsign(quantizer, names)) done = true;
	}
	const given = encodingBehind(node.inputs[0]);
	if (given?.dtype !== DataType.INT16) return done;
	node.setInput(0, addQdq(node.graph!, node.inputs[0]!, recoded(given, DataType.UINT16), names, node));
	return true;
};

function unsignAll(last: Node, names: Tools["names"]): boolean {
	let done = unsign(last, names);
	const seen = new Set<Value>();
	const waiting = [...last.inputs];
	while (waiting.length > 0) {
		const value = waiting.pop();
		const producer = value?.producer;
		if (value === undefined || producer === undefined || seen.has(value)) continue;
		seen.add(value);
		if (!isOnnxOp(producer, "QuantizeLinear", "DequantizeLinear", ...TURNED_ACROSS)) continue;
		if (isOnnxOp(producer, "QuantizeLinear") && unsign(producer, names)) done = true;
		waiting.push(...producer.inputs);
	}
	return done;
}

function unsign(quantizer: Node, names: Tools["names"]): boolean {
	const encoding = encodingAt(quantizer);
	if (encoding?.dtype !== DataType.INT16) return false;
	if (!encodeAnew(quantizer, recoded(encoding, DataType.UINT16), names)) return false;
	const codes = quantizer.outputs[0]!;
	if (codes.type?.kind === "tensor") codes.type = { ...codes.type, elementType: DataType.UINT16 };
	if (quantizer.attributes.has("output_dtype")) quantizer.attributes.set("output_dtype", intAttribute(DataType.UINT16));
	return true;
}
