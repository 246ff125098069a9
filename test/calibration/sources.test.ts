import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { zipSync } from "fflate";
import { beforeEach, describe, expect, test } from "vitest";
import { bytesFrom, type ElementType, numbersOf } from "../../src/arrays/element-type.js";
import { type NumpyArray, writeNpy, writeNpz } from "../../src/arrays/npz.js";
import { calibrate } from "../../src/calibration/calibrate.js";
import type { SampleSource } from "../../src/calibration/calibration.js";
import { arrayOf, type ImageOptions } from "../../src/calibration/sources/image-source.js";
import { openSamples } from "../../src/calibration/sources/open-samples.js";
import type { Model } from "../../src/ir/model.js";
import { DataType, type Dimension } from "../../src/ir/types.js";
import { temporaryFolder } from "../repo/run.js";
import { modelOf } from "../support/build.js";

let folder = "";
beforeEach(() => {
	folder = temporaryFolder();
});
const at = (...parts: string[]) => path.join(folder, ...parts);

function array(type: ElementType, shape: readonly number[], values: readonly number[]): NumpyArray {
	return { type, shape, bytes: bytesFrom(type, values) };
}

const floats = (shape: readonly number[], ...values: number[]) => array("float32", shape, values);

/** A model that takes inputs of these shapes, integers where the name begins with `i`. */
function taking(inputs: Readonly<Record<string, readonly Dimension[]>>): Model {
	return modelOf((b) => {
		for (const [name, shape] of Object.entries(inputs)) {
			b.input(name, name.startsWith("i") ? DataType.INT64 : DataType.FLOAT, shape);
			b.node("Identity", [name], [`${name}_out`]);
			b.output(`${name}_out`);
		}
	});
}

const X = taking({ x: [1, 2] });
const XI = taking({ x: [1, 2], ids: [1, 3] });

/** All samples from `first` on: of every input the shape and the elements. */
async function all(source: SampleSource, first = 0): Promise<Record<string, unknown>[]> {
	const found = [];
	for await (const { arrays } of source.samples(first)) {
		const entries = [...arrays].map(([name, { type, shape, bytes }]) => [
			name,
			[shape.join("x"), ...Array.from(numbersOf(type, Uint8Array.from(bytes).buffer))],
		]);
		found.push(Object.fromEntries(entries));
	}
	return found;
}

const TWO = [{ x: ["1x2", 1, 2] }, { x: ["1x2", 3, 4] }];

