import { QGraphError } from "../../diagnostics.js";
import { statedType } from "../../inference/stated.js";
import type { Model } from "../../ir/model.js";
import type { Dimension, ValueType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";

/** Lengths that somebody chose: of dimensions by their names, and of unnamed ones by input and axis. */
export interface FixedDimensions {
	readonly byName: ReadonlyMap<string, number>;
	readonly byInput: ReadonlyMap<Value, ReadonlyMap<number, number>>;
}

/**
 * Reads `batch=1` and `input_ids:0=1`, and looks them up among the inputs of `model`. Throws `shapes/bad-dimension` for text
 * of another form, `shapes/unknown-dimension` for what no input has, `shapes/conflict` for two lengths of one dimension.
 */
export function fixedDimensions(model: Model, texts: readonly string[]): FixedDimensions {
	const byName = new Map<string, number>();
	const byInput = new Map<Value, Map<number, number>>();
	const names = dimensionNames(model);
	for (const text of texts) {
		const { target, length } = parse(text);
		if (names.has(target)) setOnce(byName, target, length, target);
		else {
			const place = placeOf(model, target);
			if (place === undefined) {
				const dynamic = dynamicDimensions(model, names);
				// A name that was fixed before is gone.
				if (dynamic.length === 0 && !target.includes(":")) continue;
				throw unknown(target, dynamic);
			}
			const found = shapeOf(place.value)![place.axis];
			if (typeof found === "string") setOnce(byName, found, length, target);
			else if (found === undefined) {
				const axes = byInput.get(place.value) ?? new Map<number, number>();
				byInput.set(place.value, axes);
				setOnce(axes, place.axis, length, target);
			} else if (found !== length) {
				throw new QGraphError("shapes/conflict", `'${target}' is ${found} in the model, not ${length}`, {
					value: place.value.name,
				});
			}
		}
	}
	return { byName, byInput };
}

function parse(text: string): { readonly target: string; readonly length: number } {
	const at = text.lastIndexOf("=");
	const length = at > 0 && /^[0-9]+$/.test(text.slice(at + 1)) ? Number(text.slice(at + 1)) : Number.NaN;
	if (Number.isSafeInteger(length)) return { target: text.slice(0, at), length };
	throw new QGraphError("shapes/bad-dimension", `'${text}' is no dimension; expected 'name=4' or 'input:axis=4'`);
}

function setOnce<K>(lengths: Map<K, number>, key: K, length: number, target: string): void {
	const before = lengths.get(key);
	if (before !== undefined && before !== length) {
		throw new QGraphError("shapes/conflict", `'${target}' is to be ${before} and ${length}; name it once`);
	}
	lengths.set(key, length);
}

/** Names of dimensions of the inputs, in order. */
function dimensionNames(model: Model): ReadonlySet<string> {
	const dimensions = model.graph.inputs.flatMap((input) => shapeOf(input) ?? []);
	return new Set(dimensions.filter((dimension) => typeof dimension === "string"));
}

/** The input and axis that `input_ids:0` means. */
function placeOf(model: Model, target: string): { readonly value: Value; readonly axis: number } | undefined {
	const at = target.lastIndexOf(":");
	const value = model.graph.inputs.find(({ name }) => name === target.slice(0, at));
	const axis = /^[0-9]+$/.test(target.slice(at + 1)) ? Number(target.slice(at + 1)) : Number.NaN;
	return value !== undefined && axis < (shapeOf(value)?.length ?? 0) ? { value, axis } : undefined;
}

/** What can be fixed: names, and `input:axis` of dimensions without one. */
function dynamicDimensions(model: Model, names: ReadonlySet<string>): readonly string[] {
	const unnamed = model.graph.inputs.flatMap((input) =>
		(shapeOf(input) ?? []).flatMap((dimension, axis) => (dimension === undefined ? [`${input.name}:${axis}`] : [])),
	);
	return [...names, ...unnamed];
}

function unknown(target: string, dynamic: readonly string[]): QGraphError {
	const there = dynamic.map((name) => `'${name}'`).join(", ") || "none";
	return new QGraphError("shapes/unknown-dimension", `no input has a dimension '${target}'; dynamic are ${there}`);
}

/** The shape that the model states; undefined in it is every dimension without a length and without a name that means one. */
function shapeOf(value: Value): readonly Dimension[] | undefined {
	const type = statedType(value);
	return type?.kind === "tensor" || type?.kind === "sparse-tensor" ? type.shape : undefined;
}

/** `type` with the chosen lengths in place of names; the same object where it has none of them. */
export function withLengths(type: ValueType | undefined, byName: ReadonlyMap<string, number>): ValueType | undefined {
	if (type?.kind === "sequence" || type?.kind === "optional") {
		const element = withLengths(type.element, byName);
		return element === type.element ? type : { kind: type.kind, element };
	}
	if ((type?.kind !== "tensor" && type?.kind !== "sparse-tensor") || type.shape === undefined) return type;
	const shape = type.shape.map((dimension) =>
		typeof dimension === "string" ? (byName.get(dimension) ?? dimension) : dimension,
	);
	return shape.every((dimension, axis) => dimension === type.shape![axis]) ? type : { ...type, shape };
}
