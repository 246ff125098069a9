import { execFileSync } from "node:child_process";
import { appendFileSync, linkSync, mkdirSync, readFileSync, rmSync, symlinkSync, truncateSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { parseModel, readModel, serializeModel } from "../../src/onnx/file.js";
import {
	bytesOf,
	externalTensor,
	failure,
	initializerModel,
	pattern,
	put,
	putSparse,
	temporaryFolder,
	tensorsOf,
} from "../support/onnx-files.js";

const at = temporaryFolder();
const data = pattern(10_000);

/** Reads the model in `folder` whose tensor `w` of ten bytes has these external_data entries. */
function read(entries: Readonly<Record<string, string | number>>, elements = 10, folder = "model") {
	return readModel(put(at(folder, "model.onnx"), initializerModel(externalTensor("w", elements, entries))));
}

describe("locations", () => {
	it.each(["d.bin", "./d.bin", "sub/d.bin", "sub/../d.bin", "sub/./deep/../d.bin", "..d.bin", "sub/..d"])(
		"%s stays inside the folder",
		async (location) => {
			mkdirSync(at("model", "sub", "deep"), { recursive: true });
			put(path.resolve(at("model"), location), data);
			expect(bytesOf(await read({ location, offset: 20 }), "w")).toEqual(data.subarray(20, 30));
		},
	);

	it.each([
		"../out.bin",
		"sub/../../out.bin",
		"..",
		"../model",
		".",
		"sub/../../model/../out.bin",
		"C:\\x",
		"\\\\host\\x",
	])("%s is refused", async (location) => {
		put(at("out.bin"), data);
		mkdirSync(at("model", "sub"), { recursive: true });
		expect(await failure(() => read({ location }))).toMatchObject({
			name: "QGraphError",
			code: "external-data/outside",
		});
	});

	it("that are absolute are refused, inside the folder too", async () => {
		for (const location of [put(at("model", "d.bin"), data), put(at("out.bin"), data), "/etc/passwd", "/nowhere/x"]) {
			expect(await failure(() => read({ location }))).toMatchObject({ code: "external-data/outside" });
		}
	});

	it("that are missing, empty or hold a NUL are refused", async () => {
		for (const entries of [{}, { offset: 0 }, { location: "" }, { location: "d.bin\0x" }]) {
			expect(await failure(() => read(entries))).toMatchObject({ code: "external-data/invalid", at: { value: "w" } });
		}
	});

	it("name the model, the tensor and the location when they are refused", async () => {
		const { message, at: where } = await failure(() => read({ location: "../out.bin" }));
		expect(message).toContain(`${at("model", "model.onnx")}: tensor 'w' has its external data at '../out.bin'`);
		expect(where).toEqual({ value: "w", file: at("model", "model.onnx") });
	});
});

describe("links", () => {
	it("to a sibling inside the folder are followed", async () => {
		put(at("model", "sub", "real.bin"), data);
		symlinkSync("sub/real.bin", at("model", "d.bin"));
		expect(bytesOf(await read({ location: "d.bin" }), "w")).toEqual(data.subarray(0, 10));
	});

	it("out of the folder are refused, be it the file or a folder on the way", async () => {
		put(at("elsewhere", "d.bin"), data);
		mkdirSync(at("model"));
		symlinkSync("../elsewhere/d.bin", at("model", "d.bin"));
		symlinkSync("../elsewhere", at("model", "sub"));
		symlinkSync(at("elsewhere", "d.bin"), at("model", "absolute.bin"));
		for (const location of ["d.bin", "sub/d.bin", "absolute.bin"]) {
			expect(await failure(() => read({ location }))).toMatchObject({ code: "external-data/outside" });
		}
	});

	it("to a folder whose name begins like the model's are refused", async () => {
		put(at("model-2", "d.bin"), data);
		mkdirSync(at("model"));
		symlinkSync("../model-2/d.bin", at("model", "d.bin"));
		expect(await failure(() => read({ location: "d.bin" }))).toMatchObject({ code: "external-data/outside" });
	});

	it("of the Hugging Face cache are followed: both files are links into ../../blobs", async () => {
		put(at("blobs", "1111"), initializerModel(externalTensor("w", 10, { location: "model.onnx_data", offset: 5 })));
		put(at("blobs", "2222"), data);
		mkdirSync(at("snapshots", "main"), { recursive: true });
		symlinkSync("../../blobs/1111", at("snapshots", "main", "model.onnx"));
		symlinkSync("../../blobs/2222", at("snapshots", "main", "model.onnx_data"));
		expect(bytesOf(await readModel(at("snapshots", "main", "model.onnx")), "w")).toEqual(data.subarray(5, 15));
		put(at("secret"), data);
		rmSync(at("snapshots", "main", "model.onnx_data"));
		symlinkSync("../../secret", at("snapshots", "main", "model.onnx_data"));
		const error = await failure(() => readModel(at("snapshots", "main", "model.onnx")));
		expect(error).toMatchObject({ code: "external-data/outside" });
	});

	it("work where the model's own folder is reached through a link", async () => {
		put(at("real", "d.bin"), data);
		put(at("real", "model.onnx"), initializerModel(externalTensor("w", 10, { location: "d.bin" })));
		symlinkSync("real", at("alias"));
		expect(bytesOf(await readModel(at("alias", "model.onnx")), "w")).toEqual(data.subarray(0, 10));
	});

	it("of the hard kind are files like others", async () => {
		put(at("other"), data);
		mkdirSync(at("model"));
		linkSync(at("other"), at("model", "d.bin"));
		expect(bytesOf(await read({ location: "d.bin" }), "w")).toEqual(data.subarray(0, 10));
	});

	it("that lead in a circle, or nowhere, count as missing files", async () => {
		mkdirSync(at("model"));
		symlinkSync("d.bin", at("model", "d.bin"));
		symlinkSync("gone", at("model", "e.bin"));
		for (const location of ["d.bin", "e.bin"]) {
			const model = await read({ location });
			expect(await failure(() => bytesOf(model, "w"))).toMatchObject({ code: "external-data/missing" });
		}
	});
});

describe("what is no plain file", () => {
	it("is refused: a folder", async () => {
		mkdirSync(at("model", "d.bin"), { recursive: true });
		expect(await failure(() => read({ location: "d.bin" }))).toMatchObject({ code: "external-data/invalid" });
	});

	it.skipIf(process.platform === "win32")("is refused without waiting: a pipe, a device", async () => {
		mkdirSync(at("model"));
		execFileSync("mkfifo", [at("model", "d.bin")]);
		expect(await failure(() => read({ location: "d.bin" }))).toMatchObject({ code: "external-data/invalid" });
		execFileSync("mkfifo", [at("pipe.onnx")]);
		expect(await failure(() => readModel(at("pipe.onnx")))).toMatchObject({ code: "onnx/not-found" });
		expect(await failure(() => readModel("/dev/zero"))).toMatchObject({ code: "onnx/not-found" });
	});
});

describe("ranges", () => {
	it.each([
		["no offset and no length", { location: "d.bin" }, 10, data.subarray(0, 10)],
		["an offset", { location: "d.bin", offset: 9990 }, 10, data.subarray(9990)],
		["a length", { location: "d.bin", length: 10 }, 10, data.subarray(0, 10)],
		["both, with zeros in front", { location: "d.bin", offset: "0007", length: "010" }, 10, data.subarray(7, 17)],
		[
			"keys of other kinds",
			{ location: "d.bin", checksum: "x", basepath: "/y", whatever: "" },
			10,
			data.subarray(0, 10),
		],
		["no bytes at the end of the file", { location: "d.bin", offset: 10_000 }, 0, Buffer.alloc(0)],
	] as const)("with %s are read", async (_, entries, elements, expected) => {
		put(at("model", "d.bin"), data);
		expect(bytesOf(await read(entries, elements), "w")).toEqual(expected);
	});

	it.each([
		["a length beyond the end", { location: "d.bin", length: 10_001 }, 10_001],
		["an offset at the end", { location: "d.bin", offset: 10_000 }, 1],
		["an offset beyond the end", { location: "d.bin", offset: 10_001 }, 0],
		["offset and length together beyond the end", { location: "d.bin", offset: 9995, length: 10 }, 10],
		["an offset near 2^53", { location: "d.bin", offset: 2 ** 53 - 1, length: 10 }, 10],
		["less than the shape needs", { location: "d.bin", length: 9 }, 10],
		["more than the shape needs", { location: "d.bin", length: 11 }, 10],
		["a shape of more than the file has", { location: "d.bin" }, 2 ** 40],
	] as const)("with %s are refused", async (_, entries, elements) => {
		put(at("model", "d.bin"), data);
		const error = await failure(() => read(entries, elements));
		expect(error).toMatchObject({ name: "QGraphError", code: "external-data/range", at: { value: "w" } });
	});

	it.each(["-1", "1.5", "0x10", "ten", "", " 1", "1e3", "9007199254740993", "99999999999999999999999", "+4", "\u0661"])(
		"with the number '%s' are refused",
		async (text) => {
			put(at("model", "d.bin"), data);
			for (const key of ["offset", "length"]) {
				const error = await failure(() => read({ location: "d.bin", [key]: text }));
				expect(error).toMatchObject({ code: "external-data/invalid", at: { value: "w" } });
			}
		},
	);

	const two = (first: readonly [number, number], second: readonly [number, number], locations = ["d.bin", "d.bin"]) => {
		put(at("model", "d.bin"), data);
		const tensors = [first, second].map(([offset, length], i) =>
			externalTensor(`w${i}`, length, { location: locations[i]!, offset, length }),
		);
		return readModel(put(at("model", "model.onnx"), initializerModel(...tensors)));
	};

	it.each([
		["touch", [0, 10], [10, 10]],
		["are the same", [5, 10], [5, 10]],
		["are apart", [100, 10], [0, 10]],
		["are empty", [5, 10], [7, 0]],
	] as const)("that %s are read", async (_, first, second) => {
		expect(tensorsOf(await two(first, second)).size).toBe(2);
	});

	it.each([
		["overlap by a byte", [0, 11], [10, 10]],
		["lie in each other", [0, 100], [10, 10]],
		["start together and end apart", [0, 10], [0, 20]],
	] as const)("that %s are refused", async (_, first, second) => {
		for (const [a, b] of [
			[first, second],
			[second, first],
		] as const) {
			expect(await failure(() => two(a, b))).toMatchObject({ code: "external-data/range" });
			expect(await failure(() => two(a, b, ["d.bin", "./d.bin"]))).toMatchObject({ code: "external-data/range" });
		}
	});

	it("of a type without a known size go on to the end of the file, if no length is given", async () => {
		put(at("model", "d.bin"), data);
		const tensor = { ...externalTensor("w", 3, { location: "d.bin", offset: 9000 }), data_type: 99 };
		const model = await readModel(put(at("model", "model.onnx"), initializerModel(tensor)));
		expect(bytesOf(model, "w")).toEqual(data.subarray(9000));
		const beyond = { ...externalTensor("w", 3, { location: "d.bin", offset: 10_001 }), data_type: 99 };
		const file = put(at("model", "model.onnx"), initializerModel(beyond));
		expect(await failure(() => readModel(file))).toMatchObject({ code: "external-data/range" });
	});

	it("of strings are refused", async () => {
		put(at("model", "d.bin"), data);
		const file = put(
			at("model", "model.onnx"),
			initializerModel({ ...externalTensor("w", 3, { location: "d.bin" }), data_type: 8 }),
		);
		expect(await failure(() => readModel(file))).toMatchObject({ code: "external-data/invalid" });
	});

	it("beyond 4 GiB are read", async () => {
		const size = 5 * 2 ** 30;
		putSparse(at("model", "d.bin"), size);
		appendFileSync(at("model", "d.bin"), data);
		const model = await read({ location: "d.bin", offset: size - 4, length: 10 });
		expect(bytesOf(model, "w")).toEqual(Buffer.concat([Buffer.alloc(4), data.subarray(0, 6)]));
		const all = await read({ location: "d.bin" }, size);
		expect(
			tensorsOf(all)
				.get("w")!
				.data.read(size - 5, size),
		).toEqual(Buffer.alloc(5));
	});
});

describe("a data file that is not there", () => {
	it("lets the model be read, and fails when its bytes are", async () => {
		const model = await read({ location: "gone.bin", offset: 4096, length: 10 });
		const tensor = tensorsOf(model).get("w")!;
		expect(tensor.data.byteLength).toBe(10);
		const error = await failure(() => tensor.data.read(0, 1));
		expect(error).toMatchObject({ code: "external-data/missing", at: { value: "w", file: at("model", "gone.bin") } });
		expect(error.message).toContain("'gone.bin'");
		expect(error.message).toContain("no such file");
		expect(await failure(() => serializeModel(model))).toMatchObject({ code: "external-data/missing" });
	});

	it("fails at the read of a model that came from memory, which has no folder", () => {
		const bytes = initializerModel(externalTensor("w", 10, { location: "d.bin" }));
		expect(() => parseModel(bytes)).toThrow(expect.objectContaining({ code: "external-data/missing" }));
	});
});

describe("a file that changes after the model was read", () => {
	it("is noticed, and not read as if it were the same", async () => {
		put(at("model", "d.bin"), data);
		const model = await read({ location: "d.bin" });
		truncateSync(at("model", "d.bin"), 5);
		expect(await failure(() => bytesOf(model, "w"))).toMatchObject({ code: "data/file-changed" });
	});
});

describe("tensors that are kept inside", () => {
	it("stay what they are when external_data is there but not in force", async () => {
		const inside = { ...externalTensor("w", 3, { location: "../x" }), data_location: 0, raw_data: Buffer.from("abc") };
		const file = put(at("model.onnx"), initializerModel(inside));
		const model = await readModel(file);
		expect(bytesOf(model, "w")).toEqual(Buffer.from("abc"));
		expect(readFileSync(file).equals(serializeModel(model))).toBe(true);
	});
});
