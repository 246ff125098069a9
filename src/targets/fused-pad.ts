import { floatOf, intOf, intsOf, stringOf } from "../ir/attribute.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { constantOf } from "../weights/constant.js";
import { numbersOf } from "../weights/numbers.js";

/**
 * Zeros that a Pad of floats puts around the spatial axes of an AveragePool, MaxPool or Conv, in front of each and behind
 * each, where ONNX Runtime makes pads of the operator of them, which count, but for a MaxPool; undefined where it does not.
 * One with an auto_pad keeps its Pad.
 */
export function fusedPads(node: Node): readonly number[] | undefined {
	const pad = node.inputs[0]?.producer;
	const isPool = isOnnxOp(node, "AveragePool");
	if (!isOnnxOp(node, "AveragePool", "MaxPool", "Conv") || pad === undefined || !isOnnxOp(pad, "Pad")) return undefined;
	const isOwn = pad.outputs[0]!.uses.length === 1 && !pad.outputs[0]!.isGraphOutput;
	const [amounts, value] = [pad.inputs[1], pad.inputs[2]].map((input) => constantOf(input)?.tensor);
	const isOld = pad.inputs.length === 1;
	const isZero =
		pad.inputs[2] === undefined ? floatOf(pad, "value", 0) === 0 : value !== undefined && numbersOf(value)[0] === 0;
	const leavesOut = isPool && intOf(node, "count_include_pad", 0) === 0;
	const padsItself = leavesOut && intsOf(node, "pads").some((amount) => amount !== 0);
	if (!isOwn || !isZero || padsItself || (amounts === undefined && !isOld) || pad.inputs[3] !== undefined)
		return undefined;
	if ((stringOf(pad, "mode") ?? "constant") !== "constant" || (stringOf(node, "auto_pad") ?? "NOTSET") !== "NOTSET")
		return undefined;
	const numbers = amounts === undefined ? intsOf(pad, "pads") : Array.from(numbersOf(amounts));
	const rank = numbers.length / 2;
	const isSpatial = numbers.every((amount, at) => amount >= 0 && (at % rank >= 2 || amount === 0));
	return isSpatial ? numbers.filter((_, at) => at % rank >= 2) : undefined;
}
