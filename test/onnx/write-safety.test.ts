import { execFileSync } from "node:child_process";
import { chmodSync, linkSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { computedData } from "../../src/ir/data.js";
import type { Model } from "../../src/ir/model.js";
import { readModel, type WriteOptions, writeModel } from "../../src/onnx/file.js";
import {
	bytesOf,
	externalTensor,
	failure,
	initializerModel,
	listing,
	pattern,
	put,
	putSparse,
	temporaryFolder,
} from "../support/onnx-files.js";

const at = temporaryFolder();
const weight = pattern(5000, 1);

/** A model with one weight in the data file `location`. */
function input(folder = "in", location = "m.data"): Promise<Model> {
	put(at(folder, location), weight);
	return readModel(put(at(folder, "m.onnx"), initializerModel(externalTensor("w", weight.length, { location }))));
}

/** Gives the model a new weight that is made while it is written. */
function setWeight(model: Model, byteLength: number, produce: (start: number, end: number) => Uint8Array): void {
	for (const value of model.graph.initializers) {
		const data = computedData(byteLength, produce);
		value.graph.setInitializer(value, { dtype: 2, shape: [byteLength], data });
	}
}

describe("what a write refuses", () => {
	const refused = async (target: string, options: WriteOptions = {}, folder = "in") => {
		const before = listing(at());
		const error = await failure(async () => writeModel(await readModel(at(folder, "m.onnx")), at(target), options));
		expect(listing(at())).toEqual(before);
		expect(readFileSync(at(folder, "m.data")).equals(weight)).toBe(true);
		return error;
	};

	it("to put the model where a data file of its input is", async () => {
		await input();
		const error = await refused("in/m.data");
		expect(error).toMatchObject({ name: "QGraphError", code: "write/would-overwrite-input" });
		expect(error.message).toContain(at("in", "m.data"));
	});

	it("the same through a symbolic link, and through another name of the file", async () => {
		await input();
		mkdirSync(at("out"));
		symlinkSync("../in/m.data", at("out", "link.onnx"));
		linkSync(at("in", "m.data"), at("out", "hard.onnx"));
		for (const target of ["out/link.onnx", "out/hard.onnx"]) {
			expect(await refused(target)).toMatchObject({ code: "write/would-overwrite-input" });
			expect(await refused(target, { externalData: "inline" })).toMatchObject({ code: "write/would-overwrite-input" });
		}
	});

	it("to put the new data file where a data file of the input is", async () => {
		await input("in", "m.data");
		put(at("in", "x.onnx.data"), weight);
		put(at("in", "m.onnx"), initializerModel(externalTensor("w", 5000, { location: "x.onnx.data" })));
		expect(await refused("in/x.onnx", { externalData: "one-file" })).toMatchObject({
			code: "write/would-overwrite-input",
		});
	});

	it("to keep a data file that has the output's name", async () => {
		await input("in", "m.data");
		mkdirSync(at("out"));
		expect(await refused("out/m.data", { externalData: "keep" })).toMatchObject({
			code: "write/would-overwrite-input",
		});
		const model = await readModel(at("in", "m.onnx"));
		await writeModel(model, at("out", "m.data"));
		expect(listing(at("out"))).toEqual(["m.data", "m.data.data"]);
		expect(bytesOf(await readModel(at("out", "m.data")), "w").equals(weight)).toBe(true);
	});

	it("to replace files without leave", async () => {
		await input();
		put(at("out", "x.onnx"), "old");
		expect(await refused("out/x.onnx", { overwrite: false })).toMatchObject({ code: "write/exists" });
		expect(await refused("in/m.onnx", { overwrite: false })).toMatchObject({ code: "write/exists" });
		put(at("free", "x.onnx.data"), "old");
		const oneFile = { overwrite: false, externalData: "one-file" } as const;
		expect(await refused("free/x.onnx", oneFile)).toMatchObject({ code: "write/exists" });
	});

	it("to replace a data file that belongs to another model in the output's folder", async () => {
		await input();
		put(at("out", "m.data"), "another model's weights");
		expect(await refused("out/x.onnx")).toMatchObject({ code: "write/exists" });
		put(at("out", "m.data"), weight);
		await writeModel(await readModel(at("in", "m.onnx")), at("out", "x.onnx"));
		expect(bytesOf(await readModel(at("out", "x.onnx")), "w").equals(weight)).toBe(true);
	});

	it("to follow a link out of the output's folder on the way to a data file", async () => {
		put(at("in", "sub", "m.data"), weight);
		put(at("in", "m.data"), weight);
		put(at("in", "m.onnx"), initializerModel(externalTensor("w", 5000, { location: "sub/m.data" })));
		mkdirSync(at("out"));
		mkdirSync(at("elsewhere"));
		symlinkSync("../elsewhere", at("out", "sub"));
		expect(await refused("out/x.onnx")).toMatchObject({ code: "external-data/outside" });
	});

	it.each([
		["a folder that is not there", "nowhere/x.onnx", "no such file or folder"],
		["a folder", "folder", "not a file"],
		["below a file", "in/m.data/x.onnx", "not a folder"],
		["a name that is too long", `in/${"n".repeat(300)}`, "too long"],
	])("to write to %s", async (_, target, reason) => {
		await input();
		mkdirSync(at("folder"));
		const error = await refused(target);
		expect(error).toMatchObject({ name: "QGraphError", code: "write/failed" });
		expect(error.message).toContain(reason);
	});

	it.skipIf(process.getuid?.() === 0)("to write without permission", async () => {
		await input();
		mkdirSync(at("locked"));
		chmodSync(at("locked"), 0o500);
		const error = await refused("locked/x.onnx");
		expect(error).toMatchObject({ code: "write/failed" });
		expect(error.message).toContain("permission denied");
	});
});

describe("what a write does for the files around it", () => {
	it("a name of full length still has room for the temporary one", async () => {
		const name = `${"n".repeat(245)}.onnx`;
		await writeModel(await input(), at("in", name), { externalData: "inline" });
		expect(bytesOf(await readModel(at("in", name)), "w").equals(weight)).toBe(true);
	});

	it("a file that is replaced keeps its permissions", async () => {
		chmodSync(put(at("x.onnx"), "old"), 0o600);
		await writeModel(await input(), at("x.onnx"), { externalData: "inline" });
		expect(statSync(at("x.onnx")).mode & 0o777).toBe(0o600);
	});

	it("two locations of one file are copied once", async () => {
		await input();
		const tensors = ["m.data", "./m.data", "sub/../m.data"].map((location, i) =>
			externalTensor(`w${i}`, 5000, { location }),
		);
		put(at("in", "m.onnx"), initializerModel(...tensors));
		mkdirSync(at("in", "sub"));
		mkdirSync(at("out"));
		await writeModel(await readModel(at("in", "m.onnx")), at("out", "x.onnx"), { externalData: "keep" });
		expect(listing(at("out"))).toEqual(["m.data", "x.onnx"]);
	});

	it("a data file of an older output is replaced, though it has the same size", async () => {
		const model = await input();
		put(at("out", "x.onnx"), readFileSync(at("in", "m.onnx")));
		put(at("out", "m.data"), pattern(5000, 8));
		await writeModel(model, at("out", "x.onnx"));
		expect(bytesOf(await readModel(at("out", "x.onnx")), "w").equals(weight)).toBe(true);
		expect(listing(at("out"))).toEqual(["m.data", "x.onnx"]);
	});

	it("progress ends with all bytes written", async () => {
		const model = await input();
		const seen: (readonly [number, number])[] = [];
		mkdirSync(at("out"));
		const onProgress = (done: number, total: number) => void seen.push([done, total]);
		for (const externalData of ["auto", "inline", "one-file"] as const) {
			await writeModel(model, at("out", `${externalData}.onnx`), { externalData, onProgress });
			const [done, total] = seen.at(-1)!;
			expect(done).toBe(total);
			expect(total).toBeGreaterThan(5000);
		}
		expect(seen.every(([done, total]) => done <= total)).toBe(true);
	});
});

describe("a write that fails", () => {
	/** An output that is there already, with its data file. */
	const old = async () => {
		const model = await input("old", "x.onnx.data");
		mkdirSync(at("out"));
		await writeModel(model, at("out", "x.onnx"), { externalData: "one-file" });
		return {
			files: listing(at("out")),
			model: readFileSync(at("out", "x.onnx")),
			data: readFileSync(at("out", "x.onnx.data")),
		};
	};
	const expectOld = (before: Awaited<ReturnType<typeof old>>) => {
		expect(listing(at("out"))).toEqual(before.files);
		expect(readFileSync(at("out", "x.onnx")).equals(before.model)).toBe(true);
		expect(readFileSync(at("out", "x.onnx.data")).equals(before.data)).toBe(true);
	};

	it("leaves the old output when a pass throws in the middle", async () => {
		const before = await old();
		const model = await input();
		setWeight(model, 20 * 2 ** 20, (start, end) => {
			if (start > 10 * 2 ** 20) throw new Error("a bug in a pass");
			return new Uint8Array(end - start);
		});
		expect((await failure(() => writeModel(model, at("out", "x.onnx")))).message).toBe("a bug in a pass");
		expectOld(before);
	});

	it.each([
		["fewer", -1, 20 * 2 ** 20],
		["more", 1, 20 * 2 ** 20],
		["fewer, in a small weight", -1, 100],
		["more, in a small weight", 1, 100],
	])("leaves the old output when a pass makes %s bytes than it said", async (_, wrong, length) => {
		const before = await old();
		const model = await input();
		setWeight(model, length, (start, end) => new Uint8Array(end - start + wrong));
		for (const externalData of ["auto", "inline"] as const) {
			const error = await failure(() => writeModel(model, at("out", "x.onnx"), { externalData }));
			expect(error).toMatchObject({ code: "write/wrong-length" });
		}
		expectOld(before);
	});

	it.each(["auto", "one-file", "inline"] as const)(
		"leaves the old output when it is aborted on its way: %s",
		async (externalData) => {
			const before = await old();
			putSparse(at("big", "x.onnx.data"), 30 * 2 ** 20);
			const file = put(
				at("big", "m.onnx"),
				initializerModel(externalTensor("w", 30 * 2 ** 20, { location: "x.onnx.data" })),
			);
			const model = await readModel(file);
			for (const share of [0.1, 0.5, 0.99]) {
				const abort = new AbortController();
				const reason = new Error("enough");
				let written = 0;
				const onProgress = (done: number, total: number) => {
					written = done;
					if (done > share * total) abort.abort(reason);
				};
				const options = { externalData, signal: abort.signal, onProgress };
				expect(await failure(() => writeModel(model, at("out", "x.onnx"), options))).toBe(reason);
				expectOld(before);
				if (externalData !== "auto") expect(written).toBeLessThan(share * 30 * 2 ** 20 + 13 * 2 ** 20);
			}
			const aborted = { externalData, signal: AbortSignal.abort() };
			expect(await failure(() => writeModel(model, at("out", "x.onnx"), aborted))).toMatchObject({
				name: "AbortError",
			});
			expectOld(before);
			await writeModel(model, at("out", "x.onnx"), { externalData });
			expect(bytesOf(await readModel(at("out", "x.onnx")), "w").length).toBe(30 * 2 ** 20);
		},
	);

	it("leaves the old output when a data file of the input changed meanwhile", async () => {
		const before = await old();
		for (const externalData of ["auto", "inline"] as const) {
			const model = await input("in", "x.onnx.data");
			put(at("in", "x.onnx.data"), pattern(5001, 7));
			const error = await failure(() => writeModel(model, at("out", "x.onnx"), { externalData }));
			expect(error).toMatchObject({ code: "data/file-changed" });
			expectOld(before);
		}
	});

	it("leaves nothing when the data file that it copies changed meanwhile", async () => {
		const model = await input();
		put(at("in", "m.data"), pattern(5001, 7));
		mkdirSync(at("out"));
		const error = await failure(() => writeModel(model, at("out", "x.onnx")));
		expect(error).toMatchObject({ code: "data/file-changed" });
		expect(listing(at("out"))).toEqual([]);
	});

	it("leaves no folder that it made", async () => {
		put(at("in", "a", "b", "m.data"), weight);
		put(at("in", "c.data"), weight);
		const tensors = ["a/b/m.data", "c.data"].map((location, i) => externalTensor(`w${i}`, 5000, { location }));
		const model = await readModel(put(at("in", "m.onnx"), initializerModel(...tensors)));
		rmSync(at("in", "c.data"));
		mkdirSync(at("out"));
		expect(await failure(() => writeModel(model, at("out", "x.onnx")))).toMatchObject({ code: "write/failed" });
		expect(listing(at("out"))).toEqual([]);
	});

	it("says that the disk is full, and leaves the old output", async (context) => {
		mkdirSync(at("out"));
		try {
			execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", at("out")], { stdio: "ignore" });
		} catch {
			context.skip("this system does not let us mount a small disk");
		}
		try {
			const model = await input("in", "x.onnx.data");
			await writeModel(model, at("out", "x.onnx"), { externalData: "one-file" });
			const before = readFileSync(at("out", "x.onnx"));
			setWeight(model, 3 * 2 ** 20, (start, end) => new Uint8Array(end - start).fill(1));
			for (const externalData of ["auto", "inline", "one-file"] as const) {
				const error = await failure(() => writeModel(model, at("out", "x.onnx"), { externalData }));
				expect(error).toMatchObject({ name: "QGraphError", code: "write/failed" });
				expect(error.message).toContain("the disk is full");
				expect(listing(at("out"))).toEqual(["x.onnx", "x.onnx.data"]);
				expect(readFileSync(at("out", "x.onnx")).equals(before)).toBe(true);
			}
			expect(bytesOf(await readModel(at("out", "x.onnx")), "w").equals(weight)).toBe(true);
		} finally {
			execFileSync("umount", ["-l", at("out")]);
		}
	});
});

describe("a write that waits for something", () => {
	it("puts nothing in place before, and nothing at all when that fails", async () => {
		input();
		const reasons = new Error("the measuring failed");
		const before = listing(at());
		const model = await readModel(at("in", "m.onnx"));
		const failing = writeModel(model, at("out.onnx"), { onWritten: () => Promise.reject(reasons) });
		await expect(failing).rejects.toBe(reasons);
		expect(listing(at())).toEqual(before);
		let release = () => {};
		const after = new Promise<void>((resolve) => {
			release = () => {
				expect(listing(at())).not.toContain("out.onnx");
				resolve();
			};
		});
		setTimeout(() => release(), 50);
		await writeModel(model, at("out.onnx"), { onWritten: () => after });
		expect(listing(at())).toContain("out.onnx");
	});
});
