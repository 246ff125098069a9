import { intsAttribute, intsOf, stringAttribute, stringOf } from "../../ir/attribute.js";
import { int64Tensor } from "../../ir/tensor.js";
import { convWindows } from "../../targets/conv-windows.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import { fusedPads } from "../../targets/fused-pad.js";
import { NodeWriter } from "./node-writer.js";
import { addQdq, encodingBehind } from "./qdq.js";
import type { Remedy } from "./remedy.js";

/** A Conv with pads, or with a Pad in front -> Pad, Conv without, with an auto_pad so that ONNX Runtime leaves them apart. */
export const padFirst: Remedy = (operator, { names }) => {
	const { node } = operator;
	const windows = convWindows(operator);
	if (windows === undefined) return false;
	const { kernel, pads } = windows;
	const source = fusedPads(node) === undefined ? node.inputs[0]! : node.inputs[0]!.producer!.inputs[0]!;
	const encoding = encodingBehind(source);
	const writer = new NodeWriter(node, names);
	const amounts = [0, 0, ...pads.slice(0, kernel.length), 0, 0, ...pads.slice(kernel.length)];
	const stored = writer.constant("pads", int64Tensor([amounts.length], amounts));
	const padded = writer.emit("Pad", [source, stored], {}, "padded");
	const image = encoding === undefined ? padded : addQdq(node.graph!, padded, encoding, names, node);
	const attributes = new Map(node.attributes);
	attributes.delete("pads");
	attributes.set("auto_pad", stringAttribute("VALID"));
	attributes.set("kernel_shape", intsAttribute(kernel));
	writer.give(0, writer.emit("Conv", [image, ...node.inputs.slice(1)], Object.fromEntries(attributes), "convolved"));
	writer.finish();
	return true;
};

/** A Conv with an auto_pad of SAME -> the same with pads in numbers, none where it leaves out positions. */
export const spellPads: Remedy = ({ node, inputs }) => {
	const [lengths, kernel] = inputs.slice(0, 2).map((input) => fixedShape(input?.shape)?.slice(2));
	if (lengths === undefined || kernel === undefined) return false;
	const totals = lengths.map((length, at) => {
		const [stride, dilation] = ["strides", "dilations"].map((name) => intsOf(node, name)[at] ?? 1) as [number, number];
		return Math.max(0, (Math.ceil(length / stride) - 1) * stride + dilation * (kernel[at]! - 1) + 1 - length);
	});
	const isUpper = stringOf(node, "auto_pad") === "SAME_UPPER";
	const front = totals.map((total) => (isUpper ? Math.floor(total / 2) : Math.ceil(total / 2)));
	node.attributes.delete("auto_pad");
	node.attributes.set("pads", intsAttribute([...front, ...totals.map((total, at) => total - front[at]!)]));
	return true;
};
