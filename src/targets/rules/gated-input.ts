import { isOnnxOp } from "../../ir/node.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";

/** What a Mul reads that its other input is the Sigmoid of, with no codes in between. */
export function gatedInput({ node, inputs }: OperatorFacts): OperandFacts | undefined {
	if (!isOnnxOp(node, "Mul")) return undefined;
	return inputs.find((x) => inputs.some((gate) => isSigmoidOf(gate, x)));
}

function isSigmoidOf(gate: OperandFacts | undefined, x: OperandFacts | undefined): boolean {
	const sigmoid = gate?.value.producer;
	return sigmoid !== undefined && isOnnxOp(sigmoid, "Sigmoid") && sigmoid.inputs[0] === x?.value;
}
