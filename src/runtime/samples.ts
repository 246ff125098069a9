import { writeFile } from "node:fs/promises";
import path from "node:path";
import { type ElementType, isFloat } from "../arrays/element-type.js";
import { type NumpyArray, readNpz } from "../arrays/npz.js";
import type { Model } from "../ir/model.js";
import type { Encoding } from "../passes/support/qdq.js";
import { encodedAs, inputEncoding } from "./input-codes.js";
import {
	type DimensionLengths,
	inputError,
	inputsOf,
	type ModelInput,
	missingLengths,
	ShapeBinding,
} from "./model-inputs.js";
import { randomArray } from "./random-inputs.js";
import { arrayOf, convertedTo, fittingType, requireShape } from "./sample-arrays.js";
import type { TensorFile } from "./session.js";

/** What two models are run on. */
export interface SampleOptions {
	/** Files of numpy's savez, one a sample, with an array for every input. Without: random inputs. */
	readonly inputs?: readonly string[] | undefined;
	/** Random samples; default 1. */
	readonly samples?: number | undefined;
	/** Of the random numbers; default 0. */
	readonly seed?: number | undefined;
	/** Lengths of symbolic dimensions, by name or as `input:axis`. */
	readonly dimensions?: DimensionLengths | undefined;
}

/** The same inputs for both models, in files, each in the element types of its model, or as the codes that it takes. */
export interface Samples {
	readonly reference: readonly (readonly TensorFile[])[];
	readonly converted: readonly (readonly TensorFile[])[];
	/** Lengths of the symbolic dimensions. */
	readonly dimensions: Readonly<Record<string, number>>;
}

interface InputPair {
	readonly reference: ModelInput;
	/** undefined: the converted model needs it no more. */
	readonly converted: ModelInput | undefined;
	/** What the codes of the converted model's input stand for, where the reference has floats. */
	readonly encoding: Encoding | undefined;
}

/** Makes or reads the inputs of both models. Throws `runtime/...` where they do not fit. */
export async function makeSamples(
	reference: Model,
	converted: Model,
	folder: string,
	options: SampleOptions,
): Promise<Samples> {
	const pairs = pairInputs(inputsOf(reference), inputsOf(converted));
	const binding = new ShapeBinding(options.dimensions ?? {});
	for (const { reference: a, converted: b } of pairs) {
		binding.bind(a.name, a.shape, b?.shape);
		binding.bind(a.name, b?.shape, a.shape);
	}
	const samples = { reference: [] as TensorFile[][], converted: [] as TensorFile[][] };
	const add = async (sample: number, arrays: ReadonlyMap<InputPair, NumpyArray>) => {
		const write = async (type: ElementType, index: number, name: string, array: NumpyArray) => {
			const file = path.join(folder, `input-${sample}-${index}-${type}.bin`);
			await writeFile(file, convertedTo(array, type).bytes);
			return { name, type, shape: array.shape, file };
		};
		const [a, b]: [TensorFile[], TensorFile[]] = [[], []];
		for (const [index, pair] of pairs.entries()) {
			const array = arrays.get(pair)!;
			a.push(await write(pair.reference.type, index, pair.reference.name, array));
			if (pair.converted === undefined) continue;
			const given = pair.encoding === undefined ? array : encodedAs(array, pair.encoding);
			b.push(await write(pair.converted.type, index, pair.converted.name, given));
		}
		samples.reference.push(a);
		samples.converted.push(b);
	};
	const files = options.inputs ?? [];
	for (const [sample, file] of files.entries()) await add(sample, arraysOf(file, pairs, binding));
	if (files.length === 0) {
		const shapes = resolveShapes(pairs, binding);
		for (let sample = 0; sample < (options.samples ?? 1); sample++) {
			const arrays = new Map<InputPair, NumpyArray>();
			for (const pair of pairs) {
				arrays.set(pair, randomArray(pair.reference, shapes.get(pair)!, options.seed ?? 0, sample));
			}
			await add(sample, arrays);
		}
	}
	return { ...samples, dimensions: binding.lengths };
}

function pairInputs(reference: readonly ModelInput[], converted: readonly ModelInput[]): InputPair[] {
	for (const { name } of converted) {
		if (reference.some((input) => input.name === name)) continue;
		const names = reference.map((input) => `'${input.name}'`).join(", ");
		throw inputError(`the converted model has an input '${name}', the reference only ${names}`, name);
	}
	return reference.map((input) => {
		const other = converted.find(({ name }) => name === input.name);
		if (other === undefined || other.type === input.type || (isFloat(other.type) && isFloat(input.type))) {
			return { reference: input, converted: other, encoding: undefined };
		}
		const encoding = isFloat(input.type) ? inputEncoding(other.value) : undefined;
		if (encoding === undefined) {
			throw inputError(`input '${input.name}' is ${other.type}, but ${input.type} in the reference`, input.name);
		}
		return { reference: input, converted: other, encoding };
	});
}

function resolveShapes(pairs: readonly InputPair[], binding: ShapeBinding): Map<InputPair, number[]> {
	const missing = new Set<string>();
	const shapes = new Map(
		pairs.map((pair) => [pair, binding.resolve(pair.reference.name, pair.reference.shape, missing)] as const),
	);
	if (missing.size > 0) throw missingLengths(missing);
	return shapes;
}

/** The arrays of a file, which must fit the inputs; symbolic dimensions get their lengths. */
function arraysOf(file: string, pairs: readonly InputPair[], binding: ShapeBinding): Map<InputPair, NumpyArray> {
	const found = readNpz(file);
	return new Map(
		pairs.map((pair) => {
			const array = arrayOf(found, pair.reference.name, file);
			const fitting = fittingType(array, pair.reference, file);
			for (const input of [pair.reference, pair.converted]) {
				if (input !== undefined) requireShape(array, input, file, binding);
			}
			return [pair, fitting] as const;
		}),
	);
}
