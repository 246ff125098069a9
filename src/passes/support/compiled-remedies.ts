import { floatTensor, int64Tensor } from "../../ir/tensor.js";
import { addConstant } from "../../weights/constant.js";
import { NodeWriter } from "./node-writer.js";
import type { Remedy } from "./remedy.js";
import { smallConstantOf } from "./small-constant.js";

/** `MatMul(x, W) + c` -> `MatMul(x, W) - (-c)`, which ONNX Runtime makes no Gemm of. */
export const subtractOpposite: Remedy = ({ fusedAdd }, { names }) => {
	const { node, addend } = fusedAdd!;
	const constant = smallConstantOf(addend.value);
	const product = node.inputs.find((input) => input !== addend.value);
	if (constant === undefined || product === undefined) return false;
	const opposite = floatTensor(
		constant.shape,
		Array.from(constant.values, (value) => -value),
	);
	const writer = new NodeWriter(node, names);
	const made = addConstant(node.graph!, names.fresh(`${addend.value.name}_opposite`), opposite, node);
	writer.give(0, writer.emit("Sub", [product, made], {}, "difference"));
	writer.finish();
	return true;
};

/** A Reshape or Unsqueeze of one element from rank 4 to rank 5 -> an Unsqueeze of the first axis. */
export const unsqueezeFirst: Remedy = ({ node, inputs: [input] }, { names }) => {
	if (input?.shape?.length !== 4) return false;
	const writer = new NodeWriter(node, names);
	const axes = writer.constant("first", int64Tensor([1], [0]));
	writer.give(0, writer.emit("Unsqueeze", [node.inputs[0], axes], {}, "volume"));
	writer.finish();
	return true;
};
