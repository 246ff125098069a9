import { intAttribute } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { int64Tensor } from "../../ir/tensor.js";
import { elementCount } from "../../ir/types.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import { isFloatOperand } from "../../targets/float-sides.js";
import { largestAlong } from "./largest.js";
import { NodeWriter } from "./node-writer.js";
import type { Remedy } from "./remedy.js";

/** Operators that fail with the same behind them, too. */
const FAILING: readonly string[] = ["Reciprocal"];

/** `node` -> `node -> Reshape [1, rows, length] -> Concat with itself -> ReduceMax -> Reshape`: the same numbers, computed anew. */
export const settleFloats: Remedy = ({ node, inputs, outputs, opset }, { names }) => {
	const shape = fixedShape(outputs[0]?.shape);
	if (!isFloatOperand(outputs[0]) || shape === undefined || node.outputs.length !== 1) return false;
	if (isOnnxOp(node, ...FAILING) && inputs[0]?.quantization !== undefined) return false;
	const writer = new NodeWriter(node, names);
	const integers = (label: string, values: readonly number[]) =>
		writer.constant(label, int64Tensor([values.length], values));
	const result = writer.emit(node.op.type, node.inputs, Object.fromEntries(node.attributes), "once");
	const length = shape.at(-1) ?? 1;
	const matrix = [1, length === 0 ? 0 : elementCount(shape) / length, length];
	const rows = writer.emit("Reshape", [result, integers("matrix_shape", matrix)], {}, "matrix");
	const twice = writer.emit("Concat", [rows, rows], { axis: intAttribute(0) }, "twice");
	const largest = largestAlong(writer, twice, [0], opset);
	writer.give(0, writer.emit("Reshape", [largest, integers("shape", shape)], {}, "settled"));
	writer.finish();
	return true;
};
