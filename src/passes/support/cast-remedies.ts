import { intAttribute } from "../../ir/attribute.js";
import type { Node } from "../../ir/node.js";
import { bytesOf, int64Tensor, tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { addConstant } from "../../weights/constant.js";
import type { Remedy, Tools } from "./remedy.js";

/** `Cast` -> `Cast to INT32 -> Cast`. */
export const castFirst: Remedy = ({ node }, { names }) => {
	node.setInput(0, castToInt32(node, names));
	return true;
};

/** `Cast` of integers -> `Add 1 -> Add -1 -> Cast`: something to compute, so that what is in front has to be integers. */
export const computeIntegers: Remedy = ({ node, inputs: [input] }, { names }) => {
	const isWide = input?.dtype === DataType.INT64;
	let value = isWide || input?.dtype === DataType.INT32 ? input.value : castToInt32(node, names);
	for (const amount of [1, -1]) {
		const constant = isWide ? int64Tensor([], [amount]) : tensor(DataType.INT32, [], bytesOf(Int32Array.of(amount)));
		const added = addConstant(node.graph!, names.fresh(`${value.name}_amount`), constant, node);
		value = insert(node, "Add", [value, added], "sum", names);
	}
	node.setInput(0, value);
	return true;
};

function castToInt32(node: Node, names: Tools["names"]): Value {
	return insert(node, "Cast", [node.inputs[0]!], "int32", names, { to: intAttribute(DataType.INT32) });
}

function insert(
	before: Node,
	op: string,
	inputs: readonly Value[],
	suffix: string,
	names: Tools["names"],
	attributes = {},
): Value {
	const graph = before.graph!;
	const made = graph.createValue(names.fresh(`${inputs[0]!.name}_${suffix}`));
	const name = names.fresh(`${inputs[0]!.name}_${op}`);
	graph.createNode({ op, name, inputs, outputs: [made], attributes }, before);
	return made;
}
