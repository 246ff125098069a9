import { floatAttribute, floatOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import { CodedWriter } from "./coded-writer.js";
import { encodingOfOperand } from "./encoding-remedies.js";
import { addQdq, recoded } from "./qdq.js";
import { normOfScaled } from "./range-remedies.js";
import type { Remedy } from "./remedy.js";
import { insertPair } from "./separate-output.js";

/** Defaults of Selu. */
const SELU = { alpha: 1.67326319, gamma: 1.05070102 };

/** `Ceil(x)` -> `Where(Greater(x, 0), 1, 0)`, `Floor(x)` -> `Where(Less(x, 0), -1, 0)`, for x between -1 and 1. */
export const chooseBySign: Remedy = (operator, tools) => {
	const writer = CodedWriter.of(operator, tools);
	if (writer === undefined || writer.range.lo < -1 || writer.range.hi > 1) return false;
	const isCeil = isOnnxOp(operator.node, "Ceil");
	const away = isCeil ? 1 : -1;
	const isAway = writer.emit(isCeil ? "Greater" : "Less", [writer.input, writer.number(0, "zero")], {}, "is_away");
	const chosen = writer.emit("Where", [isAway, writer.number(away, "away"), writer.number(0, "none")], {}, "chosen");
	writer.close(chosen, { lo: Math.min(away, 0), hi: Math.max(away, 0) });
	return true;
};

/** `Gelu(x)` -> `Mul(x, 0.5)`. */
export const halve: Remedy = (operator, tools) => {
	const writer = CodedWriter.of(operator, tools);
	if (writer === undefined) return false;
	writer.close(writer.emit("Mul", [writer.input, writer.number(0.5, "half")], {}, "halved"));
	return true;
};

/** `Elu(x)` -> `LeakyRelu(x)` with the slope alpha, `Selu(x)` -> gamma times that. */
export const eluLine: Remedy = (operator, tools) => {
	const { node } = operator;
	const writer = CodedWriter.of(operator, tools);
	if (writer === undefined) return false;
	const isSelu = isOnnxOp(node, "Selu");
	const alpha = floatOf(node, "alpha", isSelu ? SELU.alpha : 1);
	const attributes = { alpha: floatAttribute(alpha) };
	const bent = writer.emit("LeakyRelu", [writer.input], attributes, "bent");
	if (!isSelu) {
		writer.close(bent);
		return true;
	}
	const { lo, hi } = writer.range;
	const range = { lo: Math.min(lo * alpha, 0), hi: Math.max(hi, 0) };
	const result = writer.inCodes(bent, range);
	writer.close(writer.emit("Mul", [result, writer.number(floatOf(node, "gamma", SELU.gamma), "gamma")], {}, "scaled"));
	return true;
};

/** Between UINT16, whatever the codes are; the Sigmoid in front of a Mul, too, where it reads the same. */
export const computeOnIntegers: Remedy = ({ node, inputs, outputs: [output] }, { model, names }) => {
	const behind = encodingOfOperand(output);
	if (behind === undefined) return false;
	let done = behind.dtype !== DataType.UINT16;
	for (const input of inputs) {
		const before = encodingOfOperand(input);
		if (before === undefined || before.dtype === DataType.UINT16 || input!.quantization!.codes !== undefined) continue;
		const gates = node.inputs.flatMap((other) => {
			const gate = other?.producer;
			return gate !== undefined && isOnnxOp(gate, "Sigmoid") && gate.inputs[0] === input!.value ? gate : [];
		});
		const first = gates[0] ?? node;
		const wide = addQdq(node.graph!, input!.value, recoded(before, DataType.UINT16), names, first);
		done = true;
		for (const gate of gates) gate.setInput(0, wide);
		for (const [index, other] of node.inputs.entries()) if (other === input!.value) node.setInput(index, wide);
	}
	if (behind.dtype !== DataType.UINT16) insertPair(model, output!.value, recoded(behind, DataType.UINT16), names);
	return done;
};

/** A PRelu on values a power of 2 as large, other operators between UINT16. */
export const computeLarger: Remedy = (operator, tools) =>
	(isOnnxOp(operator.node, "PRelu") ? normOfScaled : computeOnIntegers)(operator, tools);

/**
 * What an operator makes as the other type of 16 bits first, by a 1024th of the steps of what it reads, of which the widest,
 * with the zero point in the middle: it is computed on floats then.
 */
export const quantizeAroundZero: Remedy = ({ inputs, outputs: [output] }, { model, names }) => {
	const read = inputs.map(encodingOfOperand).filter((encoding) => encoding !== undefined);
	const behind = encodingOfOperand(output);
	if (behind === undefined || read.length === 0) return false;
	const scale = Math.max(...read.map((encoding) => encoding.scale)) / 1024;
	const isSigned = behind.dtype === DataType.UINT16;
	const other = recoded(behind, isSigned ? DataType.INT16 : DataType.UINT16);
	insertPair(model, output!.value, { ...other, scale, zeroPoint: isSigned ? 0 : 2 ** 15 }, names);
	return true;
};
