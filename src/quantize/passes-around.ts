import type { Model } from "../ir/model.js";
import { applyPrecisionRecipe } from "../passes/apply-precision-recipe.js";
import { bqToLpbq } from "../passes/bq-to-lpbq.js";
import { allPasses, legalizingPasses, quantizingPasses } from "../passes/index.js";
import type { AnyPassFactory } from "../passes/infra/pass.js";
import { insertActivationQdq } from "../passes/insert-activation-qdq.js";
import type { Target } from "../targets/target.js";
import { findWeightSites } from "../weights/weight-site.js";

/** The passes in front of the recipe, and those behind the activations' Q/DQ, in their order; `more` are among them. */
export function passesAround(
	target: Target | undefined,
	more: readonly AnyPassFactory[] = [],
): readonly [readonly AnyPassFactory[], readonly AnyPassFactory[]] {
	const wanted = [...quantizingPasses, ...(target === undefined ? [] : legalizingPasses), ...more];
	const ordered = allPasses.filter((pass) => wanted.includes(pass));
	const at = ordered.indexOf(applyPrecisionRecipe);
	return [
		ordered.slice(0, at),
		ordered.slice(at).filter((pass) => pass !== applyPrecisionRecipe && pass !== insertActivationQdq),
	];
}

/**
 * The same behind the quantizers for a model that was there before them: weights in blocks, which it has from elsewhere,
 * become LPBQ for a target, as nothing else computes on integers there.
 */
export function passesBehind(model: Model, target: Target | undefined): readonly AnyPassFactory[] {
	const isBlocked = findWeightSites(model).some(({ scheme }) => scheme === "block");
	return passesAround(target, isBlocked && target !== undefined ? [bqToLpbq] : [])[1];
}
