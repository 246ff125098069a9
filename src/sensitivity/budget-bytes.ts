import { type Budget, parseBudget } from "../analysis/budget.js";
import { QGraphError } from "../diagnostics.js";
import { serializedSize } from "../onnx/file.js";
import type { Measured } from "./analyze-options.js";
import type { PrecisionChoice } from "./choose-precisions.js";
import type { SensitivityUnit } from "./find-sensitivity-units.js";
import type { SensitivityMeasure } from "./measure-sensitivity.js";

/** Bytes of codes and scales of `units` that a budget leaves. */
export function bytesWithin(text: string, units: readonly SensitivityUnit[], otherBytes: number): number {
	const budget: Budget = parseBudget(text);
	if ("bitsPerWeight" in budget)
		return (budget.bitsPerWeight * units.reduce((sum, { elements }) => sum + elements, 0)) / 8;
	return "bytes" in budget ? budget.bytes - otherBytes : 0;
}

/**
 * Bytes of the model that no choice for `units` changes: of the base recipe's model, if there is one, else of the float one.
 *
 * @param ownBytes of a unit as the base recipe makes it.
 */
export function bytesBeside(
	units: readonly SensitivityUnit[],
	{ model }: SensitivityMeasure,
	{ base }: Measured,
	ownBytes: (unit: SensitivityUnit) => number,
): number {
	if (base === undefined) return serializedSize(model) - units.reduce((sum, { floatBytes }) => sum + floatBytes, 0);
	return base.bytes - units.reduce((sum, unit) => sum + ownBytes(unit), 0);
}

/** What to say where not even the smallest candidates keep the budget. */
export function budgetTooSmall(choice: PrecisionChoice, otherBytes: number): QGraphError {
	const least = choice.bytesOf(choice.smallest());
	const bits = ((8 * least) / choice.elements).toFixed(2);
	const megabytes = ((least + otherBytes) / 1e6).toPrecision(4);
	const message = `no choice keeps the budget: the smallest candidates take ${bits} bits a weight, the model ${megabytes} MB`;
	return new QGraphError("recipe/budget", message);
}
