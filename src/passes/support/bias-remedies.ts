import { isOnnxOp } from "../../ir/node.js";
import { floatTensor } from "../../ir/tensor.js";
import type { Value } from "../../ir/value.js";
import { codeInterval } from "../../targets/readers.js";
import { repeatedPairs } from "../../targets/repeated-pairs.js";
import { returnedCodes } from "../../targets/returned-codes.js";
import { addConstant } from "../../weights/constant.js";
import { addQdq, coveringEncoding } from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { smallConstantOf } from "./small-constant.js";

/** `DQ(INT32 codes, scales)` as bias -> the same numbers as FLOAT. */
const floatBias: Remedy = ({ node, fusedAdd }, { names }) => {
	const bias = fusedAdd?.addend.value ?? node.inputs[2];
	const numbers = smallConstantOf(bias);
	if (bias === undefined || numbers === undefined) return false;
	const reader = fusedAdd?.node ?? node;
	const made = floatTensor(numbers.shape, numbers.values);
	const constant = addConstant(node.graph!, names.fresh(`${bias.name}_float`), made, reader);
	reader.setInput(reader.inputs.indexOf(bias), constant);
	removeUnused(bias);
	return true;
};

/**
 * Behind several pairs the bias becomes FLOAT; beside block scales, which want INT32, `x -> Q -> DQ -> Q -> DQ` becomes one
 * pair for what they all let through, and the bias is made anew for it.
 */
export const quantizeOnce: Remedy = (operator, tools) => {
	if (operator.weight?.scheme !== "block") return floatBias(operator, tools);
	const { node, inputs } = operator;
	const pairs = repeatedPairs(inputs[0], tools.types);
	const source = pairs?.first.node.inputs[0]?.producer;
	const dtype = pairs?.first.dtype;
	if (pairs === undefined || source === undefined || dtype === undefined || !isOnnxOp(source, "QuantizeLinear"))
		return false;
	const before = node.inputs[0]!;
	const encoding = coveringEncoding(dtype, pairs.interval);
	node.setInput(0, addQdq(node.graph!, source.inputs[0]!, encoding, tools.names, node));
	removeUnused(before);
	return true;
};

/** Removes what makes `value`, and what only that is made of, back to what somebody else reads. */
function removeChain(value: Value): void {
	let at: Value | undefined = value;
	while (at?.producer !== undefined && at.uses.length === 0 && !at.isGraphOutput) {
		const [next, ...parameters]: readonly (Value | undefined)[] = at.producer.inputs.slice();
		at.producer.remove();
		for (const parameter of new Set(parameters)) if (parameter !== undefined) removeUnused(parameter);
		at = next;
	}
}

/**
 * `Q1 -> DQ1 -> .. -> Q -> DQ` becomes `Q1 -> DQ1 -> Q -> DQ`; where the pairs left out let less through than both, the
 * first one gets the encoding of that.
 */
export const leaveOutPairs: Remedy = ({ node, inputs }, { types, names }) => {
	const returned = returnedCodes(inputs[0], types);
	const last = inputs[0]?.quantization;
	const quantize = last?.node.inputs[0]?.producer;
	const outer = last && codeInterval(last);
	const inner = returned && codeInterval(returned.first);
	if (returned === undefined || quantize === undefined || outer === undefined || inner === undefined) return false;
	const { first, between } = returned;
	const lo = Math.max(outer.lo, inner.lo);
	const hi = Math.min(outer.hi, inner.hi);
	const step = Math.max(first.scale!, last!.scale!);
	const isCut = between.lo > lo + step || between.hi < hi - step;
	const dequantized = first.node.outputs[0]!;
	const before = quantize.inputs[0]!;
	const encoding = coveringEncoding(first.dtype!, { lo: Math.max(lo, between.lo), hi: Math.min(hi, between.hi) });
	const source = first.node.inputs[0]!.producer!.inputs[0]!;
	quantize.setInput(0, isCut ? addQdq(node.graph!, source, encoding, names, quantize) : dequantized);
	removeChain(before);
	return true;
};
