import { ENCODING_REMEDIES } from "./remedies/encodings.js";
import { FORM_REMEDIES } from "./remedies/forms.js";
import { SHAPE_REMEDIES } from "./remedies/shapes.js";
import { VALUE_REMEDIES } from "./remedies/values.js";
import { WEIGHT_REMEDIES } from "./remedies/weights.js";
import { WINDOW_REMEDIES } from "./remedies/windows.js";
import type { Remedy } from "./remedy.js";

/** Remedies by the rule that they are for. */
export const OPERATOR_REMEDIES: ReadonlyMap<string, Remedy> = new Map([
	...WEIGHT_REMEDIES,
	...ENCODING_REMEDIES,
	...VALUE_REMEDIES,
	...SHAPE_REMEDIES,
	...WINDOW_REMEDIES,
	...FORM_REMEDIES,
]);
