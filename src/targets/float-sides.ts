import { isOnnxOp, type Node } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import type { OperandFacts, OperatorFacts, QuantizationFacts } from "./operator-facts.js";

/** Operators of several operands; of others only the first is data. */
const OF_ALL_OPERANDS: readonly string[] = ["Sub", "Div", "Max", "Min", "Pow"];

/** The inputs of `node` that hold data, neither parameters nor places; an exponent is data. */
export function dataInputs(node: Node): number[] {
	if (isOnnxOp(node, "Where")) return [1, 2];
	return isOnnxOp(node, ...OF_ALL_OPERANDS) ? [...node.inputs.keys()] : [0];
}

/** Is it FLOAT, with no quantizer that ONNX Runtime puts beside the operator? */
export function isFloatOperand(operand: OperandFacts | undefined): operand is OperandFacts {
	return operand?.dtype === DataType.FLOAT && operand.moved === undefined;
}

/** Inputs of data that are floats. */
export function floatInputs({ node, inputs }: OperatorFacts): number[] {
	return dataInputs(node).filter((index) => isFloatOperand(inputs[index]));
}

/** What the first result is quantized with, a superfluous Relu or Clip aside. */
export function resultCodes({ outputs: [output], result }: OperatorFacts): QuantizationFacts | undefined {
	return output?.moved ?? result;
}

/** What the first quantized input of data is dequantized with. */
export function dataCodes({ node, inputs }: OperatorFacts): QuantizationFacts | undefined {
	for (const index of dataInputs(node)) {
		const codes = inputs[index]?.moved;
		if (codes !== undefined) return codes;
	}
	return undefined;
}
