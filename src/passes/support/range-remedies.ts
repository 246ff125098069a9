import { isOnnxOp } from "../../ir/node.js";
import { floatTensor } from "../../ir/tensor.js";
import { bitsPerElement, DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { intervalOf } from "../../quant/grid.js";
import type { OperatorFacts } from "../../targets/operator-facts.js";
import { constantOf } from "../../weights/constant.js";
import { scalarOf } from "../../weights/numbers.js";
import { encodingOfOperand } from "./encoding-remedies.js";
import { passOn } from "./form-remedies.js";
import { NodeWriter } from "./node-writer.js";
import { keepEncoding } from "./pool-remedies.js";
import {
	addParameters,
	addQdq,
	addQuantizedConstant,
	codesTensor,
	coveringEncoding,
	type Encoding,
	encodingOf,
	recoded,
} from "./qdq.js";
import type { Remedy, Tools } from "./remedy.js";
import { insertPair } from "./separate-output.js";
import { smallConstantOf } from "./small-constant.js";

/** `Log(x)` -> `Where(Equal(x, 0), smallest code, Log(x) -> Q -> DQ)`. */
export const setLogOfZero: Remedy = ({ node, inputs: [input], outputs: [output] }, { names }) => {
	const [before, behind] = [encodingOfOperand(input), encodingOfOperand(output)];
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
	const [before, behind] = [encodingOfOperand(input), encodingOfOperand(output)];
	if (before === undefined || behind === undefined) return false;
	if (before.dtype !== DataType.UINT16)
		node.setInput(0, addQdq(node.graph!, node.inputs[0]!, recoded(before, DataType.UINT16), names, node));
	insertPair(model, output!.value, recoded(behind, DataType.INT16), names);
	return true;
};

/** `Reciprocal(x)` -> `Div(1, x)`. */
export const divideOne: Remedy = ({ node }, { names }) => {
	const writer = new NodeWriter(node, names);
	const one = writer.constant("one", floatTensor([], [1]));
	writer.give(0, writer.emit("Div", [one, node.inputs[0]!], {}, "quotient"));
	writer.finish();
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

/** `Pow(x, e)` -> `Pow(Abs(x), e)` with an even e; `Pow(x, 1)` -> `x`. */
export const dropSigns: Remedy = (operator, tools) => {
	const { node } = operator;
	const exponent = scalarOf(constantOf(node.inputs[1]));
	if (exponent === 1) return passOn(operator, tools);
	if (exponent === undefined || exponent % 2 !== 0) return false;
	const positive = node.graph!.createValue(tools.names.fresh(`${node.inputs[0]!.name}_positive`), node.inputs[0]!.type);
	const name = tools.names.fresh(`${node.name}_Abs`);
	node.graph!.createNode({ op: "Abs", name, inputs: [node.inputs[0]], outputs: [positive] }, node);
	node.setInput(0, positive);
	return true;
};

/** `op(x)` -> `Mul(op(Mul(x, f)), 1 / f)` with a power of 2, all of it in the codes that there were: for ReduceL2 and PRelu. */
export const normOfScaled: Remedy = (operator, tools) => computeScaled(operator, tools, 1);

/** `Pow(x, e)` -> `Mul(Pow(Mul(x, f), e), f ^ -e)` with a power of 2, all of it in the codes that there were. */
export const powerOfScaled: Remedy = (operator, tools) => {
	const exponent = scalarOf(constantOf(operator.node.inputs[1]));
	return exponent === undefined || exponent === 0 ? false : computeScaled(operator, tools, exponent);
};

/** An operator that makes `f ^ degree` times as much of `f` times as much, with an `f` that makes its largest result 1 or so. */
function computeScaled(
	{ node, inputs: [input], outputs: [output] }: OperatorFacts,
	{ names }: Tools,
	degree: number,
): boolean {
	const [before, behind] = [encodingOfOperand(input), encodingOfOperand(output)];
	if (before === undefined || behind === undefined) return false;
	const { lo, hi } = intervalOf(behind);
	const factor = 2 ** -Math.round(Math.log2(Math.max(hi, -lo)) / degree);
	const graph = node.graph!;
	const writer = new NodeWriter(node, names);
	const multiplied = (value: Value, by: number, dtype: DataType, label: string) => {
		const constant = { shape: [1], values: [by], dtype };
		const factors = addQuantizedConstant(graph, `${node.name}_${label}`, constant, names, node);
		return writer.emit("Mul", [value, factors], {}, label);
	};
	const scaled = multiplied(node.inputs[0]!, factor, before.dtype, "scaled");
	const read = addQdq(graph, scaled, timesScale(before, factor), names, node);
	const inputs = [read, ...node.inputs.slice(1)];
	const result = writer.emit(node.op.type, inputs, Object.fromEntries(node.attributes), "result");
	const rounded = addQdq(graph, result, timesScale(behind, factor ** degree), names, node);
	writer.give(0, multiplied(rounded, factor ** -degree, behind.dtype, "back"));
	writer.finish();
	return true;
}

/** `Log(x)` -> `Sub(Log(Mul(x, f)), log(f))` with a power of 2 that makes the largest x 1 or so. */
export const logOfScaled: Remedy = ({ node, inputs: [input], outputs: [output] }, { names }) => {
	const [before, behind] = [encodingOfOperand(input), encodingOfOperand(output)];
	if (before === undefined || behind === undefined) return false;
	const factor = 2 ** -Math.round(Math.log2(intervalOf(before).hi));
	const shift = Math.log(factor);
	const graph = node.graph!;
	const writer = new NodeWriter(node, names);
	const number = (value: number, dtype: DataType, label: string) =>
		addQuantizedConstant(graph, `${node.name}_${label}`, { shape: [1], values: [value], dtype }, names, node);
	const factors = number(factor, before.dtype, "factor");
	const scaled = writer.emit("Mul", [node.inputs[0]!, factors], {}, "scaled");
	const read = addQdq(graph, scaled, timesScale(before, factor), names, node);
	const { lo, hi } = intervalOf(behind);
	const type = before.dtype === DataType.INT16 ? DataType.UINT16 : DataType.INT16;
	const shifted = coveringEncoding(type, { lo: lo + shift, hi: hi + shift });
	const log = addQdq(graph, writer.emit("Log", [read], {}, "log"), shifted, names, node);
	writer.give(0, writer.emit("Sub", [log, number(shift, type, "shift")], {}, "back"));
	writer.finish();
	return true;
};

/** `Div(c, x)` -> `Div(DQ(codes of c), x)`. */
export const encodeDividend: Remedy = ({ node, inputs: [, divisor] }, { names }) => {
	const constant = smallConstantOf(node.inputs[0]);
	const dtype = encodingOfOperand(divisor)?.dtype;
	if (constant === undefined || dtype === undefined) return false;
	const stored = { shape: constant.shape, values: Array.from(constant.values), dtype };
	node.setInput(0, addQuantizedConstant(node.graph!, node.inputs[0]!.name, stored, names, node));
	return true;
};

function timesScale(encoding: Encoding, factor: number): Encoding {
	return encodingOf(encoding.dtype, encoding.scale * factor, encoding.zeroPoint);
}

/** The result in the type of the input where both are codes of 16 bits; between encodings of one type in that of the input. */
export const stayOnCodes: Remedy = (operator, tools) => {
	const [input, output] = [operator.inputs[0], operator.outputs[0]];
	const [from, behind] = [input?.quantization?.dtype, encodingOfOperand(output)];
	if (from === undefined || behind === undefined) return false;
	if (from === behind.dtype) return keepEncoding(operator, tools);
	if (bitsPerElement(from) !== 16 || bitsPerElement(behind.dtype) !== 16) return false;
	insertPair(tools.model, output!.value, recoded(behind, from), tools.names);
	return true;
};
