import { intsAttribute, stringAttribute } from "../../ir/attribute.js";
import { int64Tensor } from "../../ir/tensor.js";
import { convWindows } from "../../targets/conv-windows.js";
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
