import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { computedData, DataFile, fileData } from "../../src/ir/data.js";
import { BufferedFile, type Piece, spreadComputed } from "../../src/onnx/buffered-file.js";
import { PageWriter } from "../../src/onnx/page-writer.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-buffered-"));
afterAll(() => rmSync(folder, { recursive: true }));

const MEGABYTE = 2 ** 20;
const source = path.join(folder, "source");
writeFileSync(source, Buffer.alloc(12 * MEGABYTE, "copied bytes "));

const copied = (offset: number, from: number, length: number): Piece => ({
	offset,
	data: fileData(new DataFile(source), from, length),
});
const computed = (offset: number, length: number, byte: number): Piece => ({
	offset,
	data: computedData(length, (start, end) => new Uint8Array(end - start).fill(byte)),
});

/** Pieces with gaps, at rising offsets, as they lie in the file. */
const PIECES = [
	copied(0, 5, 5 * MEGABYTE),
	copied(5 * MEGABYTE + 4096, 0, MEGABYTE),
	copied(8 * MEGABYTE, 77, 3 * MEGABYTE + 1),
	computed(12 * MEGABYTE, 1000, 7),
	computed(12 * MEGABYTE + 1024, 2 * MEGABYTE, 8),
];

async function written(pieces: readonly Piece[], name: string): Promise<Buffer> {
	const file = path.join(folder, name);
	const handle = await open(file, "wx");
	const writer = new PageWriter(handle, file);
	await new BufferedFile(writer, {}).writeAll(pieces);
	await writer.close();
	await handle.close();
	return readFileSync(file);
}

function expected(): Buffer {
	const last = PIECES.at(-1)!;
	const bytes = Buffer.alloc(last.offset + last.data.byteLength);
	for (const { offset, data } of PIECES) bytes.set(data.read(0, data.byteLength), offset);
	return bytes;
}

describe("BufferedFile", () => {
	it("writes pieces where they belong, in whatever order", async () => {
		const wanted = expected();
		expect((await written(PIECES, "rising")).equals(wanted)).toBe(true);
		expect((await written([...PIECES].reverse(), "falling")).equals(wanted)).toBe(true);
		expect((await written(spreadComputed(PIECES), "spread")).equals(wanted)).toBe(true);
	});
});

describe("spreadComputed", () => {
	it("puts what is computed evenly among what is copied", () => {
		const copies = [0, 1, 2, 3].map((index) => copied(index * 1000, 0, 1000));
		const numbers = [4, 5].map((index) => computed(index * 1000, 500, index));
		const order = spreadComputed([...copies, ...numbers]).map(({ offset }) => offset / 1000);
		expect(order).toEqual([0, 1, 4, 2, 3, 5]);
		expect(spreadComputed(numbers)).toEqual(numbers);
		expect(spreadComputed(copies)).toEqual(copies);
	});
});
