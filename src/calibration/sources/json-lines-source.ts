import { closeSync, createReadStream, openSync, readSync } from "node:fs";
import { createInterface } from "node:readline";
import { bytesFrom } from "../../arrays/element-type.js";
import type { NumpyArray } from "../../arrays/npz.js";
import { QGraphError } from "../../diagnostics.js";
import { reasonOf } from "../../onnx/io-error.js";
import { inputError, type ModelInput } from "../../runtime/model-inputs.js";
import { arrayOf } from "../../runtime/sample-arrays.js";
import type { CalibrationSample, SampleSource } from "../calibration.js";

/**
 * Samples of a file with a JSON object a line: names of inputs with their numbers, lists within lists. A list of one rank
 * less than its input is one batch of it.
 */
export function jsonLinesSource(file: string, inputs: readonly ModelInput[]): SampleSource {
	return {
		name: file,
		count: countLines(file),
		isRandom: false,
		async *samples(first) {
			const lines = createInterface({ input: createReadStream(file, "utf8"), crlfDelay: Number.POSITIVE_INFINITY });
			let [line, sample] = [0, 0];
			for await (const text of lines) {
				line++;
				if (text.trim() === "" || sample++ < first) continue;
				yield parseSample(text, `${file}, line ${line}`, inputs);
			}
		},
	};
}

/** Bytes that are looked at together. */
const PIECE = 2 ** 20;
const [LINE_END, SPACE] = [0x0a, 0x20];

/** Lines with anything but white space. */
function countLines(file: string): number {
	try {
		const descriptor = openSync(file, "r");
		try {
			let [count, isBlank] = [0, true];
			const bytes = new Uint8Array(PIECE);
			for (let length = readSync(descriptor, bytes); length > 0; length = readSync(descriptor, bytes)) {
				for (let at = 0; at < length; at++) {
					if (bytes[at]! > SPACE && isBlank) count++;
					isBlank = bytes[at] === LINE_END || (isBlank && bytes[at]! <= SPACE);
				}
			}
			return count;
		} finally {
			closeSync(descriptor);
		}
	} catch (error) {
		throw new QGraphError("calibrate/data", `cannot read '${file}': ${reasonOf(error)}`, { file }, { cause: error });
	}
}

function parseSample(text: string, origin: string, inputs: readonly ModelInput[]): CalibrationSample {
	let content: unknown;
	try {
		content = JSON.parse(text);
	} catch (error) {
		throw new QGraphError("calibrate/data", `'${origin}' is not JSON: ${reasonOf(error)}`);
	}
	if (typeof content !== "object" || content === null || Array.isArray(content)) {
		throw new QGraphError("calibrate/data", `'${origin}' is no JSON object of input names with numbers`);
	}
	const found = new Map<string, unknown>(Object.entries(content));
	return {
		origin,
		arrays: new Map(inputs.map((input) => [input.name, arrayFrom(arrayOf(found, input.name, origin), input, origin)])),
	};
}

function arrayFrom(lists: unknown, { name, type, shape: wanted }: ModelInput, origin: string): NumpyArray {
	const shape: number[] = [];
	for (let at = lists; Array.isArray(at); at = at[0]) shape.push(at.length);
	const values: number[] = [];
	const collect = (list: unknown, axis: number): void => {
		if (axis < shape.length) {
			if (!Array.isArray(list) || list.length !== shape[axis]) throw inputError(uneven(name, origin), name);
			for (const element of list) collect(element, axis + 1);
			return;
		}
		const isNumber = typeof list === "number" || (typeof list === "boolean" && type === "bool");
		if (!isNumber) throw inputError(uneven(name, origin), name);
		values.push(Number(list));
	};
	collect(lists, 0);
	if (!type.startsWith("float") && values.some((value) => !Number.isInteger(value))) {
		throw inputError(`'${origin}': '${name}' has numbers that are not whole, but the input is ${type}`, name);
	}
	const isBatch = wanted !== undefined && wanted.length === shape.length + 1;
	return { type, shape: isBatch ? [1, ...shape] : shape, bytes: bytesFrom(type, values) };
}

function uneven(name: string, origin: string): string {
	return `'${origin}': '${name}' is not a number or even lists of numbers`;
}
