import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import { type Interval, intervalOf } from "../../quant/grid.js";
import { reachOf } from "../../targets/rules/operand-ranges.js";
import { CodedWriter } from "./coded-writer.js";
import { encodingOfOperand } from "./encoding-remedies.js";
import { coveringEncoding } from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { insertPair } from "./separate-output.js";
import { computeOnIntegers } from "./small-value-remedies.js";

/** Of a Sigmoid's results: up to there it is the exponential, to a part in 100. */
const LARGEST_EXPONENTIAL = 0.01;
/** Below, a Softmax's logarithms matter to nobody. */
const LEAST_LOGARITHM = -16;

/** What a Sigmoid or Tanh makes. */
function wholeRange(node: Node): Interval {
	return isOnnxOp(node, "Sigmoid") ? { lo: 0, hi: 1 } : { lo: -1, hi: 1 };
}

/** `node -> Q` -> `node -> Q -> DQ -> Max -> Q -> DQ -> Min -> Q`, with codes for all that the node makes, and the ends of the last codes. */
export const cutByOperators: Remedy = (operator, tools) => {
	const { node } = operator;
	const behind = encodingOfOperand(operator.outputs[0]);
	if (behind === undefined) return false;
	const [made, { lo, hi }] = [intervalOf(behind), wholeRange(node)];
	const writer = CodedWriter.of(operator, tools);
	if (writer === undefined) return false;
	const start = Math.max(lo, made.lo);
	const inputs = [writer.input, ...node.inputs.slice(1)];
	const whole = writer.inCodes(writer.emit(node.op.type, inputs, Object.fromEntries(node.attributes), "whole"), {
		lo,
		hi,
	});
	const raised =
		lo < start ? writer.coded("Max", [whole, writer.number(start, "start")], { lo: start, hi }, "raised") : whole;
	writer.close(writer.emit("Min", [raised, writer.number(made.hi, "end")], {}, "cut"));
	return true;
};

/** `LogSoftmax -> Q` -> `LogSoftmax -> Q -> DQ -> Q`, first in UINT16 codes from -16 to 0. */
export const quantizeLogarithms: Remedy = ({ outputs: [output] }, { model, names }) => {
	if (encodingOfOperand(output) === undefined) return false;
	insertPair(model, output!.value, coveringEncoding(DataType.UINT16, { lo: LEAST_LOGARITHM, hi: 0 }), names);
	return true;
};

/** `Sigmoid(x)` -> `Exp(x)` where its results are that small; a Sigmoid between UINT16 otherwise. */
export const writeSmallSigmoid: Remedy = (operator, tools) => {
	const reach = reachOf(operator.outputs[0]);
	if (reach === undefined || reach > LARGEST_EXPONENTIAL) return computeOnIntegers(operator, tools);
	const writer = CodedWriter.of(operator, tools);
	if (writer === undefined) return false;
	writer.close(writer.emit("Exp", [writer.input], {}, "exponential"));
	return true;
};
