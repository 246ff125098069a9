import { QGraphError } from "../diagnostics.js";
import { type CodeType, type EncodingsVersion, unsignedShift } from "./encoding.js";
import { isNumberArray, type JsonReader, type JsonValue, type NumberArray } from "./json-reader.js";

/** Where something in a file is: for messages. */
export interface Place {
	readonly file: string;
	readonly version: EncodingsVersion;
}

export function invalid({ file }: Place, message: string): QGraphError {
	return new QGraphError("encodings/invalid", `'${file}': ${message}`, { file });
}

/** What versions 0.6.1 and 1.0.0 call a section. */
export function sectionName(section: "parameter" | "activation"): string {
	return section === "parameter" ? "param_encodings" : "activation_encodings";
}

/** The fields of one entry; its methods check that they are there and what they should be. */
export class Fields {
	/** Of the tensor. */
	readonly name: string;
	readonly #place: Place;
	readonly #values: ReadonlyMap<string, JsonValue>;

	constructor(place: Place, name: string, values: ReadonlyMap<string, JsonValue>) {
		this.#place = place;
		this.name = name;
		this.#values = values;
	}

	/** Reads an object: fields of `known` into the map, others are passed over and counted. */
	static read(reader: JsonReader, known: readonly string[], unknown: Map<string, number>): Map<string, JsonValue> {
		const values = new Map<string, JsonValue>();
		reader.object((key) => {
			if (known.includes(key)) values.set(key, reader.value());
			else {
				unknown.set(key, (unknown.get(key) ?? 0) + 1);
				reader.skip();
			}
		});
		return values;
	}

	has(field: string): boolean {
		return this.#values.has(field);
	}

	get(field: string): JsonValue | undefined {
		return this.#values.get(field);
	}

	/** @throws `encodings/invalid`, in the words `encoding of 'W': ...`. */
	fail(message: string): never {
		throw invalid(this.#place, `encoding of '${this.name}': ${message}`);
	}

	string(field: string): string {
		const value = this.#required(field);
		return typeof value === "string" ? value : this.#wrong(field, "a string");
	}

	boolean(field: string): boolean {
		const value = this.#required(field);
		if (typeof value === "boolean") return value;
		if (value === "True" || value === "true") return true;
		return value === "False" || value === "false" ? false : this.#wrong(field, "true or false");
	}

	integer(field: string, min: number, max: number): number {
		const value = this.#required(field);
		if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
		return this.#wrong(field, `an integer from ${min} to ${max}`);
	}

	/** A number or lists of numbers. */
	numbers(field: string): NumberArray {
		const value = this.#required(field);
		if (typeof value === "number") return { shape: [], values: Float64Array.of(value) };
		if (!isNumberArray(value)) this.#wrong(field, "numbers");
		if (value.values.length === 0) this.fail(`field '${field}' has no numbers, expected at least 1`);
		return value;
	}

	/** Finite numbers above 0. */
	scales(field: string): NumberArray {
		const scales = this.numbers(field);
		const wrong = scales.values.find((scale) => !(scale > 0) || scale === Number.POSITIVE_INFINITY);
		if (wrong !== undefined) this.fail(`field '${field}' has ${wrong}, expected finite numbers above 0`);
		return scales;
	}

	/** Integers from `min` to `max`. */
	integers(field: string, min: number, max: number): NumberArray {
		const integers = this.numbers(field);
		const wrong = integers.values.find((value) => !Number.isInteger(value) || value < min || value > max);
		if (wrong !== undefined) this.fail(`field '${field}' has ${wrong}, expected integers from ${min} to ${max}`);
		return integers;
	}

	#required(field: string): JsonValue {
		const value = this.#values.get(field);
		if (value !== undefined) return value;
		this.fail(`field '${field}' is missing, expected in version ${this.#place.version}`);
	}

	#wrong(field: string, expected: string): never {
		return this.fail(`field '${field}' is ${textOf(this.#values.get(field))}, expected ${expected}`);
	}
}

/** A field as messages show it. */
function textOf(value: JsonValue | undefined): string {
	if (value instanceof Map) return "an object";
	if (isNumberArray(value)) return `a list of ${value.values.length} numbers`;
	return Array.isArray(value) ? `a list of ${value.length} things` : JSON.stringify(value);
}

/**
 * The zero points that offsets of the unsigned view stand for, in the type of the codes; undefined where all are 0.
 * AIMET's offset is what is added to a code: code 8 of uint4 with offset -8 stands for 0.
 */
export function zeroPointsOf(offsets: Float64Array, { signed, bits }: CodeType): Float64Array | undefined {
	const shift = unsignedShift({ signed, bits });
	return offsets.every((offset) => offset + shift === 0) ? undefined : offsets.map((offset) => 0 - offset - shift);
}
