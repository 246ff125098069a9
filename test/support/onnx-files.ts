import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach } from "vitest";
import type { Model } from "../../src/ir/model.js";
import type { Tensor } from "../../src/ir/tensor.js";
import { type Fields, graphModel } from "./onnx-wire.js";

/** A folder of its own for every test of the file; call it once, at the top. */
export function temporaryFolder(): (...parts: string[]) => string {
	let folder = "";
	beforeEach(() => {
		folder = mkdtempSync(path.join(tmpdir(), "qgraph-onnx-"));
	});
	afterEach(() => {
		rmSync(folder, { recursive: true, force: true });
	});
	return (...parts) => path.join(folder, ...parts);
}

/** Writes a file and the folders above it; returns its path. */
export function put(file: string, content: Uint8Array | string): string {
	mkdirSync(path.dirname(file), { recursive: true });
	writeFileSync(file, content);
	return file;
}

/** A file of zeros that takes no space on the disk. */
export function putSparse(file: string, size: number): string {
	put(file, "");
	truncateSync(file, size);
	return file;
}

/** A tensor of bytes (UINT8) whose external_data has the given entries. */
export function externalTensor(
	name: string,
	elements: number,
	entries: Readonly<Record<string, string | number>>,
): Fields {
	return {
		name,
		dims: [elements],
		data_type: 2,
		external_data: Object.entries(entries).map(([key, value]) => ({ key, value: String(value) })),
		data_location: 1,
	};
}

/** A model with these initializers, each used by a node. */
export function initializerModel(...initializer: Fields[]): Buffer {
	return graphModel({
		name: "g",
		node: initializer.map(({ name }) => ({ op_type: "Identity", input: [name], output: [`${name}_out`] })),
		initializer,
	});
}

/** Bytes that differ from place to place and from seed to seed. */
export function pattern(length: number, seed = 0): Buffer {
	return Buffer.from(Array.from({ length }, (_, i) => (i * 31 + (i >> 8) * 17 + seed * 101) & 0xff));
}

export function tensorsOf(model: Model): Map<string, Tensor> {
	return new Map([...model.graph.initializers].map((value) => [value.name, value.initializer!]));
}

/** The bytes of the initializer `name`. */
export function bytesOf(model: Model, name: string): Buffer {
	const { data } = tensorsOf(model).get(name)!;
	return Buffer.from(data.read(0, data.byteLength));
}

/** Names of everything in a folder and below, sorted. */
export function listing(folder: string): string[] {
	return (readdirSync(folder, { recursive: true }) as string[]).sort();
}

/** What a promise or function fails with. */
export async function failure(
	run: () => unknown,
): Promise<{ code?: string; message: string; at?: object; name: string }> {
	try {
		await run();
	} catch (error) {
		return error as { code?: string; message: string; name: string };
	}
	throw new Error("expected a failure");
}
