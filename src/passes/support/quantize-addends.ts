import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import type { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { goesToInteger, isView } from "../../weights/activation.js";
import { addQuantizedConstant, encodingAt } from "./qdq.js";
import { removeUnused } from "./remove-unused.js";
import { smallConstantOf } from "./small-constant.js";

/**
 * `Add(DQ(output), constant) -> Q` becomes `Add(DQ(output), DQ(codes)) -> Q` with codes in the type of the other operand,
 * for every Add and Sub that reads `output` through views, Q and DQ. Returns how many constants were replaced.
 */
export function quantizeAddends(output: Value, names: NameScope): number {
	let replaced = 0;
	for (const { node, index } of [...output.uses]) {
		if (index === 0 && (isView(node) || isOnnxOp(node, "QuantizeLinear", "DequantizeLinear"))) {
			replaced += quantizeAddends(node.outputs[0]!, names);
		} else if (isOnnxOp(node, "Add", "Sub") && quantizeOperand(node, 1 - index, names)) replaced++;
	}
	return replaced;
}

/**
 * Makes a constant operand of `node` an integer one like that at input `other`, where the result is quantized too; says
 * whether it did.
 */
export function quantizeOperand(node: Node, index: number, names: NameScope, other = 1 - index): boolean {
	const operand = node.inputs[index];
	const dtype = codesBehind(node.inputs[other]);
	const constant = smallConstantOf(operand);
	if (operand === undefined || dtype === undefined || constant === undefined) return false;
	if (codesBehind(operand) === dtype || !goesToInteger(node.outputs[0]!)) return false;
	const added = addQuantizedConstant(node.graph!, operand.name, { ...constant, dtype }, names, node);
	node.setInput(index, added);
	removeUnused(operand);
	return true;
}

function codesBehind(value: Value | undefined): DataType | undefined {
	const { producer } = value ?? {};
	return producer !== undefined && isOnnxOp(producer, "DequantizeLinear") ? encodingAt(producer)?.dtype : undefined;
}
