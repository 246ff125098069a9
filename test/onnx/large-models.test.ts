import { closeSync, ftruncateSync, mkdirSync, openSync, statSync, truncateSync, writeSync } from "node:fs";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { type ExternalDataPolicy, readModel, writeModel } from "../../src/onnx/file.js";
import { sourceOf } from "../../src/onnx/read-model.js";
import { planWrite } from "../../src/onnx/write-plan.js";
import {
	bytesOf,
	externalTensor,
	failure,
	initializerModel,
	put,
	putSparse,
	temporaryFolder,
	tensorsOf,
} from "../support/onnx-files.js";
import { encode, tag, varint } from "../support/onnx-wire.js";

const disk = vi.hoisted(() => ({ bytesRead: 0 }));
vi.mock("node:fs", async (original) => {
	const real = await original<typeof import("node:fs")>();
	const readSync = (...parts: Parameters<typeof real.readSync>) => {
		const count = real.readSync(...parts);
		disk.bytesRead += count;
		return count;
	};
	return { ...real, readSync };
});

const at = temporaryFolder();
const GIB = 2 ** 30;
const MIB = 2 ** 20;

beforeEach(() => {
	disk.bytesRead = 0;
});

/** A model file with inline weights of these sizes, all zeros, that takes hardly any space on the disk. */
function sparseModel(file: string, ...sizes: number[]): string {
	const heads = sizes.map((size, i) => {
		const head = Buffer.concat([
			encode("TensorProto", { dims: [size], data_type: 2, name: `w${i}` }),
			tag(9, 2),
			varint(size),
		]);
		return Buffer.concat([tag(5, 2), varint(head.length + size), head]);
	});
	const length = heads.reduce((sum, head, i) => sum + head.length + sizes[i]!, 0);
	const start = Buffer.concat([tag(7, 2), varint(length)]);
	const descriptor = openSync(file, "w");
	writeSync(descriptor, start, 0, start.length, 0);
	let position = start.length;
	for (const [i, head] of heads.entries()) {
		writeSync(descriptor, head, 0, head.length, position);
		position += head.length + sizes[i]!;
	}
	ftruncateSync(descriptor, position);
	closeSync(descriptor);
	return file;
}

/** What a write of the model would make, without making it. */
async function planned(file: string, policy: ExternalDataPolicy) {
	const model = await readModel(file);
	mkdirSync(at("out"), { recursive: true });
	return planWrite({ model, source: sourceOf(model), modelPath: at("out", "x.onnx"), policy, overwrite: true });
}

describe("a model file of 3 GiB", () => {
	const sizes = [GIB, GIB, GIB - MIB, 100] as const;

	it("is read at the cost of its structure", async () => {
		const model = await readModel(sparseModel(at("m.onnx"), ...sizes));
		expect([...tensorsOf(model).values()].map((tensor) => tensor.data.byteLength)).toEqual(sizes);
		expect(disk.bytesRead).toBeLessThan(6 * 4096);
		expect(bytesOf(model, "w3")).toEqual(Buffer.alloc(100));
		expect(
			tensorsOf(model)
				.get("w2")!
				.data.read(GIB - MIB - 3, GIB - MIB),
		).toEqual(Buffer.alloc(3));
	});

	it.each(["auto", "keep", "one-file"] as const)(
		"goes to external data, for protobuf ends at 2 GiB: %s",
		async (policy) => {
			const job = await planned(sparseModel(at("m.onnx"), ...sizes), policy);
			expect(job.data?.target).toBe(at("out", "x.onnx.data"));
			expect(job.data?.runs.map((run) => [run.offset, run.data.byteLength])).toEqual([
				[0, GIB],
				[GIB, GIB],
				[2 * GIB, GIB - MIB],
			]);
			expect(job.pieces.reduce((sum, piece) => sum + piece.byteLength, 0)).toBeLessThan(1000);
		},
	);

	it("cannot be written as one file", async () => {
		const error = await failure(() => planned(sparseModel(at("m.onnx"), ...sizes), "inline"));
		expect(error).toMatchObject({ code: "write/too-large" });
		expect(error.message).toContain("external data");
	});
});

describe("a model file just below 2 GiB", () => {
	it("stays one file", async () => {
		const file = sparseModel(at("m.onnx"), 2 * GIB - 100);
		expect(statSync(file).size).toBeLessThan(2 * GIB);
		const job = await planned(file, "auto");
		expect(job.data).toBeUndefined();
		expect(job.totalBytes).toBe(statSync(file).size);
	});

	it("does not when it grows beyond", async () => {
		const job = await planned(sparseModel(at("m.onnx"), 2 * GIB - 10), "auto");
		expect(job.data?.runs).toHaveLength(1);
	});
});

describe("data files beyond 4 GiB", () => {
	it("are laid out with exact offsets", async () => {
		putSparse(at("m.data"), 12 * GIB);
		const tensors = [5, 6].map((size, i) =>
			externalTensor(`w${i}`, size * GIB + 1, { location: "m.data", offset: i * 5.5 * GIB, length: size * GIB + 1 }),
		);
		put(at("m.onnx"), initializerModel(...tensors));
		const job = await planned(at("m.onnx"), "one-file");
		expect(job.data?.runs.map((run) => run.offset)).toEqual([0, 5 * GIB + 4096]);
		expect(job.totalBytes).toBeGreaterThan(11 * GIB);
		expect(disk.bytesRead).toBeLessThan(4096);
	});
});

describe("reading and writing weights", () => {
	it("reads nothing of 100 GiB in a data file", async () => {
		const [layers, size] = [400, GIB / 4];
		putSparse(at("m.onnx.data"), layers * size);
		const tensors = Array.from({ length: layers }, (_, i) =>
			externalTensor(`w${i}`, size, { location: "m.onnx.data", offset: i * size, length: size }),
		);
		const file = put(at("m.onnx"), initializerModel(...tensors));
		const model = await readModel(file);
		expect(disk.bytesRead).toBeLessThan(statSync(file).size + 4096);
		expect(tensorsOf(model).size).toBe(layers);
		await writeModel(model, at("m.onnx"));
		expect(disk.bytesRead).toBeLessThan(statSync(file).size + 4096);
	});

	it("takes memory for a few pieces, not for the weights", async () => {
		const size = 200 * MIB;
		putSparse(at("m.data"), size);
		const file = put(at("m.onnx"), initializerModel(externalTensor("w", size, { location: "m.data" })));
		const model = await readModel(file);
		const before = process.memoryUsage().arrayBuffers;
		let highest = 0;
		const onProgress = () => {
			highest = Math.max(highest, process.memoryUsage().arrayBuffers - before);
		};
		await writeModel(model, at("x.onnx"), { externalData: "one-file", onProgress });
		expect(highest).toBeLessThan(40 * MIB);
		expect(statSync(at("x.onnx.data")).size).toBe(size);
	});

	it("notices a model file that ends before its weights do", async () => {
		const file = sparseModel(at("m.onnx"), 10 * MIB);
		truncateSync(file, 10 * MIB);
		expect(await failure(() => readModel(file))).toMatchObject({ code: "onnx/malformed" });
	});
});
