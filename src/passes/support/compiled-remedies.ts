import { floatTensor, int64Tensor } from "../../ir/tensor.js";
import { vectorSum } from "../../targets/rules/uncompiled.js";
import { NodeWriter } from "./node-writer.js";
import type { Remedy } from "./remedy.js";
import { smallConstantOf } from "./small-constant.js";

/** `MatMul(x, W) + c` -> `MatMul(x, W) - (-c)`, which ONNX Runtime makes no Gemm of. */
export const subtractOpposite: Remedy = ({ outputs: [product] }, { names }) => {
	const { add, addend } = vectorSum(product?.value) ?? {};
	if (add === undefined || addend === undefined) return false;
	const constant = smallConstantOf(addend);
	const writer = new NodeWriter(add, names);
	const opposite = constant && Array.from(constant.values, (value) => -value);
	const subtracted =
		opposite === undefined
			? writer.emit("Neg", [addend], {}, "opposite")
			: writer.constant("opposite", floatTensor(constant!.shape, opposite));
	writer.give(0, writer.emit("Sub", [product!.value, subtracted], {}, "difference"));
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
