import { bytesFrom, type ElementType, isFloat, numbersOf } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { inputError, type ModelInput, ShapeBinding } from "./model-inputs.js";

/** The array of an input among those of a file. Throws `runtime/inputs` where there is none. */
export function arrayOf<T>(found: ReadonlyMap<string, T>, name: string, file: string): T {
	const array = found.get(name);
	if (array !== undefined) return array;
	const names = [...found.keys()].map((key) => `'${key}'`).join(", ");
	throw inputError(`'${file}' has no array '${name}', only ${names || "none at all"}`, name);
}

/**
 * The array itself, where its numbers are such as the input takes: floats for floats, integers that fit its type for
 * integers. Throws `runtime/inputs` for others.
 */
export function fittingType(array: NumpyArray, { name, type }: ModelInput, file: string): NumpyArray {
	if (isFloat(array.type) !== isFloat(type) || (array.type === "bool") !== (type === "bool")) {
		throw inputError(`'${file}': array '${name}' is ${array.type}, but the input is ${type}`, name);
	}
	if (array.type === type || isFloat(type)) return array;
	const bits = Number(/\d+$/.exec(type)![0]);
	const isSigned = type.startsWith("int");
	const [min, max] = isSigned ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1];
	const values = Array.from(numbersOf(array.type, exactBuffer(array.bytes)));
	const wrong = values.find((value) => value < min || value > max);
	if (wrong === undefined) return array;
	throw inputError(`'${file}': array '${name}' has the value ${wrong}, which is no ${type}`, name);
}

/** Throws `runtime/inputs` where an array has not the shape of the input. The binding learns symbolic dimensions. */
export function requireShape(
	{ shape }: NumpyArray,
	input: Pick<ModelInput, "name" | "shape">,
	file: string,
	binding: ShapeBinding,
): void {
	if (input.shape === undefined) return;
	binding.bind(input.name, input.shape, shape);
	const expected = binding.resolve(input.name, input.shape, new Set());
	if (expected.length === shape.length && expected.every((length, axis) => length === shape[axis])) return;
	const shapes = `[${shape.join(", ")}], but the input is [${input.shape.join(", ")}]`;
	throw inputError(`'${file}': array '${input.name}' is ${shapes}`, input.name);
}

/** The same numbers in another element type. */
export function convertedTo(array: NumpyArray, type: ElementType): NumpyArray {
	if (array.type === type) return array;
	const bytes = bytesFrom(type, numbersOf(array.type, exactBuffer(array.bytes)));
	return { type, shape: array.shape, bytes };
}

/** The arrays of a sample as a model takes them, by the names of its inputs. Throws `runtime/inputs` where they do not fit. */
export function feedsOf(
	inputs: readonly ModelInput[],
	arrays: ReadonlyMap<string, NumpyArray>,
	origin: string,
): Map<string, NumpyArray> {
	const binding = new ShapeBinding({});
	return new Map(
		inputs.map((input) => {
			const array = fittingType(arrayOf(arrays, input.name, origin), input, origin);
			requireShape(array, input, origin, binding);
			return [input.name, convertedTo(array, input.type)] as const;
		}),
	);
}

function exactBuffer(bytes: Uint8Array): ArrayBuffer {
	return new Uint8Array(bytes).buffer;
}
