import type { TensorEncoding } from "./encoding.js";
import { Fields, invalid, type Place, sectionName, zeroPointsOf } from "./fields.js";
import { GrowingNumbers, type JsonReader, type JsonValue } from "./json-reader.js";

const KNOWN = ["bitwidth", "dtype", "is_symmetric", "max", "min", "offset", "scale"];

/**
 * A section of version 0.6.1: an object whose members are tensors, each a list with one element a channel, or one a block,
 * which the file does not tell apart.
 */
export function readLegacySection(
	reader: JsonReader,
	place: Place,
	section: "parameter" | "activation",
	unknown: Map<string, number>,
): TensorEncoding[] {
	if (!reader.isAtObject()) throw invalid(place, `section '${sectionName(section)}' is no object of tensors`);
	const entries: TensorEncoding[] = [];
	reader.object((name) => {
		if (!reader.isAtList()) throw invalid(place, `encoding of '${name}': not a list, expected one in version 0.6.1`);
		entries.push(readTensor(reader, place, { name, section }, unknown));
	});
	return entries;
}

/** One element: what it says of the codes and its scale and offset. */
interface Element {
	readonly float: boolean;
	readonly bits: number;
	readonly signed: boolean;
	readonly scale: number;
	readonly offset: number;
}

function readTensor(
	reader: JsonReader,
	place: Place,
	named: { readonly name: string; readonly section: "parameter" | "activation" },
	unknown: Map<string, number>,
): TensorEncoding {
	const none = new Fields(place, named.name, new Map<string, JsonValue>());
	const scales = new GrowingNumbers();
	const offsets = new GrowingNumbers();
	let first: Element | undefined;
	reader.list(() => {
		if (!reader.isAtObject()) none.fail("an element of the list is no object");
		const fields = new Fields(place, named.name, Fields.read(reader, KNOWN, unknown));
		const element = readElement(fields);
		first ??= element;
		if (element.bits !== first.bits || element.signed !== first.signed || element.float !== first.float) {
			fields.fail(`element ${scales.length} has another bitwidth, dtype or is_symmetric than the first`);
		}
		scales.push(element.scale);
		offsets.push(element.offset);
	});
	if (first === undefined) return none.fail("the list is empty, expected one element a channel");
	if (first.float) return { kind: "float", ...named, type: first.bits === 16 ? "float16" : `float${first.bits}` };
	const codes = { signed: first.signed, bits: first.bits };
	const granularity = scales.length === 1 ? "tensor" : "channel";
	return {
		kind: "affine",
		...named,
		codes,
		granularity,
		scales: { shape: [scales.length], values: scales.taken() },
		zeroPoints: zeroPointsOf(offsets.taken(), codes),
		axis: undefined,
		blockSize: 0,
	};
}

function readElement(fields: Fields): Element {
	const dtype = fields.string("dtype");
	const bits = fields.integer("bitwidth", 1, 32);
	if (dtype === "float") return { float: true, bits, signed: false, scale: 1, offset: 0 };
	if (dtype !== "int") fields.fail(`field 'dtype' is '${dtype}', expected int or float`);
	return { float: false, bits, signed: fields.boolean("is_symmetric"), ...readScale(fields, bits) };
}

/** Files written by hand may have the range only. */
function readScale(fields: Fields, bits: number): { readonly scale: number; readonly offset: number } {
	if (fields.has("scale") || !fields.has("min") || !fields.has("max")) {
		const [scale] = fields.scales("scale").values;
		const [offset] = fields.numbers("offset").values;
		return { scale: scale!, offset: offset! };
	}
	const [min] = fields.numbers("min").values;
	const [max] = fields.numbers("max").values;
	if (!(max! > min!)) fields.fail(`field 'max' is ${max}, expected more than 'min', which is ${min}`);
	const scale = (max! - min!) / (2 ** bits - 1);
	return { scale, offset: Math.round(min! / scale) };
}
