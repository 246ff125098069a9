import { isOnnxOp } from "../../ir/node.js";
import { floatTensor } from "../../ir/tensor.js";
import { repeatedPairs } from "../../targets/repeated-pairs.js";
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
