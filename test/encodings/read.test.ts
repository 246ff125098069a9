import { describe, expect, it } from "vitest";
import { parseEncodings, readEncodings } from "../../src/encodings/read-encodings.js";

const read = (content: object) => parseEncodings(JSON.stringify(content), "a.encodings");
const version2 = (...encodings: readonly object[]) => read({ version: "2.0.0", encodings });
const version1 = (...entries: readonly object[]) =>
	read({ version: "1.0.0", param_encodings: entries, activation_encodings: [] });
const legacy = (w: unknown) => read({ version: "0.6.1", param_encodings: { w }, activation_encodings: {} });

const INT8 = { name: "w", output_dtype: "int8", y_scale: 0.5 };
const ENTRY = { name: "w", dtype: "INT", bw: 8, enc_type: "PER_TENSOR", is_sym: true, scale: [0.5], offset: [-128] };
const ELEMENT = { bitwidth: 8, dtype: "int", is_symmetric: "False", scale: 0.5, offset: -3 };
const LPBQ = { ...ENTRY, enc_type: "LPBQ", compressed_bw: 4, block_size: 2, per_block_int_scale: [16, 1] };

describe("reading encodings", () => {
	it("turns offsets of the unsigned view into zero points of the codes", () => {
		expect(version1(ENTRY).entries[0]).toMatchObject({ codes: { signed: true, bits: 8 }, zeroPoints: undefined });
		const strict = version1({ ...ENTRY, offset: [-127] }).entries[0];
		expect(strict).toMatchObject({ zeroPoints: Float64Array.of(-1) });
		const asymmetric = version1({ ...ENTRY, is_sym: false, offset: [-3] }).entries[0];
		expect(asymmetric).toMatchObject({ codes: { signed: false, bits: 8 }, zeroPoints: Float64Array.of(3) });
		expect(version1({ ...ENTRY, is_sym: false, offset: [0] }).entries[0]).toMatchObject({ zeroPoints: undefined });
		const shifted = version1({ ...ENTRY, bw: 2, offset: [-2], zero_point_shift: [0.5] }).entries[0];
		expect(shifted).toMatchObject({ zeroPoints: Float64Array.of(-0.5) });
	});

	it("takes the range of a version 0.6.1 file that has no scale", () => {
		const { scale, offset, ...rest } = ELEMENT;
		const [entry] = legacy([{ ...rest, min: -3 * scale, max: 252 * scale }]).entries;
		expect(entry).toMatchObject({ scales: { values: Float64Array.of(0.5) }, zeroPoints: Float64Array.of(-offset) });
		expect(() => legacy([{ ...rest, min: 1, max: 1 }])).toThrow(
			"field 'max' is 1, expected more than 'min', which is 1",
		);
	});

	it("counts fields that it does not know and keeps what stands beside the encodings", () => {
		const file = {
			version: "2.0.0",
			encodings: [{ ...INT8, a: [1, "x", {}] }],
			producer: { package: "p" },
			other: [1, "x"],
		};
		const { unknownFields, header } = read(file);
		expect(unknownFields).toEqual(new Map([["a", 1]]));
		expect(header).toEqual(new Map([["producer", new Map([["package", "p"]])]]));
	});

	it("reads what Python writes for numbers that JSON does not have, to refuse it by name", () => {
		const text = '{"version": "2.0.0", "encodings": [{"name": "w", "output_dtype": "int8", "y_scale": NaN}]}';
		expect(() => parseEncodings(text)).toThrow(
			"encoding of 'w': field 'y_scale' has NaN, expected finite numbers above 0",
		);
	});

	it("reads what lies across the ends of pieces", () => {
		const count = 2 ** 17;
		const values = Array.from({ length: count }, (_, index) => (index + 1) / 7);
		for (const padding of [0, 1, 7, 13]) {
			const text = `${" ".repeat(padding)}${JSON.stringify({ version: "2.0.0", encodings: [{ ...INT8, axis: 0, y_scale: values }] })}`;
			const [entry] = parseEncodings(text).entries;
			expect(entry).toMatchObject({ scales: { shape: [count], values: Float64Array.from(values) } });
		}
	});

	it("reads names with every character", () => {
		const name = 'quote " \\ slash / \u00e9 \u{1f600} \n tab\t';
		expect(version2({ ...INT8, name }).entries[0]?.name).toBe(name);
	});

	it.each([
		["nothing", "", "line 1: found the end of the file, expected a value"],
		[
			"an unfinished list",
			'{\n"version": "2.0.0",\n"encodings": [1',
			"line 3: found the end of the file, expected ',' or ']'",
		],
		["a missing colon", '{"version" "2.0.0"}', "found '\"', expected ':'"],
		["an unfinished string", '{"version', "a string does not end"],
		["no value", '{"version": }', "found '}', expected a value"],
		["a word", '{"version": yes}', "found yes, expected a value"],
		["more behind it", '{"version": "2.0.0", "encodings": []} 1', "there is more after the end of the value"],
		[
			"uneven lists",
			'{"version": "2.0.0", "encodings": [{"y_scale": [[1, 2], [3]]}]}',
			"side by side have different lengths",
		],
		[
			"mixed lists",
			'{"version": "2.0.0", "encodings": [{"y_scale": [1, "a"]}]}',
			"a list holds numbers and other things",
		],
		["deep nesting", `{"version": ${"[".repeat(99)}`, "nested too deep"],
	])("refuses %s", (_, text, message) => {
		const parse = () => parseEncodings(text, "a.encodings");
		if (text === "") expect(parse).toThrow("'a.encodings' is no JSON object, expected one with a 'version'");
		else expect(parse).toThrow(message);
	});

	it("refuses other versions", () => {
		expect(() => read({ version: "3.0.0" })).toThrow(
			"'a.encodings' has version \"3.0.0\", expected 0.6.1, 1.0.0, 2.0.0, 2.1.0",
		);
		expect(() => read({ encodings: [] })).toThrow(
			"'a.encodings' has no 'version', expected 0.6.1, 1.0.0, 2.0.0, 2.1.0",
		);
		expect(() => readEncodings("/none/at/all")).toThrow(/^cannot read '\/none\/at\/all': ENOENT/);
	});

	it.each<[string, () => unknown, string]>([
		[
			"a missing section",
			() => read({ version: "2.0.0" }),
			"section 'encodings' is missing, expected in version 2.0.0",
		],
		["an object for a list", () => read({ version: "2.0.0", encodings: {} }), "section 'encodings' is no list"],
		[
			"a list for an object",
			() => read({ version: "0.6.1", param_encodings: [], activation_encodings: {} }),
			"section 'param_encodings' is no object",
		],
		["a tensor twice", () => version2(INT8, INT8), "there are two encodings of 'w', expected one"],
		["no name", () => version2({ ...INT8, name: undefined }), "encoding of 'entry 0': field 'name' is missing"],
		[
			"an unknown type",
			() => version2({ ...INT8, output_dtype: "complex" }),
			"'output_dtype' is 'complex', expected a type such as int4",
		],
		[
			"a missing scale",
			() => version2({ ...INT8, y_scale: undefined }),
			"encoding of 'w': field 'y_scale' is missing, expected in version 2.0.0",
		],
		["a scale of 0", () => version2({ ...INT8, y_scale: 0 }), "field 'y_scale' has 0, expected finite numbers above 0"],
		["a negative scale", () => version2({ ...INT8, y_scale: [-1] }), "field 'y_scale' has -1, expected finite"],
		["a text as scale", () => version2({ ...INT8, y_scale: "0.5" }), "field 'y_scale' is \"0.5\", expected numbers"],
		[
			"several scales without an axis",
			() => version2({ ...INT8, y_scale: [1, 2] }),
			"field 'y_scale' has 2 numbers, expected 1 without 'axis'",
		],
		[
			"blocks without an axis",
			() => version2({ ...INT8, y_scale: [[1]], block_size: 2 }),
			"field 'axis' is missing, expected beside 'block_size'",
		],
		[
			"zero points of another shape",
			() => version2({ ...INT8, y_zero_point: [1] }),
			"field 'y_zero_point' has shape [1], expected [] as 'y_scale' has",
		],
		[
			"an axis that is no integer",
			() => version2({ ...INT8, axis: 0.5 }),
			"field 'axis' is 0.5, expected an integer from -32 to 31",
		],
		[
			"1.0.0: another enc_type",
			() => version1({ ...ENTRY, enc_type: "PER_ROW" }),
			"field 'enc_type' is 'PER_ROW', expected PER_TENSOR, PER_CHANNEL, PER_BLOCK or LPBQ",
		],
		[
			"1.0.0: another count",
			() => version1({ ...ENTRY, offset: [-128, -128] }),
			"field 'offset' has 2 numbers, expected 1 as 'scale' has",
		],
		[
			"1.0.0: several scales of a tensor",
			() => version1({ ...ENTRY, scale: [1, 2], offset: [0, 0] }),
			"field 'scale' has 2 numbers, expected 1 for PER_TENSOR",
		],
		[
			"1.0.0: blocks without a size",
			() => version1({ ...ENTRY, enc_type: "PER_BLOCK" }),
			"field 'block_size' is missing",
		],
		[
			"1.0.0: LPBQ integers of 17",
			() => version1({ ...LPBQ, per_block_int_scale: [17] }),
			"field 'per_block_int_scale' has 17, expected integers from 1 to 16",
		],
		[
			"1.0.0: asymmetric LPBQ",
			() => version1({ ...LPBQ, offset: [-100] }),
			"field 'offset' has -100, expected -128: LPBQ is symmetric",
		],
		["0.6.1: no list", () => legacy({}), "encoding of 'w': not a list"],
		["0.6.1: an empty list", () => legacy([]), "encoding of 'w': the list is empty"],
		[
			"0.6.1: elements that differ",
			() => legacy([ELEMENT, { ...ELEMENT, bitwidth: 4 }]),
			"element 1 has another bitwidth, dtype or is_symmetric than the first",
		],
		[
			"0.6.1: another word",
			() => legacy([{ ...ELEMENT, is_symmetric: "yes" }]),
			"field 'is_symmetric' is \"yes\", expected true or false",
		],
	])("refuses %s", (_, parse, message) => {
		expect(parse).toThrow(message);
		expect(parse).toThrow(expect.objectContaining({ code: "encodings/invalid" }));
	});
});
