import { type ElementType, elementTypeOf } from "../arrays/element-type.js";
import { QGraphError } from "../diagnostics.js";
import type { Model } from "../ir/model.js";
import { type Dimension, dataTypeName } from "../ir/types.js";
import type { Value } from "../ir/value.js";

/** An input that a model must be given. */
export interface ModelInput {
	readonly value: Value;
	readonly name: string;
	readonly type: ElementType;
	/** undefined: not even the rank is known. */
	readonly shape: readonly Dimension[] | undefined;
}

/** The inputs that a model must be given: those without a default. Throws `runtime/inputs` for what runtimes do not take. */
export function inputsOf(model: Model): ModelInput[] {
	return model.graph.inputs
		.filter((value) => value.initializer === undefined)
		.map((value) => {
			const type = value.type?.kind === "tensor" ? elementTypeOf(value.type.elementType) : undefined;
			if (value.type?.kind === "tensor" && type !== undefined) {
				return { value, name: value.name, type, shape: value.type.shape };
			}
			const found =
				value.type?.kind === "tensor" ? dataTypeName(value.type.elementType) : (value.type?.kind ?? "untyped");
			throw inputError(`input '${value.name}' is ${found}, expected a tensor of numbers`, value.name);
		});
}

/** Lengths of symbolic dimensions: by their name, or by `input:axis`. */
export type DimensionLengths = Readonly<Record<string, number>>;

/**
 * The shapes with which both models can be run. A dimension that one of them fixes is fixed in the other, and by its name
 * wherever it stands; `given` says the rest. Throws `runtime/dimension` naming what is missing.
 */
export class ShapeBinding {
	readonly #lengths: Map<string, number>;

	constructor(given: DimensionLengths) {
		this.#lengths = new Map(Object.entries(given));
	}

	/** Lengths of the symbolic dimensions, by name. */
	get lengths(): Record<string, number> {
		return Object.fromEntries([...this.#lengths].filter(([name]) => !name.includes(":")));
	}

	/** Learns the names in `symbolic` from the lengths in `actual`. */
	bind(input: string, symbolic: readonly Dimension[] | undefined, actual: readonly Dimension[] | undefined): void {
		if (symbolic === undefined || actual === undefined) return;
		for (const [axis, dimension] of symbolic.entries()) {
			const length = actual[axis];
			if (typeof dimension === "number" || typeof length !== "number") continue;
			const name = nameOf(dimension) ?? `${input}:${axis}`;
			const known = this.#lengths.get(name);
			if (known !== undefined && known !== length) {
				throw inputError(
					`dimension ${axis} of input '${input}' is ${length}, but '${name}' is ${known} elsewhere`,
					input,
				);
			}
			this.#lengths.set(name, length);
		}
	}

	/** The shape of an input, all dimensions known. Those that are not are added to `missing`. */
	resolve(input: string, shape: readonly Dimension[] | undefined, missing: Set<string>): number[] {
		if (shape === undefined) {
			throw inputError(`input '${input}' has no shape; give its values with --inputs`, input);
		}
		return shape.map((dimension, axis) => {
			if (typeof dimension === "number") return dimension;
			const place = `${input}:${axis}`;
			const name = nameOf(dimension);
			const length = this.#lengths.get(place) ?? (name === undefined ? undefined : this.#lengths.get(name));
			if (length === undefined) missing.add(name ?? place);
			return length ?? 0;
		});
	}
}

/** The HTP's compiler must know all lengths, and those of dimensions without a name cannot be told to it. */
export function requireNamedDimensions(model: Model): void {
	for (const { name, shape } of inputsOf(model)) {
		if (shape?.every((dimension) => dimension !== undefined)) continue;
		const message = `input '${name}' has ${shape === undefined ? "no shape" : "a dimension without length or name"}; the HTP takes fixed shapes only`;
		throw new QGraphError("runtime/dimension", message, { value: name });
	}
}

/** The error that asks for lengths of dimensions. */
export function missingLengths(missing: ReadonlySet<string>): QGraphError {
	const flags = [...missing].map((name) => `--dim ${name}=LENGTH`).join(" ");
	const message = `the length of ${missing.size === 1 ? "a dimension is" : "some dimensions is"} not fixed; say ${flags}`;
	return new QGraphError("runtime/dimension", message);
}

export function inputError(message: string, value?: string): QGraphError {
	return new QGraphError("runtime/inputs", message, value === undefined ? {} : { value });
}

/** The name of a symbolic dimension; of paddle2onnx's "?", which stands for any length wherever it is, there is none. */
function nameOf(dimension: Dimension): string | undefined {
	return typeof dimension === "string" && dimension !== "?" ? dimension : undefined;
}
