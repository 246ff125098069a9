import { mkdirSync, readFileSync, realpathSync, rmSync, statSync, symlinkSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { computedData } from "../../src/ir/data.js";
import type { Model } from "../../src/ir/model.js";
import { type ExternalDataPolicy, readModel, writeModel } from "../../src/onnx/file.js";
import {
	bytesOf,
	externalTensor,
	failure,
	initializerModel,
	listing,
	pattern,
	put,
	temporaryFolder,
	tensorsOf,
} from "../support/onnx-files.js";
import { recordOf } from "../support/onnx-records.js";
import { type Fields, graphModel } from "../support/onnx-wire.js";

const at = temporaryFolder();

const POLICIES: readonly ExternalDataPolicy[] = ["auto", "keep", "inline", "one-file"];
const WEIGHTS: Readonly<Record<string, Buffer>> = {
	a: pattern(5000, 1),
	b: pattern(3000, 2),
	tied: pattern(5000, 1),
	small: pattern(10, 3),
	empty: Buffer.alloc(0),
	inside: pattern(6000, 4),
	tiny: pattern(5, 5),
};

/** `in/m.onnx`: weights in two data files, one of them in a folder below, one range shared; two weights inside. */
async function input(): Promise<Model> {
	put(at("in", "first.bin"), Buffer.concat([Buffer.alloc(8), WEIGHTS.a!]));
	put(at("in", "sub", "second.bin"), Buffer.concat([WEIGHTS.b!, WEIGHTS.small!]));
	const file = initializerModel(
		externalTensor("a", 5000, { location: "first.bin", offset: 8, length: 5000, checksum: "c0ffee" }),
		externalTensor("b", 3000, { location: "sub/second.bin" }),
		externalTensor("tied", 5000, { location: "./first.bin", offset: 8 }),
		externalTensor("small", 10, { location: "sub/second.bin", offset: 3000 }),
		externalTensor("empty", 0, { location: "sub/second.bin" }),
		{ name: "inside", dims: [6000], data_type: 2, raw_data: WEIGHTS.inside },
		{ name: "tiny", dims: [5], data_type: 2, int32_data: [...WEIGHTS.tiny!] },
	);
	return readModel(put(at("in", "m.onnx"), file));
}

/** `in/m.onnx` with one data file, `in/m.onnx.data`, which also holds bytes that nothing points to. */
async function inputWithOneFile(): Promise<Model> {
	put(at("in", "m.onnx.data"), Buffer.concat([WEIGHTS.a!, Buffer.alloc(100), WEIGHTS.b!]));
	const file = initializerModel(
		externalTensor("a", 5000, { location: "m.onnx.data", offset: 0, length: 5000 }),
		externalTensor("b", 3000, { location: "m.onnx.data", offset: 5100, length: 3000 }),
	);
	return readModel(put(at("in", "m.onnx"), file));
}

async function expectSameWeights(file: string, names = Object.keys(WEIGHTS)): Promise<Model> {
	const model = await readModel(file);
	expect([...tensorsOf(model).keys()].filter((name) => name in WEIGHTS)).toEqual(names);
	for (const name of names) expect(bytesOf(model, name).equals(WEIGHTS[name]!), name).toBe(true);
	return model;
}

/** The external_data entries of each initializer of a file; undefined for those inside it. */
function entriesOf(file: string): Record<string, Record<string, string> | undefined> {
	const { graph } = recordOf(readFileSync(file), "ModelProto") as { graph: { initializer: Fields[] } };
	return Object.fromEntries(
		graph.initializer.map(({ name, external_data, data_location }) => {
			const entries = (external_data as { key: string; value: string }[] | undefined) ?? [];
			return [
				name,
				data_location === 1 ? Object.fromEntries(entries.map(({ key, value }) => [key, value])) : undefined,
			];
		}),
	);
}

/** Replaces an initializer by one that a pass computed. */
function change(model: Model, name: string, bytes: Buffer): void {
	for (const value of model.graph.initializers) {
		if (value.name !== name) continue;
		const data = computedData(bytes.length, (start, end) => bytes.subarray(start, end));
		value.graph.setInitializer(value, { dtype: 2, shape: [bytes.length], data });
	}
}

/** What every data file that this package lays out looks like. */
function expectNewLayout(folder: string, file: string, location: string): void {
	let end = 0;
	const seen = new Set<string>();
	for (const entries of Object.values(entriesOf(path.join(folder, file)))) {
		if (entries?.location !== location || seen.has(entries.offset!)) continue;
		seen.add(entries.offset!);
		expect(Object.keys(entries)).toEqual(["location", "offset", "length"]);
		expect(Number(entries.offset) % 4096).toBe(0);
		expect(Number(entries.offset)).toBe(Math.ceil(end / 4096) * 4096);
		end = Number(entries.offset) + Number(entries.length);
	}
	expect(statSync(path.join(folder, location)).size).toBe(end);
}

describe("into another folder", () => {
	it.each(["auto", "keep"] as const)(
		"%s copies the data files along, and the model stays byte for byte",
		async (policy) => {
			const model = await input();
			mkdirSync(at("out"));
			await writeModel(model, at("out", "x.onnx"), { externalData: policy });
			expect(readFileSync(at("out", "x.onnx")).equals(readFileSync(at("in", "m.onnx")))).toBe(true);
			expect(listing(at("out"))).toEqual(["first.bin", "sub", "sub/second.bin", "x.onnx"]);
			for (const file of ["first.bin", "sub/second.bin"]) {
				expect(readFileSync(at("out", file)).equals(readFileSync(at("in", file)))).toBe(true);
				expect(statSync(at("out", file)).nlink).toBe(1);
			}
			await expectSameWeights(at("out", "x.onnx"));
		},
	);

	it("inline takes everything into the model file", async () => {
		mkdirSync(at("out"));
		await writeModel(await input(), at("out", "x.onnx"), { externalData: "inline" });
		expect(listing(at("out"))).toEqual(["x.onnx"]);
		expect(Object.values(entriesOf(at("out", "x.onnx"))).every((entries) => entries === undefined)).toBe(true);
		const { graph } = recordOf(readFileSync(at("out", "x.onnx")), "ModelProto") as { graph: { initializer: Fields[] } };
		const empty = graph.initializer.find((tensor) => tensor.name === "empty");
		expect(empty, "no data field, for ONNX wants none in a tensor without elements").toEqual({
			name: "empty",
			dims: [0],
			data_type: 2,
		});
		await expectSameWeights(at("out", "x.onnx"));
	});

	it("one-file takes what is 1 KiB or more, and what was outside, into one data file", async () => {
		mkdirSync(at("out"));
		await writeModel(await input(), at("out", "x.onnx"), { externalData: "one-file" });
		expect(listing(at("out"))).toEqual(["x.onnx", "x.onnx.data"]);
		const entries = entriesOf(at("out", "x.onnx"));
		expect(Object.keys(entries).filter((name) => entries[name])).toEqual(["a", "b", "tied", "small", "inside"]);
		expectNewLayout(at("out"), "x.onnx", "x.onnx.data");
		expect(entries.tied).toEqual(entries.a);
		await expectSameWeights(at("out", "x.onnx"));
	});
});

describe("into the same folder, under another name", () => {
	it("auto gives the new model a data file of its own", async () => {
		await writeModel(await input(), at("in", "x.onnx"));
		expect(listing(at("in"))).toEqual(["first.bin", "m.onnx", "sub", "sub/second.bin", "x.onnx", "x.onnx.data"]);
		expectNewLayout(at("in"), "x.onnx", "x.onnx.data");
		const entries = entriesOf(at("in", "x.onnx"));
		expect(entries.tied).toEqual(entries.a);
		expect(entries.inside).toBeUndefined();
		await expectSameWeights(at("in", "x.onnx"));
		await expectSameWeights(at("in", "m.onnx"));
	});

	it("auto copies a single data file as it is, under the new model's name", async () => {
		await writeModel(await inputWithOneFile(), at("in", "x.onnx"));
		expect(listing(at("in"))).toEqual(["m.onnx", "m.onnx.data", "x.onnx", "x.onnx.data"]);
		expect(readFileSync(at("in", "x.onnx.data")).equals(readFileSync(at("in", "m.onnx.data")))).toBe(true);
		expect(entriesOf(at("in", "x.onnx")).b).toEqual({ location: "x.onnx.data", offset: "5100", length: "3000" });
		await expectSameWeights(at("in", "x.onnx"), ["a", "b"]);
	});

	it("keep leaves the weights where they are", async () => {
		await writeModel(await input(), at("in", "x.onnx"), { externalData: "keep" });
		expect(readFileSync(at("in", "x.onnx")).equals(readFileSync(at("in", "m.onnx")))).toBe(true);
		expect(listing(at("in"))).toEqual(["first.bin", "m.onnx", "sub", "sub/second.bin", "x.onnx"]);
	});

	it.each(["inline", "one-file"] as const)("%s does the same as elsewhere", async (policy) => {
		await writeModel(await input(), at("in", "x.onnx"), { externalData: policy });
		await expectSameWeights(at("in", "x.onnx"));
		await expectSameWeights(at("in", "m.onnx"));
		expect(listing(at("in")).includes("x.onnx.data")).toBe(policy === "one-file");
	});
});

describe("over itself", () => {
	it.each(["auto", "keep"] as const)("%s leaves everything as it was", async (policy) => {
		const model = await input();
		const [before, data] = [readFileSync(at("in", "m.onnx")), statSync(at("in", "first.bin"))];
		await writeModel(model, at("in", "m.onnx"), { externalData: policy });
		expect(readFileSync(at("in", "m.onnx")).equals(before)).toBe(true);
		expect(statSync(at("in", "first.bin"))).toEqual(data);
		expect(listing(at("in"))).toEqual(["first.bin", "m.onnx", "sub", "sub/second.bin"]);
	});

	it.each(["inline", "one-file"] as const)("%s moves the weights", async (policy) => {
		await writeModel(await input(), at("in", "m.onnx"), { externalData: policy });
		await expectSameWeights(at("in", "m.onnx"));
	});

	it("replaces the data file that it reads from", async () => {
		const model = await inputWithOneFile();
		await writeModel(model, at("in", "m.onnx"), { externalData: "one-file" });
		expect(listing(at("in"))).toEqual(["m.onnx", "m.onnx.data"]);
		expectNewLayout(at("in"), "m.onnx", "m.onnx.data");
		await expectSameWeights(at("in", "m.onnx"), ["a", "b"]);
	});
});

describe.each(POLICIES)("a model with a changed weight, %s", (policy) => {
	const changed = pattern(7000, 9);
	it.each([
		["another folder", "out/x.onnx"],
		["the same folder", "in/x.onnx"],
		["over itself", "in/m.onnx"],
	])("%s", async (_, target) => {
		const model = await inputWithOneFile();
		change(model, "b", changed);
		mkdirSync(at("out"));
		await writeModel(model, at(target), { externalData: policy });
		const written = await readModel(at(target));
		expect(bytesOf(written, "a").equals(WEIGHTS.a!)).toBe(true);
		expect(bytesOf(written, "b").equals(changed)).toBe(true);
		const { a, b } = entriesOf(at(target));
		const [folder, name] = [path.dirname(at(target)), path.basename(target)];
		if (policy === "inline") expect([a, b]).toEqual([undefined, undefined]);
		else if (policy === "keep") {
			expect(a?.location).toBe("m.onnx.data");
			expect(b?.location).toBe(name === "x.onnx" ? "x.onnx.data" : "m.onnx.data.2");
			expect(readFileSync(path.join(folder, "m.onnx.data"))).toHaveLength(8100);
		} else {
			expect([a?.location, b?.location]).toEqual([`${name}.data`, `${name}.data`]);
			expectNewLayout(folder, name, `${name}.data`);
		}
		if (name === "x.onnx") await expectSameWeights(at("in", "m.onnx"), ["a", "b"]);
	});
});

describe("a model without external data", () => {
	const file = initializerModel({ name: "inside", dims: [6000], data_type: 2, raw_data: WEIGHTS.inside });

	it.each(["auto", "keep", "inline"] as const)("stays one file: %s", async (policy) => {
		await writeModel(await readModel(put(at("m.onnx"), file)), at("x.onnx"), { externalData: policy });
		expect(readFileSync(at("x.onnx")).equals(file)).toBe(true);
		expect(listing(at())).toEqual(["m.onnx", "x.onnx"]);
	});

	it("stays one file when a weight changes", async () => {
		const model = await readModel(put(at("m.onnx"), file));
		change(model, "inside", pattern(9000, 1));
		await writeModel(model, at("x.onnx"));
		expect(listing(at())).toEqual(["m.onnx", "x.onnx"]);
		expect(bytesOf(await readModel(at("x.onnx")), "inside").equals(pattern(9000, 1))).toBe(true);
	});
});

describe("weights that may not leave the model file", () => {
	it("are attributes of other operators than Constant", async () => {
		const tensor = { dims: [6000], data_type: 2, raw_data: WEIGHTS.inside };
		const node = (op_type: string, name: string) => ({ op_type, attribute: [{ name, type: 4, t: tensor }] });
		put(at("m.onnx"), graphModel({ node: [node("Constant", "value"), node("TreeEnsemble", "nodes_splits")] }));
		await writeModel(await readModel(at("m.onnx")), at("x.onnx"), { externalData: "one-file" });
		const { graph } = recordOf(readFileSync(at("x.onnx")), "ModelProto") as { graph: { node: Fields[] } };
		const locations = graph.node.map(({ attribute }) => (attribute as { t: Fields }[])[0]!.t.data_location);
		expect(locations).toEqual([1, undefined]);
		const constant = [...(await readModel(at("x.onnx"))).graph.nodes][0]!.attributes.get("value");
		expect(constant?.kind === "tensor" && Buffer.from(constant.value.data.read(0, 6000)).equals(WEIGHTS.inside!)).toBe(
			true,
		);
	});
});

describe("a model whose data file is missing", () => {
	const missing = () =>
		readModel(
			put(at("in", "m.onnx"), initializerModel(externalTensor("w", 5000, { location: "gone.bin", offset: 4 }))),
		);

	it.each([
		["another folder", "x.onnx"],
		["the same folder", "in/x.onnx"],
		["over itself", "in/m.onnx"],
	])("says what it said before: auto and keep, %s", async (_, target) => {
		for (const externalData of ["auto", "keep"] as const) {
			const model = await missing();
			const before = readFileSync(at("in", "m.onnx"));
			await writeModel(model, at(target), { externalData });
			expect(readFileSync(at(target)).equals(before)).toBe(true);
		}
	});

	it.each(["inline", "one-file"] as const)(
		"cannot be written %s, and the error names the file",
		async (externalData) => {
			const error = await failure(async () => writeModel(await missing(), at("x.onnx"), { externalData }));
			expect(error).toMatchObject({ name: "QGraphError", code: "external-data/missing" });
			expect(error.message).toContain("gone.bin");
			expect(listing(at())).toEqual(["in", "in/m.onnx"]);
		},
	);
});

describe("links", () => {
	it("a model written through a link replaces the file behind it", async () => {
		put(at("real", "x.onnx"), "old");
		symlinkSync("real/x.onnx", at("x.onnx"));
		await writeModel(await input(), at("x.onnx"), { externalData: "inline" });
		expect(realpathSync(at("x.onnx"))).toBe(realpathSync(at("real", "x.onnx")));
		await expectSameWeights(at("real", "x.onnx"));
	});

	it("a model of a download cache gets its new data file beside the name that was given", async () => {
		put(at("blobs", "2222"), WEIGHTS.a!);
		put(at("blobs", "1111"), initializerModel(externalTensor("a", 5000, { location: "m.data" })));
		mkdirSync(at("snapshot"));
		symlinkSync("../blobs/1111", at("snapshot", "m.onnx"));
		symlinkSync("../blobs/2222", at("snapshot", "m.data"));
		const model = await readModel(at("snapshot", "m.onnx"));
		await writeModel(model, at("snapshot", "x.onnx"));
		await expectSameWeights(at("snapshot", "x.onnx"), ["a"]);
		expect(listing(at("snapshot"))).toEqual(["m.data", "m.onnx", "x.onnx", "x.onnx.data"]);
		mkdirSync(at("out"));
		await writeModel(model, at("out", "x.onnx"));
		rmSync(at("blobs"), { recursive: true });
		await expectSameWeights(at("out", "x.onnx"), ["a"]);
	});
});