describe("arrays", () => {
	test.each([0, 6] as const)("an .npz file, compression %i, from any sample on", async (level) => {
		const arrays = { x: floats([3, 1, 2], 1, 2, 3, 4, 5, 6), ids: array("int32", [3, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9]) };
		writeNpz(at("stored.npz"), new Map(Object.entries(arrays)));
		const file = at("samples.npz");
		if (level === 0) writeNpz(file, new Map(Object.entries(arrays)));
		else writeFileSync(file, zipSync(Object.fromEntries(entriesOf(arrays)), { level }));
		const source = openSamples(XI, [file]);
		expect(source.count).toBe(3);
		expect(await all(source, 1)).toEqual([
			{ x: ["1x2", 3, 4], ids: ["1x3", 4, 5, 6] },
			{ x: ["1x2", 5, 6], ids: ["1x3", 7, 8, 9] },
		]);
		expect(await all(source)).toHaveLength(3);
	});

	/** What `writeNpz` writes, unpacked. */
	function entriesOf(arrays: Readonly<Record<string, NumpyArray>>): [string, Uint8Array][] {
		return Object.entries(arrays).map(([name, value]) => {
			writeNpy(at(`${name}.npy`), value);
			return [`${name}.npy`, Uint8Array.from(readBytes(at(`${name}.npy`)))];
		});
	}

	test("an array of one sample serves all; a first axis counts batches of the input's length", async () => {
		writeNpz(
			at("a.npz"),
			new Map([
				["x", floats([4, 2], 1, 2, 3, 4, 5, 6, 7, 8)],
				["ids", array("int64", [1, 3], [7, 8, 9])],
			]),
		);
		const batches = taking({ x: [2, 2], ids: [1, 3] });
		expect(await all(openSamples(batches, [at("a.npz")]))).toEqual([
			{ x: ["2x2", 1, 2, 3, 4], ids: ["1x3", 7, 8, 9] },
			{ x: ["2x2", 5, 6, 7, 8], ids: ["1x3", 7, 8, 9] },
		]);
	});

	test("inputs that do not agree how many samples there are", () => {
		writeNpz(
			at("a.npz"),
			new Map([
				["x", floats([2, 1, 2], 1, 2, 3, 4)],
				["ids", array("int64", [3, 1, 3], Array(9).fill(0))],
			]),
		);
		expect(() => openSamples(XI, [at("a.npz")])).toThrow("has 2 samples of 'x' but 3 of 'ids'");
	});

	test("several places, one after the other", async () => {
		writeNpy(at("a.npy"), floats([2, 2], 1, 2, 3, 4));
		const source = openSamples(X, [at("a.npy"), "random:2", at("a.npy")]);
		expect([source.count, source.isRandom]).toEqual([6, true]);
		expect(await all(source, 4)).toEqual(TWO);
		expect((await all(source, 1))[0]).toEqual(TWO[1]);
	});

	test("random samples have what inputs always are", async () => {
		const source = openSamples(XI, ["random:2"], { inputValues: ["ids=7,8,9"] });
		const samples = await all(source);
		expect(samples.map(({ ids }) => ids)).toEqual([7, 8].map(() => ["1x3", 7, 8, 9]));
		expect(samples[0]!.x).not.toEqual(samples[1]!.x);
		expect(() => openSamples(XI, ["random:2"], { inputValues: ["rate=7"] })).toThrow("no input is named 'rate'");
	});

	test("samples need not have what inputs always are", async () => {
		const options = { inputValues: ["ids=7,8,9"] };
		writeNpz(at("x.npz"), new Map([["x", floats([2, 2], 1, 2, 3, 4)]]));
		const both = TWO.map((sample) => ({ ...sample, ids: ["1x3", 7, 8, 9] }));
		expect(await all(openSamples(XI, [at("x.npz")], options))).toEqual(both);
		expect(await all(openSamples(XI, [at("x.npz")], options), 1)).toEqual(both.slice(1));
		expect(() => openSamples(XI, [at("x.npz")])).toThrow("has no array 'ids', only 'x'");
		const others = array("int64", [2, 3], [1, 2, 3, 4, 5, 6]);
		writeNpz(
			at("both.npz"),
			new Map([
				["x", floats([2, 2], 1, 2, 3, 4)],
				["ids", others],
			]),
		);
		expect(await all(openSamples(XI, [at("both.npz")], options))).toEqual(both);
	});

	test("folders: of .npz files, of one .npy file an input, of one folder an input", async () => {
		mkdirSync(at("npz"));
		writeNpz(at("npz", "b.npz"), new Map([["x", floats([1, 2], 3, 4)]]));
		writeNpz(at("npz", "a.npz"), new Map([["x", floats([1, 2], 1, 2)]]));
		expect(await all(openSamples(X, [at("npz")]))).toEqual(TWO);
		mkdirSync(at("npy"));
		writeNpy(at("npy", "x.npy"), floats([2, 2], 1, 2, 3, 4));
		expect(await all(openSamples(X, [at("npy")]))).toEqual(TWO);
		mkdirSync(at("one"));
		writeNpy(at("one", "1.npy"), floats([1, 2], 1, 2));
		writeNpy(at("one", "2.npy"), floats([1, 2], 3, 4));
		expect(await all(openSamples(X, [at("one")]))).toEqual(TWO);
		for (const name of ["x", "ids"]) mkdirSync(at("both", name), { recursive: true });
		writeNpy(at("both", "x", "0.npy"), floats([1, 2], 1, 2));
		writeNpy(at("both", "ids", "0.npy"), array("int64", [1, 3], [1, 2, 3]));
		expect(await all(openSamples(XI, [at("both")]))).toEqual([{ x: ["1x2", 1, 2], ids: ["1x3", 1, 2, 3] }]);
		writeNpy(at("both", "x", "1.npy"), floats([1, 2], 1, 2));
		expect(() => openSamples(XI, [at("both")])).toThrow("has 2 files for 'x' but 1 for 'ids'");
		mkdirSync(at("empty"));
		expect(() => openSamples(X, [at("empty")])).toThrow("has neither .npz, .npy nor image files");
	});

	test("files of a folder that are not read are named", async () => {
		mkdirSync(at("mixed"));
		writeNpz(at("mixed", "a.npz"), new Map([["x", floats([2, 2], 1, 2, 3, 4)]]));
		for (const name of [".hidden", "1.jsonl", "2.txt", "photo.jpg", "z.npy"]) writeFileSync(at("mixed", name), "");
		const source = openSamples(X, [at("mixed"), "random:1"]);
		expect(source.remarks!.map(({ code, message }) => [code, message])).toEqual([
			[
				"calibrate/ignored",
				`'${at("mixed")}' has '1.jsonl', '2.txt', 'photo.jpg' and 1 more, not read beside 1 .npz file of samples`,
			],
		]);
		const { diagnostics } = await calibrate(X, source);
		expect(diagnostics.map(({ code }) => code)).toContain("calibrate/ignored");
		mkdirSync(at("named"));
		for (const name of ["x", "labels"]) writeNpy(at("named", `${name}.npy`), floats([2, 2], 1, 2, 3, 4));
		expect(openSamples(X, [at("named")]).remarks!.map(({ message }) => message)).toEqual([
			`'${at("named")}' has 'labels.npy', not read beside 1 .npy file of samples`,
		]);
		rmSync(at("named", "labels.npy"));
		expect(openSamples(X, [at("named")]).remarks).toEqual([]);
	});

	test("files that are broken are named", async () => {
		writeFileSync(at("a.npz"), "no archive");
		expect(() => openSamples(X, [at("a.npz")])).toThrow(/a.npz': it is no zip archive/);
		writeFileSync(at("a.npz"), "");
		expect(() => openSamples(X, [at("a.npz")])).toThrow(/a.npz': it is empty/);
		writeFileSync(at("a.npz"), `PK\x03\x04${"-".repeat(96)}`);
		expect(() => openSamples(X, [at("a.npz")])).toThrow(/a.npz': it ends after 100 bytes without .*: it was cut off/);
		writeFileSync(at("a.npy"), "no array");
		expect(() => openSamples(X, [at("a.npy")])).toThrow(/a.npy': it is not in the .npy format/);
		writeNpy(at("b.npy"), floats([2, 2], 1, 2, 3, 4));
		const bytes = readBytes(at("b.npy"));
		writeFileSync(at("b.npy"), bytes.subarray(0, -4));
		expect(() => openSamples(X, [at("b.npy")])).toThrow("has 12 bytes of data, expected 16");
		expect(() => openSamples(X, [at("c.npy")])).toThrow("there is no file or folder");
		writeFileSync(at("c.parquet"), "");
		expect(() => openSamples(X, [at("c.parquet")])).toThrow(/of no kind that samples are read from: .npz, .npy, /);
	});
});

function readBytes(file: string): Buffer {
	return readFileSync(file);
}

describe("JSON lines", () => {
	test("lists within lists; without the axis of the batch, too", async () => {
		writeFileSync(at("a.jsonl"), '{"x": [[1, 2]], "ids": [1, 2, 3]}\n\n{"x": [3, 4], "ids": [[4, 5, 6]], "more": 1}');
		const source = openSamples(XI, [at("a.jsonl")]);
		expect(source.count).toBe(2);
		expect(await all(source)).toEqual([
			{ x: ["1x2", 1, 2], ids: ["1x3", 1, 2, 3] },
			{ x: ["1x2", 3, 4], ids: ["1x3", 4, 5, 6] },
		]);
		expect(await all(source, 1)).toHaveLength(1);
	});

	test.each([
		['{"x": [1, 2]}', "a.jsonl, line 1' has no array 'ids', only 'x'"],
		['{"x": [[1], [2, 3]], "ids": [1]}', "'x' is not a number or even lists of numbers"],
		['{"x": [1, "2"], "ids": [1]}', "'x' is not a number or even lists"],
		['{"x": [1, 2], "ids": [1.5]}', "'ids' has numbers that are not whole, but the input is int64"],
		["[1]", "no JSON object of input names"],
		["{", "line 1' is not JSON"],
	])("%s is refused", async (line, message) => {
		writeFileSync(at("a.jsonl"), line);
		await expect(all(openSamples(XI, [at("a.jsonl")]))).rejects.toThrow(message);
	});
});

describe("raw files", () => {
	test("by a description", async () => {
		writeFileSync(at("x.bin"), bytesFrom("float32", [1, 2, 3, 4]));
		const describeAs = (entry: unknown) => writeFileSync(at("a.json"), JSON.stringify({ x: entry }));
		describeAs({ file: "x.bin", dtype: "float32", shape: [1, 2] });
		expect(await all(openSamples(X, [at("a.json")]))).toEqual(TWO);
		for (const [entry, message] of [
			[{ file: "x.bin", dtype: "float99", shape: [1, 2] }, "'x' is not described as"],
			[{ file: "x.bin", dtype: "float32", shape: [1, 3] }, "it has 16 bytes, no multiple of the 12 of a sample"],
			[{ file: "y.bin", dtype: "float32", shape: [1, 2] }, "there is no such file"],
			["x.bin", "no JSON object of input names with descriptions"],
		] as const) {
			describeAs(entry);
			expect(() => openSamples(X, [at("a.json")])).toThrow(message);
		}
	});

	test("by a list as QNN's tools take it", async () => {
		writeFileSync(at("x.raw"), bytesFrom("float32", [1, 2]));
		writeFileSync(at("i.raw"), bytesFrom("int64", [1, 2, 3]));
		const sample = { x: ["1x2", 1, 2], ids: ["1x3", 1, 2, 3] };
		writeFileSync(at("list.txt"), "# samples\nids:=i.raw x:=x.raw\nx.raw i.raw\n");
		expect(await all(openSamples(XI, [at("list.txt")]))).toEqual([sample, sample]);
		writeFileSync(at("some.txt"), "x:=x.raw\nx.raw\nx.raw i.raw\n");
		const fixed = { ...sample, ids: ["1x3", 4, 5, 6] };
		const options = { inputValues: ["ids=4,5,6"] };
		expect(await all(openSamples(XI, [at("some.txt")], options))).toEqual([fixed, fixed, fixed]);
		writeFileSync(at("list.txt"), "y:=x.raw");
		expect(() => openSamples(XI, [at("list.txt")])).toThrow("'y:=x.raw' is for no input of the model");
		writeFileSync(at("list.txt"), "x:=i.raw");
		expect(() => openSamples(XI, [at("list.txt")])).toThrow("it has 24 bytes, expected 8");
		expect(() => openSamples(taking({ x: ["n", 2] }), [at("list.txt")])).toThrow("--dim n=LENGTH");
	});
});

describe("images", () => {
	const pixels = Uint8Array.of(0, 51, 102, 153, 204, 255);
	const first = { width: 2, height: 1, channels: 3, channelsFirst: true, shape: [1, 3, 1, 2] };
	const input = { value: X.graph.inputs[0]!, name: "x", type: "float32" as const, shape: undefined };
	const elements = (made: NumpyArray) =>
		Array.from(numbersOf(made.type, Uint8Array.from(made.bytes).buffer), (value) => Number(value.toFixed(4)));

	test("channels first or last, in either order, normalized", () => {
		expect(elements(arrayOf(pixels, first, input, {}))).toEqual([0, 0.6, 0.2, 0.8, 0.4, 1]);
		const last = { ...first, channelsFirst: false, shape: [1, 1, 2, 3] };
		expect(elements(arrayOf(pixels, last, input, { order: "bgr" }))).toEqual([0.4, 0.2, 0, 1, 0.8, 0.6]);
		const normalized = { mean: [0.5, 0.2, 0.4], std: [0.5, 0.1, 0.2] };
		expect(elements(arrayOf(pixels, first, input, normalized))).toEqual([-1, 0.2, 0, 6, 0, 3]);
		expect(elements(arrayOf(pixels, first, { ...input, type: "uint8" }, normalized))).toEqual([
			0, 153, 51, 204, 102, 255,
		]);
	});

	test("are for models with one input of 1 or 3 channels and a fixed size", () => {
		writeFileSync(at("a.png"), "");
		const open = (model: Model, images = {}) => openSamples(model, [at("a.png")], { images });
		expect(() => open(XI)).toThrow("images are samples of models with one input, this one has 2");
		expect(() => open(taking({ x: [1, 4, 8, 8] }))).toThrow("input 'x' is [1, 4, 8, 8], which is no image");
		expect(() => open(taking({ x: [1, 3, "h", "w"] }))).toThrow("--image-size 224x224");
		expect(() => open(taking({ x: [2, 3, 8, 8] }))).toThrow("takes 2 images at a time");
		expect(open(taking({ x: ["n", 3, "h", "w"] }), { size: [8, 8] }).count).toBe(1);
	});

	/** 8 x 4 pixels, the left half red, the right half blue, as `format` has them. */
	async function picture(name: string, format: "png" | "jpeg" | "webp", channels: 3 | 4 = 3): Promise<string> {
		const { default: sharp } = await import("sharp");
		const color = (x: number) => (x < 4 ? [255, 0, 0] : [0, 0, 255]);
		const raw = Array.from({ length: 32 }, (_, at) => [...color(at % 8), ...(channels === 4 ? [128] : [])]).flat();
		const image = sharp(Uint8Array.from(raw), { raw: { width: 8, height: 4, channels } });
		await image.toFormat(format, { quality: 100, chromaSubsampling: "4:4:4", lossless: true }).toFile(at(name));
		return at(name);
	}
	const decoded = async (file: string, shape: readonly (number | string)[], images: ImageOptions = {}) => {
		const found: NumpyArray[] = [];
		for await (const { arrays } of openSamples(taking({ x: shape }), [file], { images }).samples(0)) {
			found.push(arrays.get("x")!);
		}
		expect(found.map((array) => array.shape)).toEqual([shape]);
		return elements(found[0]!);
	};
	const [RED, BLUE] = [
		[1, 0, 0],
		[0, 0, 1],
	] as const;

	test.each(["png", "jpeg", "webp"] as const)("are decoded: %s", async (format) => {
		const found = await decoded(await picture(`a.${format}`, format), [1, 3, 4, 8]);
		const expected = [0, 1, 2].flatMap((channel) =>
			Array.from({ length: 32 }, (_, at) => (at % 8 < 4 ? RED : BLUE)[channel]!),
		);
		expect(Math.max(...found.map((value, index) => Math.abs(value - expected[index]!)))).toBeLessThan(
			format === "png" ? 1e-6 : 0.06,
		);
	});

	test("are cut off, stretched or padded, channels last, in either order", async () => {
		const file = await picture("b.png", "png");
		const column = (found: readonly number[], x: number) => found.slice(3 * x, 3 * x + 3);
		const cover = await decoded(file, [1, 4, 4, 3]);
		expect(column(cover, 0)).toEqual(RED);
		expect(column(cover, 3)).toEqual(BLUE);
		const stretched = await decoded(file, [1, 16, 4, 3], { fit: "stretch", order: "bgr" });
		expect(column(stretched, 0)).toEqual(BLUE);
		expect(column(stretched, 60)).toEqual(BLUE);
		const padded = await decoded(file, [1, 8, 8, 3], { fit: "pad" });
		expect(column(padded, 0)).toEqual([0, 0, 0]);
		expect(column(padded, 24)).toEqual(RED);
	});

	test("lose what is transparent, become gray for one channel, and are normalized", async () => {
		const file = await picture("c.png", "png", 4);
		expect((await decoded(file, [1, 3, 4, 8])).slice(0, 8)).toEqual([1, 1, 1, 1, 0, 0, 0, 0]);
		const gray = await decoded(file, [4, 8, 1]);
		expect(gray[0]!).toBeGreaterThan(gray[7]! + 0.1);
		const normalized = await decoded(file, [1, 3, 4, 8], { mean: [0.5], std: [0.25] });
		expect([normalized[0], normalized[7]]).toEqual([2, -2]);
	});

	test("a folder of them is read one by one, from any on", async () => {
		mkdirSync(at("pictures"));
		for (const name of ["1.png", "2.png", "3.png"]) await picture(`pictures/${name}`, "png");
		const source = openSamples(taking({ x: [1, 3, 4, 8] }), [at("pictures")]);
		expect(source.count).toBe(3);
		const origins: string[] = [];
		for await (const { origin } of source.samples(1)) origins.push(path.basename(origin));
		expect(origins).toEqual(["2.png", "3.png"]);
	});

	test("that are none are named", async () => {
		writeFileSync(at("broken.png"), "nothing");
		const reading = all(openSamples(taking({ x: [1, 3, 8, 8] }), [at("broken.png")]));
		await expect(reading).rejects.toMatchObject({
			code: "calibrate/data",
			message: expect.stringContaining("broken.png"),
		});
	});
});
