import { intAttribute } from "../../../ir/attribute.js";
import { DataType, dataTypeName } from "../../../ir/types.js";
import { type NodeDraft, refuse } from "./node-draft.js";
import { newNode } from "./operands.js";

/* Operators that lost a combination of element types, or a rule of rounding sizes. */

/** QuantizeLinear 19 to 22 wants data of the scale's type: of integers the float values, which it took them for before. */
export function floatQuantizedData(draft: NodeDraft): void {
	const data = draft.requiredInput(0);
	if (draft.context.target >= 23 || draft.elementTypeOf(data) !== DataType.INT32) return;
	draft.setInput(0, newNode("float", "Cast", [data], { to: intAttribute(DataType.FLOAT) }));
}

const FLOAT_TYPES: readonly DataType[] = [DataType.FLOAT, DataType.FLOAT16, DataType.DOUBLE, DataType.BFLOAT16];

/** Erf 13 computes floats only. */
export function refuseIntegerErf(draft: NodeDraft): void {
	const type = draft.elementTypeOf(draft.requiredInput(0));
	if (type !== undefined && !FLOAT_TYPES.includes(type)) {
		refuse(`its input is ${dataTypeName(type)}, and only floats are computed since`);
	}
}

/** AveragePool, MaxPool 22: with `ceil_mode` a window that would begin in the padding at the end is no longer counted. */
export function checkCeiledWindows(draft: NodeDraft): void {
	if (draft.integer("ceil_mode", 0) === 0 || draft.text("auto_pad", "NOTSET").startsWith("SAME")) return;
	const kernel = draft.integers("kernel_shape") ?? refuse("attribute 'kernel_shape' is missing");
	const isSame = kernel.every((size, axis) => {
		const at = (name: string, fallback: number, index = axis) => draft.integers(name)?.[index] ?? fallback;
		const length = draft.shapeOf(draft.inputs[0])?.[axis + 2];
		const extent = (size - 1) * at("dilations", 1) + 1;
		const [stride, begin, end] = [at("strides", 1), at("pads", 0), at("pads", 0, axis + kernel.length)];
		if (end + stride <= extent) return true;
		if (typeof length !== "number") return false;
		const lastWindow = Math.ceil((length + begin + end - extent) / stride) * stride;
		return lastWindow < length + begin;
	});
	if (!isSame) refuse("with 'ceil_mode' 1 it counts windows that begin in the padding at the end, or may, which ended");
}
