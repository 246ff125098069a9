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
 * place when enlarging and the one behind it when shrinking.
 */
export function sayResizePixels(draft: NodeDraft): void {
	const mode = draft.text("mode", "nearest");
	const scales = draft.requiredInput(1);
	draft.setInput(1, undefined);
	draft.setInput(2, scales);
	draft.attributes.set("coordinate_transformation_mode", stringAttribute("asymmetric"));
	if (mode !== "nearest") return;
	const factors = draft.node.op.type === "Upsample" ? [] : draft.floatsOf(scales);
	if (factors === undefined) {
		refuse("its scales are not constant, and with mode 'nearest' which pixel is taken depends on whether they enlarge");
	}
	const enlarges = factors.some((factor) => factor > 1);
	const shrinks = factors.some((factor) => factor < 1);
	draft.attributes.set("nearest_mode", stringAttribute(shrinks ? "ceil" : "floor"));
	if (!enlarges || !shrinks) return;
	const only = (label: string, keep: (factor: number) => boolean): Operand => ({
		label,
		tensor: floatTensor(
			[factors.length],
			factors.map((factor) => (keep(factor) ? factor : 1)),
		),
	});
	const attributes = Object.fromEntries(draft.attributes);
	const enlarged = newNode(
		"enlarged",
		"Resize",
		[draft.requiredInput(0), undefined, only("enlarging", (factor) => factor > 1)],
		{ ...attributes, nearest_mode: stringAttribute("floor") },
	);
	draft.setInput(0, enlarged);
	draft.setInput(
		2,
		only("shrinking", (factor) => factor < 1),
	);
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
