import { isOnnxOp } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import { NodeWriter } from "./node-writer.js";
import { addParameters, addQdq, codesTensor, type Encoding, encodingAt, recoded } from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { insertPair } from "./separate-output.js";

/** `Log(x)` -> `Where(Equal(x, 0), smallest code, Log(x) -> Q -> DQ)`. */
export const setLogOfZero: Remedy = ({ node, inputs: [input], outputs: [output] }, { names }) => {
	const before = input?.quantization && encodingAt(input.quantization.node);
	const behind = output?.quantization && encodingAt(output.quantization.node);
	if (before === undefined || behind === undefined) return false;
	const x = node.inputs[0]!;
	const writer = new NodeWriter(node, names);
	const stored = (label: string, code: number, encoding: Encoding) => {
		const codes = writer.constant(`${label}_codes`, codesTensor(encoding.dtype, [1], [code]));
		const parameters = addParameters(node.graph!, codes.name, encoding, names, node);
		return writer.emit("DequantizeLinear", [codes, ...parameters], {}, label);
	};
	const log = addQdq(node.graph!, writer.emit("Log", [x], {}, "log"), behind, names, node);
	const isZero = writer.emit("Equal", [x, stored("zero", before.zeroPoint, before)], {}, "is_zero");
	writer.give(0, writer.emit("Where", [isZero, stored("least", behind.min, behind), log], {}, "set"));
	writer.finish();
	return true;
};

/** Between UINT16 and INT16, whatever the codes are: on floats. */
export const computeOnFloats: Remedy = ({ node, inputs: [input], outputs: [output] }, { model, names }) => {
	const before = input?.quantization && encodingAt(input.quantization.node);
	const behind = output?.quantization && encodingAt(output.quantization.node);
	if (before === undefined || behind === undefined) return false;
	if (before.dtype !== DataType.UINT16)
		node.setInput(0, addQdq(node.graph!, node.inputs[0]!, recoded(before, DataType.UINT16), names, node));
	insertPair(model, output!.value, recoded(behind, DataType.INT16), names);
	return true;
};

/** `Pow(x, 2)` -> `Mul(x, x)`. */
export const multiplyWithItself: Remedy = ({ node }, { names }) => {
	if (!isOnnxOp(node, "Pow")) return false;
	const writer = new NodeWriter(node, names);
	writer.give(0, writer.emit("Mul", [node.inputs[0]!, node.inputs[0]!], {}, "square"));
	writer.finish();
	return true;
};
