import { type Attribute, intsAttribute } from "../ir/attribute.js";
import { type Model, onnxOpset } from "../ir/model.js";

/** From this operator set on, Reduce operators take their axes as an input. */
const AXES_INPUT_OPSET = 18;
const SUM_AXES_INPUT_OPSET = 13;

/** How the Reduce operator `op` is told its axes: by an input, or in an attribute. */
export function reductionAxes(
	model: Model,
	op: string,
	axes: readonly number[],
): { readonly input: readonly number[] | undefined; readonly attributes: Readonly<Record<string, Attribute>> } {
	const takesInput = (onnxOpset(model) ?? 0) >= (op === "ReduceSum" ? SUM_AXES_INPUT_OPSET : AXES_INPUT_OPSET);
	return takesInput ? { input: axes, attributes: {} } : { input: undefined, attributes: { axes: intsAttribute(axes) } };
}
