import type { Model } from "../ir/model.js";
import type { Dimension, ValueType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { isStatic } from "./dimension.js";
import { elementTypeOf, type Fact, shapeOfType } from "./fact.js";
import { Inference } from "./infer.js";
import { initialFact } from "./stated.js";

/** What is known of the values of a model. Of values made later it knows what they say themselves. */
export interface TypeTable {
	/** The type; undefined where not even the kind or the element type is known. */
	typeOf(value: Value): ValueType | undefined;
	/** The dimensions: a number, the name of a symbolic one, or undefined where it is not known. undefined: nor is the rank. */
	shapeOf(value: Value): readonly Dimension[] | undefined;
	/** The dimensions where all of them are numbers. */
	staticShapeOf(value: Value): readonly number[] | undefined;
	/**
	 * What a small tensor contains, in row-major order: constants, and what follows from constants and shapes. Names of
	 * symbolic dimensions stand for their lengths, undefined for what is not known; booleans are 0 and 1.
	 */
	elementsOf(value: Value): readonly Dimension[] | undefined;
}

/**
 * Infers types and shapes of all values of `model`, as it is now: of inputs as they are stated, of all others as they
 * follow from these; what does not follow is taken from the file where it says something. Takes linear time, changes nothing and
 * never guesses. In a function's body, a value has what is common to all calls.
 */
export function inferTypes(model: Model): TypeTable {
	const inference = new Inference(model);
	inference.run();
	const factOf = (value: Value): Fact => inference.facts.get(value) ?? initialFact(value, model);
	const shapeOf = (value: Value): readonly Dimension[] | undefined => shapeOfType(factOf(value).type);
	return {
		typeOf(value) {
			const { type } = factOf(value);
			const isTensor = type?.kind === "tensor" || type?.kind === "sparse-tensor";
			return isTensor && elementTypeOf(type) === undefined ? undefined : type;
		},
		shapeOf,
		staticShapeOf(value) {
			const shape = shapeOf(value);
			return isStatic(shape) ? shape : undefined;
		},
		elementsOf: (value) => factOf(value).elements,
	};
}
