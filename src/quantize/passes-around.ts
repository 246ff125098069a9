import { applyPrecisionRecipe } from "../passes/apply-precision-recipe.js";
import { allPasses, legalizingPasses, quantizingPasses } from "../passes/index.js";
import type { AnyPassFactory } from "../passes/infra/pass.js";
import { insertActivationQdq } from "../passes/insert-activation-qdq.js";
import type { Target } from "../targets/target.js";

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
