import { stringAttribute } from "../../../ir/attribute.js";
import { floatTensor } from "../../../ir/tensor.js";
import { type NodeDraft, type Operand, refuse } from "./node-draft.js";
import { newNode } from "./operands.js";

/* Upsample and the Resize that it became. */

/** Upsample 10 -> Resize 10, which also shrinks. */
export function renameUpsample(draft: NodeDraft): void {
	draft.type = "Resize";
}

/**
 * Resize 11 says where pixels are. Before, pixel i of an axis came from i / scale, and `nearest` took the pixel before that
 * place when enlarging and the one behind it when shrinking. Where axes do both, or nobody knows, one node enlarges and one
 * shrinks.
 */
export function sayResizePixels(draft: NodeDraft): void {
	const mode = draft.text("mode", "nearest");
	const scales = draft.requiredInput(1);
	draft.setInput(1, undefined);
	draft.setInput(2, scales);
	draft.attributes.set("coordinate_transformation_mode", stringAttribute("asymmetric"));
	if (mode !== "nearest") return;
	const factors = draft.node.op.type === "Upsample" ? [] : draft.floatsOf(scales);
	const enlarges = factors?.some((factor) => factor > 1) ?? true;
	const shrinks = factors?.some((factor) => factor < 1) ?? true;
	draft.attributes.set("nearest_mode", stringAttribute(shrinks ? "ceil" : "floor"));
	if (!enlarges || !shrinks) return;
	const one: Operand = { label: "one", tensor: floatTensor([], [1]) };
	const limited = (label: string, op: "Max" | "Min"): Operand =>
		factors === undefined
			? newNode(label, op, [scales, one])
			: {
					label,
					tensor: floatTensor(
						[factors.length],
						factors.map((factor) => Math[op === "Max" ? "max" : "min"](factor, 1)),
					),
				};
	const attributes = { ...Object.fromEntries(draft.attributes), nearest_mode: stringAttribute("floor") };
	const inputs = [draft.requiredInput(0), undefined, limited("enlarging", "Max")];
	draft.setInput(0, newNode("enlarged", "Resize", inputs, attributes));
	draft.setInput(2, limited("shrinking", "Min"));
}

/** Roundings of `tf_half_pixel_for_nn`, (i + 0.5) / scale, and the same of `half_pixel`, which lies half a pixel before. */
const HALF_PIXEL_ROUNDING: Readonly<Record<string, string>> = {
	floor: "round_prefer_ceil",
	round_prefer_floor: "ceil",
};

/** Resize 13: one of `scales` and `sizes` is left out, not empty, and `tf_half_pixel_for_nn` is gone. */
export function chooseScalesOrSizes(draft: NodeDraft): void {
	if (draft.inputs[3] !== undefined) {
		if (isEmpty(draft, 3)) draft.setInput(3, undefined);
		else draft.setInput(2, undefined);
	}
	if (isEmpty(draft, 1)) draft.setInput(1, undefined);
	if (draft.text("coordinate_transformation_mode", "half_pixel") !== "tf_half_pixel_for_nn") return;
	const rounding = HALF_PIXEL_ROUNDING[draft.text("nearest_mode", "round_prefer_floor")];
	if (rounding === undefined || draft.text("mode", "nearest") !== "nearest") {
		refuse("its coordinate_transformation_mode 'tf_half_pixel_for_nn' is gone, and no other mode is the same");
	}
	draft.attributes.set("coordinate_transformation_mode", stringAttribute("half_pixel"));
	draft.attributes.set("nearest_mode", stringAttribute(rounding));
}

function isEmpty(draft: NodeDraft, index: number): boolean {
	return draft.constantOf(draft.inputs[index])?.shape.includes(0) ?? false;
}
