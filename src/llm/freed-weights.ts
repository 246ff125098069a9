import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import type { Value } from "../ir/value.js";
import { constantAxes } from "../passes/support/constant-axes.js";
import { FloatConstants } from "../passes/support/float-constants.js";
import { placedEncodingAt } from "../passes/support/node-encoding.js";
import { findQuantizedTensors } from "../passes/support/quantized-tensors.js";
import { zeroPointKind } from "../passes/support/zero-points.js";
import { decide } from "../recipe/decide.js";
import { findRecipe } from "../recipe/find-recipe.js";
import { findUnits } from "../recipe/find-units.js";
import { PRECISION_FACTS } from "../recipe/precision.js";
import type { WeightSite } from "../weights/weight-site.js";

/**
 * Makes weights that are quantized in blocks float where a recipe wants something else than their integers: not 4 bits in
 * blocks, or these of a weight with zero points, which LPBQ does not have. It quantizes them anew then. Returns how many.
 */
export function freeWeights(model: Model, recipe: string): number {
	const freed = new Set<Value>();
	for (const { unit, setting } of decide(findRecipe(recipe), findUnits(model)).decisions) {
		if (unit.kind !== "weight" || unit.site.scheme !== "block" || setting.precision === "keep") continue;
		const { isBlock, weightBits } = PRECISION_FACTS[setting.precision];
		if (!isBlock || weightBits !== 4 || !isSymmetricInt4(unit.site)) freed.add(unit.site.stored.value);
	}
	const constants = new FloatConstants(new NameScope(model));
	let count = 0;
	for (const found of findQuantizedTensors(model)) {
		const [node] = found.dequantize;
		if (found.codes === undefined || node === undefined || !freed.has(found.codes.value)) continue;
		const { shape, dtype } = found.codes.tensor;
		// what ONNX Runtime's exporters store has negative scales
		const encoding = placedEncodingAt(node, { shape, dtype, axes: constantAxes(found.codes.value, shape) }, "any");
		if (typeof encoding !== "string" && constants.replace({ ...found, encoding })) count++;
	}
	return count;
}

function isSymmetricInt4({ bits, stored, dequantization }: WeightSite): boolean {
	const zeroPoint = dequantization?.zeroPoint?.tensor;
	return bits === 4 && zeroPointKind({ codes: stored.tensor, zeroPoint }) !== "mixed";
}
