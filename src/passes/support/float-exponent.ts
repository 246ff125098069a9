import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { floatTensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import { addConstant, constantOf, removeIfUnused } from "../../weights/constant.js";
import { smallConstantOf } from "./small-constant.js";

/** `Pow(x, constant of another type)` -> `Pow(x, the same numbers as FLOAT)`, for an x of FLOAT; says whether it did. */
export function floatExponent(node: Node, names: NameScope): boolean {
	const before = constantOf(node.inputs[1]);
	if (!isOnnxOp(node, "Pow") || before === undefined || before.tensor.dtype === DataType.FLOAT) return false;
	const exponent = smallConstantOf(before.value);
	if (exponent === undefined) return false;
	const stored = Float32Array.from(exponent.values);
	if (stored.some((value, index) => value !== exponent.values[index])) return false;
	const name = names.fresh(`${before.value.name}_float`);
	node.setInput(1, addConstant(node.graph!, name, floatTensor(exponent.shape, stored), node));
	removeIfUnused(before.value);
	return true;
}
