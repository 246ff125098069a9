import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { type ArrayFile, openRaw } from "../../arrays/array-file.js";
import { bytesPerElement, isElementType } from "../../arrays/element-type.js";
import { QGraphError } from "../../diagnostics.js";
import { elementCount } from "../../ir/types.js";
import { reasonOf } from "../../onnx/io-error.js";
import { type ModelInput, missingLengths, ShapeBinding } from "../../runtime/model-inputs.js";
import type { SampleSource } from "../calibration.js";
import { arraySource } from "./array-source.js";
import { joinedSource } from "./joined-source.js";

/**
 * Samples in files without a header, as a JSON file says: `{ "x": { "file": "x.bin", "dtype": "float32", "shape": [1, 3, 224,
 * 224] } }`. The shape is that of one sample; each file has all samples of its input. Paths are relative to the JSON file.
 */
export function rawSource(description: string, inputs: readonly ModelInput[]): SampleSource {
	const arrays = new Map<string, ArrayFile>();
	for (const [name, entry] of Object.entries(readDescription(description))) {
		const { file, dtype, shape } = entry as Record<string, unknown>;
		const isShape = Array.isArray(shape) && shape.every((length) => Number.isSafeInteger(length) && length > 0);
		if (typeof file !== "string" || typeof dtype !== "string" || !isElementType(dtype) || !isShape) {
			const expected = '{ "file": "x.bin", "dtype": "float32", "shape": [1, 4] }';
			throw dataError(description, `'${name}' is not described as ${expected}`);
		}
		const place = path.resolve(path.dirname(description), file);
		const bytes = elementCount(shape) * bytesPerElement(dtype);
		const samples = sizeOf(place) / bytes;
		if (!Number.isInteger(samples)) {
			throw dataError(place, `it has ${sizeOf(place)} bytes, no multiple of the ${bytes} of a sample`);
		}
		arrays.set(name, openRaw(place, dtype, [samples, ...shape]));
	}
	return arraySource(description, arrays, inputs);
}

/**
 * Samples as QNN's tools take them: a text file with a line a sample, which names a file of bare elements for each input,
 * `name:=x.raw`, or without names in the order of the inputs. Elements have the types and shapes of the inputs. Paths are
 * relative to the list, or else to the working folder.
 *
 * @param inputs of the model; of those that are not in `asked`, the list may say something or not.
 */
export function inputListSource(
	list: string,
	inputs: readonly ModelInput[],
	asked: readonly ModelInput[] = inputs,
): SampleSource {
	const binding = new ShapeBinding({});
	const missing = new Set<string>();
	const shapes = new Map(inputs.map(({ name, shape }) => [name, binding.resolve(name, shape, missing)] as const));
	if (missing.size > 0) throw missingLengths(missing);
	const lines = readText(list)
		.split(/\r?\n/)
		.map((line) => line.trim())
		.filter((line) => line !== "" && !/^[#%]/.test(line));
	return joinedSource(
		lines.map((line) => {
			const arrays = new Map<string, ArrayFile>();
			const tokens = line.split(/\s+/);
			const inOrder = tokens.length === inputs.length ? inputs : asked;
			for (const [index, token] of tokens.entries()) {
				const [, name = inOrder[index]?.name, file] = /^(?:(.*?):=)?(.*)$/.exec(token)!;
				const input = inputs.find((candidate) => candidate.name === name);
				if (input === undefined) throw dataError(list, `'${token}' is for no input of the model`);
				const beside = path.resolve(path.dirname(list), file!);
				const place = statSync(beside, { throwIfNoEntry: false }) === undefined ? path.resolve(file!) : beside;
				const shape = shapes.get(input.name)!;
				const expected = elementCount(shape) * bytesPerElement(input.type);
				if (sizeOf(place) !== expected) throw dataError(place, `it has ${sizeOf(place)} bytes, expected ${expected}`);
				arrays.set(input.name, openRaw(place, input.type, shape));
			}
			return arraySource(`${list}: ${line}`, arrays, asked);
		}),
	);
}

function readDescription(file: string): object {
	let content: unknown;
	try {
		content = JSON.parse(readText(file));
	} catch (error) {
		throw error instanceof QGraphError ? error : dataError(file, `it is not JSON: ${reasonOf(error)}`);
	}
	const entries = typeof content === "object" && content !== null ? Object.values(content) : [undefined];
	if (entries.some((entry) => typeof entry !== "object" || entry === null)) {
		throw dataError(file, "it is no JSON object of input names with descriptions");
	}
	return content as object;
}

function readText(file: string): string {
	try {
		return readFileSync(file, "utf8");
	} catch (error) {
		throw dataError(file, reasonOf(error));
	}
}

function sizeOf(file: string): number {
	const size = statSync(file, { throwIfNoEntry: false })?.size;
	if (size === undefined) throw dataError(file, "there is no such file");
	return size;
}

function dataError(file: string, problem: string): QGraphError {
	return new QGraphError("calibrate/data", `cannot read samples of '${file}': ${problem}`, { file });
}
