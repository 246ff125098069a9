import { type ApplyPrecisionRecipeOptions, applyPrecisionRecipe } from "../passes/apply-precision-recipe.js";
import type { Pass } from "../passes/infra/pass.js";
import { type InsertActivationQdqOptions, insertActivationQdq } from "../passes/insert-activation-qdq.js";
import type { StatisticsFiles } from "./statistics.js";

export interface QuantizersOptions extends Pick<StatisticsFiles, "encodings" | "hessian"> {
	readonly recipe: string;
	/** How scales of weights are found; default `search`. */
	readonly fit?: ApplyPrecisionRecipeOptions["fit"] | undefined;
	readonly products?: InsertActivationQdqOptions["products"] | undefined;
	/** Inputs and outputs of the model; default float. */
	readonly io?: InsertActivationQdqOptions["io"] | undefined;
	/** Activations that have 8 bits already; default `keep`. */
	readonly existing?: InsertActivationQdqOptions["existing"] | undefined;
}

/** The passes that quantize a float model's weights and then its activations. */
export function quantizers({ recipe, encodings, hessian, ...options }: QuantizersOptions): Pass[] {
	const { fit = "search", products = "auto", io = "float", existing = "keep" } = options;
	return [
		applyPrecisionRecipe({ recipe, hessian, fit }),
		insertActivationQdq({ recipe, encodings, products, io, existing }),
	];
}
