import type { CodeType, TensorEncoding } from "./encoding.js";
import { Fields, invalid, type Place } from "./fields.js";
import { isNumberArray, type JsonReader, type JsonValue, type NumberArray } from "./json-reader.js";

const KNOWN = [
	"name",
	"output_dtype",
	"y_scale",
	"y_zero_point",
	"axis",
	"block_size",
	"per_block_int_scale",
	"per_channel_float_scale",
];

/** The section of versions 2.0.0 and 2.1.0: a list of entries, parameters and activations alike. */
export function readVersion2Section(reader: JsonReader, place: Place, unknown: Map<string, number>): TensorEncoding[] {
	if (!reader.isAtList())
		throw invalid(place, `section 'encodings' is no list, expected one in version ${place.version}`);
	const entries: TensorEncoding[] = [];
	reader.list(() => {
		if (!reader.isAtObject()) throw invalid(place, `entry ${entries.length} of 'encodings' is no object`);
		const values = Fields.read(reader, KNOWN, unknown);
		const name = new Fields(place, `entry ${entries.length}`, values).string("name");
		entries.push(entryOf(new Fields(place, name, values), place));
	});
	return entries;
}

function entryOf(fields: Fields, place: Place): TensorEncoding {
	const named = { name: fields.name, section: undefined };
	const type = fields.string("output_dtype");
	const [, unsigned, digits] = /^(u?)int(\d+)$/.exec(type) ?? [];
	if (digits === undefined) {
		if (/^b?float/.test(type)) return { kind: "float", ...named, type };
		fields.fail(`field 'output_dtype' is '${type}', expected a type such as int4 or uint16`);
	}
	const codes = { signed: unsigned === "", bits: Number(digits) };
	if (codes.bits < 1 || codes.bits > 32) fields.fail(`field 'output_dtype' is '${type}', expected 1 to 32 bits`);
	if (fields.has("per_block_int_scale")) return lpbqOf(fields, named, codes);
	const scale = fields.get("y_scale");
	if (scale instanceof Map) return doubleQuantized(fields, named, codes, scale, place);
	return affineOf(fields, named, codes);
}

interface Named {
	readonly name: string;
	readonly section: undefined;
}

function affineOf(fields: Fields, named: Named, codes: CodeType): TensorEncoding {
	const scales = fields.scales("y_scale");
	const axis = fields.has("axis") ? fields.integer("axis", -32, 31) : undefined;
	const blockSize = fields.has("block_size") ? fields.integer("block_size", 0, 2 ** 31) : 0;
	if (blockSize > 0 && axis === undefined) fields.fail("field 'axis' is missing, expected beside 'block_size'");
	if (axis === undefined && scales.values.length > 1) {
		fields.fail(`field 'y_scale' has ${scales.values.length} numbers, expected 1 without 'axis'`);
	}
	return {
		kind: "affine",
		...named,
		codes,
		granularity: blockSize > 0 ? "block" : axis === undefined ? "tensor" : "channel",
		scales,
		zeroPoints: zeroPoints(fields, scales),
		axis,
		blockSize,
	};
}

function zeroPoints(fields: Fields, scales: NumberArray): Float64Array | undefined {
	if (!fields.has("y_zero_point")) return undefined;
	const zeros = fields.numbers("y_zero_point");
	if (zeros.shape.join() !== scales.shape.join()) {
		fields.fail(
			`field 'y_zero_point' has shape [${zeros.shape.join(", ")}], expected [${scales.shape.join(", ")}] as 'y_scale' has`,
		);
	}
	return zeros.values.every((zero) => zero === 0) ? undefined : zeros.values;
}

/** Version 2.0.0. It does not say how many bits products have: twice those of the codes. */
function lpbqOf(fields: Fields, named: Named, codes: CodeType): TensorEncoding {
	return {
		kind: "lpbq",
		...named,
		codes: symmetric(fields, codes),
		expandedBits: 2 * codes.bits,
		channelScales: fields.scales("per_channel_float_scale"),
		integers: fields.integers("per_block_int_scale", 1, 2 ** codes.bits),
		axis: fields.integer("axis", -32, 31),
		channelAxis: undefined,
		blockSize: fields.integer("block_size", 1, 2 ** 31),
	};
}

/** Version 2.1.0: the scale is quantized itself, `y_scale: { x, x_scale, axis }`. */
function doubleQuantized(
	fields: Fields,
	named: Named,
	codes: CodeType,
	scale: ReadonlyMap<string, JsonValue>,
	place: Place,
): TensorEncoding {
	const inner = new Fields(place, `${fields.name}', 'y_scale`, scale);
	const zeros = inner.has("x_zero_point") ? inner.numbers("x_zero_point").values : new Float64Array();
	if (zeros.some((zero) => zero !== 0)) inner.fail("field 'x_zero_point' is not 0, expected 0: LPBQ is symmetric");
	return {
		kind: "lpbq",
		...named,
		codes: symmetric(fields, codes),
		expandedBits: 2 * codes.bits,
		channelScales: inner.scales("x_scale"),
		integers: inner.integers("x", 1, 2 ** codes.bits),
		axis: fields.integer("axis", -32, 31),
		channelAxis: inner.integer("axis", -32, 31),
		blockSize: fields.integer("block_size", 1, 2 ** 31),
	};
}

function symmetric(fields: Fields, codes: CodeType): CodeType {
	const zeros = fields.get("y_zero_point");
	if (isNumberArray(zeros) && zeros.values.some((zero) => zero !== 0)) {
		fields.fail("field 'y_zero_point' is not 0, expected 0: LPBQ is symmetric");
	}
	if (!codes.signed) fields.fail("field 'output_dtype' is unsigned, expected a signed type: LPBQ is symmetric");
	return codes;
}
