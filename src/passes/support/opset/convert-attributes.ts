import { intAttribute, stringAttribute } from "../../../ir/attribute.js";
import { type NodeDraft, refuse } from "./node-draft.js";
import { floatsToInput, floatToInput, integersToInput, integerToInput, newIntegers } from "./operands.js";

/* Operators whose attributes became inputs, or got other defaults and names. */

/** Squeeze, Unsqueeze, ReduceSum 13; other reductions 18: `axes`. No axes mean all of them, before and after. */
export function axesToInput(draft: NodeDraft): void {
	if (draft.type.startsWith("Reduce") && draft.attributes.get("axes")?.kind === "ints") {
		if (draft.integers("axes")!.length === 0) draft.take("axes");
	}
	integersToInput(draft, "axes", 1);
	if (draft.type === "Unsqueeze") draft.requiredInput(1);
}

/** Slice 10: `starts`, `ends`, `axes`. */
export function sliceToInputs(draft: NodeDraft): void {
	integersToInput(draft, "starts", 1);
	integersToInput(draft, "ends", 2);
	integersToInput(draft, "axes", 3);
	draft.requiredInput(1);
	draft.requiredInput(2);
}

/** Split 13: `split`. */
export function splitToInput(draft: NodeDraft): void {
	integersToInput(draft, "split", 1);
}

/** Split 18: where nothing says how to split, the number of parts does. */
export function numberOutputs(draft: NodeDraft): void {
	if (draft.inputs[1] === undefined) draft.attributes.set("num_outputs", intAttribute(draft.outputs.length));
}

/** TopK 10: `k`. */
export function countToInput(draft: NodeDraft): void {
	integerToInput(draft, "k", 1, 1);
	draft.requiredInput(1);
}

/** Pad 11: `pads`, `value`. */
export function padsToInputs(draft: NodeDraft): void {
	integersToInput(draft, "pads", 1);
	draft.requiredInput(1);
	floatToInput(draft, "value", 2, { like: draft.requiredInput(0), unless: 0, label: "constant_value" });
}

/** The bounds of Clip 6, which left out mean the same in version 11: those of the element type. */
const LARGEST_FLOAT = Math.fround(3.4028234663852886e38);

/** Clip 11: `min`, `max`. */
export function boundsToInputs(draft: NodeDraft): void {
	const like = draft.requiredInput(0);
	floatToInput(draft, "min", 1, { like, unless: -LARGEST_FLOAT });
	floatToInput(draft, "max", 2, { like, unless: LARGEST_FLOAT });
}

/** Dropout 10: the mask, of the data's type before, is BOOL. What it holds was said for training only. */
export function refuseMask(draft: NodeDraft): void {
	if (draft.isOutputUsed(1)) refuse("its output 'mask' is used, which has another type and meaning from then on");
}

/** Dropout 12: `ratio`. Dropping out has to be asked for with an input now, so that nothing is dropped, as before. */
export function ratioToInput(draft: NodeDraft): void {
	refuseMask(draft);
	floatToInput(draft, "ratio", 1, {});
}

/** Upsample 9: `scales`. */
export function scalesToInput(draft: NodeDraft): void {
	floatsToInput(draft, "scales", 1);
	draft.requiredInput(1);
}

/** DFT 20: `axis`, whose default was 1 and is -2. */
export function axisToInput(draft: NodeDraft): void {
	if (draft.attributes.has("axis")) integerToInput(draft, "axis", 2, 0);
	else draft.setInput(2, newIntegers("axis", [], [1]));
}

/** RoiAlign 16: pixels are where they were only where the attribute that came, `coordinate_transformation_mode`, says so. */
export function keepRoiPixels(draft: NodeDraft): void {
	if (!draft.attributes.has("coordinate_transformation_mode")) {
		draft.attributes.set("coordinate_transformation_mode", stringAttribute("output_half_pixel"));
	}
}

const SAMPLING_NAMES: Readonly<Record<string, string>> = { bilinear: "linear", bicubic: "cubic" };

/** GridSample 20: modes lost the "bi" of their names. */
export function renameSamplingMode(draft: NodeDraft): void {
	const renamed = SAMPLING_NAMES[draft.text("mode", "")];
	if (renamed !== undefined) draft.attributes.set("mode", stringAttribute(renamed));
}

/** Scatter 11: the operator got another name. */
export function renameScatter(draft: NodeDraft): void {
	draft.type = "ScatterElements";
}

/** Scan 9: batches and sequence lengths went away. */
export function refuseScan(): never {
	return refuse("Scan went over batches of sequences of any length, which no operator does since");
}
