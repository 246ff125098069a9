import { isOnnxOp } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import { isView } from "../../weights/activation.js";
import { constantOf, removeIfUnused } from "../../weights/constant.js";

/** Operators, views aside, that weights may come out of. */
const CONVERSIONS = ["DequantizeLinear", "QuantizeLinear", "Cast"] as const;

/**
 * Removes a constant, quantized or not, that nobody reads any more, with everything that only it was made of: operators that
 * weights come out of, and constants.
 */
export function removeUnused(value: Value): void {
	if (value.uses.length > 0 || value.isGraphOutput) return;
	if (constantOf(value) !== undefined) {
		removeIfUnused(value);
		return;
	}
	const { producer } = value;
	if (producer === undefined || !(isView(producer) || isOnnxOp(producer, ...CONVERSIONS))) return;
	const inputs = new Set(producer.inputs);
	producer.remove();
	for (const input of inputs) if (input !== undefined) removeUnused(input);
}
