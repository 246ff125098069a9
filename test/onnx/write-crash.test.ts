import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { beforeEach, describe, expect, it, vi } from "vitest";
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

/** Decides before each file operation whether it takes place. */
const disk = vi.hoisted(() => ({ check: (_operation: string): void => {} }));

vi.mock("node:fs/promises", async (original) => {
	const real = await original<typeof import("node:fs/promises")>();
	type Call = (...parts: never[]) => Promise<unknown>;
	const guarded =
		<F extends Call>(name: string, run: F) =>
		async (...parts: Parameters<F>) => {
			disk.check(name);
			return run(...parts);
		};
	return {
		...real,
		rename: guarded("rename", real.rename as Call),
		rm: guarded("rm", real.rm as Call),
		copyFile: guarded("copyFile", real.copyFile as Call),
		mkdir: guarded("mkdir", real.mkdir as Call),
		open: async (...parts: Parameters<typeof real.open>) => {
			disk.check("open");
			const handle = await real.open(...parts);
			for (const name of ["write", "sync"] as const) {
				const run = (handle[name] as Call).bind(handle);
				Object.defineProperty(handle, name, { value: guarded(name, run) });
			}
			return handle;
		},
	};
});

const at = temporaryFolder();
const [before, after] = [pattern(5000, 1), pattern(7000, 2)];

beforeEach(() => {
	disk.check = () => {};
});

/** `in/m.onnx` and its data file, and another model with other weights at `out/m.onnx`. */
async function models(): Promise<Model> {
	const files = (folder: string, weight: Buffer) => {
		put(at(folder, "m.onnx.data"), weight);
		put(
			at(folder, "m.onnx"),
			initializerModel(externalTensor("w", weight.length, { location: "m.onnx.data" }), {
				name: "marker",
				dims: [1],
				data_type: 2,
				raw_data: weight.subarray(0, 1),
			}),
		);
	};
	files("in", after);
	files("out", before);
	return readModel(at("in", "m.onnx"));
}

/** The weights of the model at `out/m.onnx`: "old", "new", or "none" where there is no model; anything else throws. */
async function state(): Promise<string> {
	if (!listing(at("out")).includes("m.onnx")) return "none";
	const model = await readModel(at("out", "m.onnx"));
	const weight = bytesOf(model, "w");
	expect(tensorsOf(model).get("marker")?.data.read(0, 1)).toEqual(Uint8Array.from(weight.subarray(0, 1)));
	if (weight.equals(before)) return "old";
	expect(weight.equals(after)).toBe(true);
	return "new";
}

/** How many file operations a write takes. */
async function operations(policy: ExternalDataPolicy): Promise<string[]> {
	const model = await models();
	const seen: string[] = [];
	disk.check = (operation) => void seen.push(operation);
	await writeModel(model, at("out", "m.onnx"), { externalData: policy });
	disk.check = () => {};
	rmSync(at(), { recursive: true });
	mkdirSync(at());
	return seen;
}

const denied = () => Object.assign(new Error("EIO: i/o error"), { code: "EIO", syscall: "write" });

describe.each(["auto", "one-file"] as const)("an output with a data file, replaced: %s", (policy) => {
	it("is the old one or the new one when any one operation fails, and leaves nothing behind", async () => {
		const names = await operations(policy);
		expect(names).toContain("rename");
		for (const index of names.keys()) {
			const model = await models();
			const label = `operation ${index}, ${names[index]}`;
			let count = 0;
			disk.check = () => {
				if (count++ === index) throw denied();
			};
			const error = await failure(async () => {
				await writeModel(model, at("out", "m.onnx"), { externalData: policy });
				throw new Error("done");
			});
			disk.check = () => {};
			const isDone = error.message === "done";
			if (!isDone) expect(error, label).toMatchObject({ name: "QGraphError", code: "write/failed" });
			const afterwards = await state();
			expect(afterwards === "new" || (!isDone && afterwards === "old"), `${label}: ${afterwards}`).toBe(true);
			if (names[index] !== "rm") expect(listing(at("out")), label).toEqual(["m.onnx", "m.onnx.data"]);
			rmSync(at("out"), { recursive: true });
		}
	});

	it("is the old one, the new one or none when the process dies at any operation", async () => {
		const names = await operations(policy);
		const seen = new Set<string>();
		for (const index of names.keys()) {
			const model = await models();
			let count = 0;
			disk.check = () => {
				if (count++ >= index) throw denied();
			};
			await writeModel(model, at("out", "m.onnx"), { externalData: policy }).catch(() => undefined);
			disk.check = () => {};
			seen.add(await state());
			const kept = listing(at("out")).map((name) => readFileSync(at("out", name)));
			if ((await state()) === "none") {
				expect(
					kept.some((bytes) => bytes.equals(before)),
					"the old data is still there under another name",
				).toBe(true);
			}
			rmSync(at("out"), { recursive: true });
		}
		expect([...seen].sort()).toEqual(["new", "none", "old"]);
	});
});

describe("an output that is one file, replaced", () => {
	it("is never missing, whatever operation the process dies at", async () => {
		const one = async () => {
			put(at("m.onnx"), initializerModel({ name: "w", dims: [5000], data_type: 2, raw_data: before }));
			const file = put(at("in.onnx"), initializerModel({ name: "w", dims: [7000], data_type: 2, raw_data: after }));
			return readModel(file);
		};
		const seen = new Set<string>();
		for (let index = 0; !seen.has("finished"); index++) {
			const model = await one();
			let count = 0;
			disk.check = () => {
				if (count++ >= index) throw denied();
			};
			await writeModel(model, at("m.onnx")).catch(() => undefined);
			disk.check = () => {};
			const weight = bytesOf(await readModel(at("m.onnx")), "w");
			expect(weight.equals(before) || weight.equals(after)).toBe(true);
			seen.add(weight.equals(before) ? "old" : "new");
			if (count < index) seen.add("finished");
		}
		expect([...seen]).toEqual(["old", "new", "finished"]);
	});
});

describe("refused by the system", () => {
	it.each([
		["EACCES", "permission denied"],
		["ENOSPC", "the disk is full"],
		["EROFS", "the file system is read-only"],
		["EDQUOT", "the disk quota is used up"],
	])("%s is said in words", async (code, words) => {
		const model = await models();
		disk.check = (operation) => {
			if (operation === "write") throw Object.assign(new Error(code), { code, syscall: "write" });
		};
		const error = await failure(() => writeModel(model, at("out", "m.onnx")));
		disk.check = () => {};
		expect(error).toMatchObject({ code: "write/failed" });
		expect(error.message).toBe(`cannot write '${at("out", "m.onnx")}': ${words}`);
		expect(await state()).toBe("old");
	});
});
