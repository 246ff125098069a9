import type { Model } from "../ir/model.js";
import type { Tensor } from "../ir/tensor.js";
import type { Dimension, ValueType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { elementsOfTensor } from "./constant.js";
import { MAX_RANK } from "./dimension.js";
import { type Elements, type Fact, type Shape, tensorFact } from "./fact.js";

/** Some exporters write one of these for every dimension that they do not know; the same name then says nothing. */
const NO_NAME = /^([^a-z]*|none|null|unknown|unk|dynamic)$/i;

/** From IR version 4 on, an initializer that is an input too may be replaced by the caller; before, all of them were inputs. */
const OVERRIDABLE_FROM = 4;

/** The type that the file gives a value, without names that are none. */
export function statedType({ type }: Value): ValueType | undefined {
	return type === undefined || type.kind === "unknown" ? undefined : sanitized(type);
}

/** `type` with every impossible length and every name that is none unknown. */
export function sanitized(type: ValueType | undefined): ValueType | undefined {
	if (type?.kind === "sequence" || type?.kind === "optional")
		return { kind: type.kind, element: sanitized(type.element) };
	if (type?.kind !== "tensor" && type?.kind !== "sparse-tensor") return type;
	if (type.shape === undefined) return type;
	if (type.shape.length > MAX_RANK) return { ...type, shape: undefined };
	if (type.shape.every(isPossible)) return type;
	return { ...type, shape: type.shape.map((dimension) => (isPossible(dimension) ? dimension : undefined)) };
}

function isPossible(dimension: Dimension): boolean {
	if (typeof dimension === "number") return Number.isSafeInteger(dimension) && dimension >= 0;
	return dimension === undefined || !NO_NAME.test(dimension);
}

/** What is known of a value before any node is looked at. */
export function initialFact(value: Value, model: Model): Fact {
	const { initializer, sparseInitializer } = value;
	if (
		value.isGraphInput &&
		value.type !== undefined &&
		(initializer === undefined || model.irVersion >= OVERRIDABLE_FROM)
	) {
		return { type: statedType(value) };
	}
	if (initializer !== undefined) return new ConstantFact(initializer);
	if (sparseInitializer !== undefined) return tensorFact(sparseInitializer.values.dtype, sparseInitializer.shape);
	return { type: statedType(value) };
}

/** A constant, whose bytes are read when somebody asks for them. */
class ConstantFact implements Fact {
	readonly type: ValueType;
	readonly isConstant = true;
	readonly #tensor: Tensor;

	constructor(tensor: Tensor) {
		const shape: Shape = tensor.shape;
		this.type = { kind: "tensor", elementType: tensor.dtype, shape };
		this.#tensor = tensor;
	}

	get elements(): Elements | undefined {
		return elementsOfTensor(this.#tensor);
	}
}
