import type { TensorEncoding } from "./encoding.js";
import { Fields, invalid, type Place, sectionName, zeroPointsOf } from "./fields.js";
import type { JsonReader, NumberArray } from "./json-reader.js";

const KNOWN = [
	"name",
	"dtype",
	"bw",
	"enc_type",
	"is_sym",
	"scale",
	"offset",
	"zero_point_shift",
	"block_size",
	"compressed_bw",
	"per_block_int_scale",
];

const GRANULARITIES = { PER_TENSOR: "tensor", PER_CHANNEL: "channel", PER_BLOCK: "block" } as const;

/** A section of version 1.0.0: a list of entries. */
export function readVersion1Section(
	reader: JsonReader,
	place: Place,
	section: "parameter" | "activation",
	unknown: Map<string, number>,
): TensorEncoding[] {
	if (!reader.isAtList())
		throw invalid(place, `section '${sectionName(section)}' is no list, expected one in version 1.0.0`);
	const entries: TensorEncoding[] = [];
	reader.list(() => {
		if (!reader.isAtObject()) throw invalid(place, `entry ${entries.length} of '${sectionName(section)}' is no object`);
		const values = Fields.read(reader, KNOWN, unknown);
		const name = new Fields(place, `entry ${entries.length}`, values).string("name");
		entries.push(entryOf(new Fields(place, name, values), section));
	});
	return entries;
}

function entryOf(fields: Fields, section: "parameter" | "activation"): TensorEncoding {
	const named = { name: fields.name, section };
	const dtype = fields.string("dtype");
	const bits = fields.integer("bw", 1, 32);
	const type = fields.string("enc_type");
	if (dtype === "FLOAT") return { kind: "float", ...named, type: `float${bits}` };
	if (dtype !== "INT") fields.fail(`field 'dtype' is '${dtype}', expected INT or FLOAT`);
	const scales = fields.scales("scale");
	if (scales.shape.length !== 1) fields.fail("field 'scale' is no list, expected one in version 1.0.0");
	const offsets = sameCount(fields, "offset", scales.values.length);
	if (type === "LPBQ") return lpbqOf(fields, named, bits, scales, offsets);
	const granularity = GRANULARITIES[type as keyof typeof GRANULARITIES];
	if (granularity === undefined) {
		fields.fail(`field 'enc_type' is '${type}', expected PER_TENSOR, PER_CHANNEL, PER_BLOCK or LPBQ`);
	}
	if (granularity === "tensor" && scales.values.length !== 1) {
		fields.fail(`field 'scale' has ${scales.values.length} numbers, expected 1 for PER_TENSOR`);
	}
	const codes = { signed: fields.boolean("is_sym"), bits };
	const shifts = fields.has("zero_point_shift") ? sameCount(fields, "zero_point_shift", offsets.length) : undefined;
	const shifted = shifts ? offsets.map((offset, index) => offset + shifts[index]!) : offsets;
	return {
		kind: "affine",
		...named,
		codes,
		granularity,
		scales,
		zeroPoints: zeroPointsOf(shifted, codes),
		axis: undefined,
		blockSize: granularity === "block" ? fields.integer("block_size", 1, 2 ** 31) : 0,
	};
}

function lpbqOf(
	fields: Fields,
	named: { readonly name: string; readonly section: "parameter" | "activation" },
	expandedBits: number,
	channelScales: NumberArray,
	offsets: Float64Array,
): TensorEncoding {
	const bits = fields.integer("compressed_bw", 1, expandedBits - 1);
	const offset = -(2 ** (expandedBits - 1));
	const other = offsets.find((value) => value !== offset);
	if (other !== undefined) fields.fail(`field 'offset' has ${other}, expected ${offset}: LPBQ is symmetric`);
	if (!fields.boolean("is_sym")) fields.fail("field 'is_sym' is false, expected true: LPBQ is symmetric");
	return {
		kind: "lpbq",
		...named,
		codes: { signed: true, bits },
		expandedBits,
		channelScales,
		integers: fields.integers("per_block_int_scale", 1, 2 ** (expandedBits - bits)),
		axis: undefined,
		channelAxis: undefined,
		blockSize: fields.integer("block_size", 1, 2 ** 31),
	};
}

function sameCount(fields: Fields, field: string, count: number): Float64Array {
	const { values } = fields.numbers(field);
	if (values.length === count) return values;
	return fields.fail(`field '${field}' has ${values.length} numbers, expected ${count} as 'scale' has`);
}
