import { intsAttribute, intsOf, stringOf } from "../../ir/attribute.js";
import { int64Tensor } from "../../ir/tensor.js";
import { clampBehind, quantizerBehind } from "../../targets/readers.js";
import { NodeWriter } from "./node-writer.js";
import { addQdq, encodingAt, encodingBehind } from "./qdq.js";
import type { Remedy } from "./remedy.js";

/** Conv with steps [2, 2] -> Conv with steps [2, 1], Q, DQ, Slice of every second column, in the encoding that follows. */
export const sliceColumns: Remedy = ({ node }, { names }) => {
	const output = node.outputs[0]!;
	const behind = quantizerBehind(clampBehind(output)?.outputs[0] ?? output);
	const encoding = behind && encodingAt(behind);
	if (encoding === undefined) return false;
	const writer = new NodeWriter(node, names);
	const attributes = Object.fromEntries(new Map(node.attributes).set("strides", intsAttribute([2, 1])));
	const columns = addQdq(node.graph!, writer.emit("Conv", node.inputs, attributes, "columns"), encoding, names, node);
	const bounds = Object.entries({ start: 0, end: 2 ** 31 - 1, axis: 3, step: 2 });
	const taken = bounds.map(([label, number]) => writer.constant(label, int64Tensor([1], [number])));
	writer.give(0, writer.emit("Slice", [columns, ...taken], {}, "taken"));
	writer.finish();
	return true;
};

/** Conv of one position with steps, and no pads -> Slice with these steps, Q, DQ, Conv without; dilations, which say nothing, are left out. */
export const slicePositions: Remedy = ({ node }, { names }) => {
	const steps = intsOf(node, "strides");
	node.attributes.delete("dilations");
	if (["", "1,1", "2,2"].includes(steps.join())) return true;
	const encoding = encodingBehind(node.inputs[0]);
	const isPadded = (stringOf(node, "auto_pad") ?? "").startsWith("SAME") || intsOf(node, "pads").some((pad) => pad > 0);
	if (encoding === undefined || isPadded) return false;
	const writer = new NodeWriter(node, names);
	const bounds = Object.entries({ starts: [0, 0], ends: [2 ** 31 - 1, 2 ** 31 - 1], axes: [2, 3], steps });
	const taken = bounds.map(([label, numbers]) => writer.constant(label, int64Tensor([2], numbers)));
	const positions = writer.emit("Slice", [node.inputs[0], ...taken], {}, "positions");
	node.setInput(0, addQdq(node.graph!, positions, encoding, names, node));
	node.attributes.delete("strides");
	return true;
};
