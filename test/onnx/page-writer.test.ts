import { readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { PAGE_BYTES, PageWriter, pageBuffer } from "../../src/onnx/page-writer.js";
import { temporaryFolder } from "../support/onnx-files.js";

const at = temporaryFolder();
const LENGTH = 2 ** 20;

/** `bytes` at `position` of a new file, and whether whole pages went around the cache. */
async function written(bytes: Buffer, position: number, path = at("file")) {
	const handle = await open(at("file"), "w");
	const writer = new PageWriter(handle, path);
	await writer.write(bytes, position);
	const { isDirect } = writer;
	await writer.close();
	await handle.close();
	return { file: readFileSync(at("file")), isDirect };
}

/** Bytes for `position` of a file, where they lie in memory as pages of the file do. */
function bytesFor(position: number, length: number): Buffer {
	const start = position % PAGE_BYTES;
	const bytes = pageBuffer(start + length).subarray(start);
	for (let index = 0; index < length; index++) bytes[index] = (index * 7 + (index >> 12)) % 251;
	return bytes;
}

function fileOf(bytes: Buffer, position: number): Buffer {
	return Buffer.concat([Buffer.alloc(position), bytes]);
}

describe("PageWriter", () => {
	it.each([
		[0, LENGTH],
		[0, LENGTH + 1],
		[5, LENGTH],
		[3 * PAGE_BYTES - 1, LENGTH + 2],
		[PAGE_BYTES, 10],
		[7, 0],
	])("writes at %i, %i bytes", async (position, length) => {
		const bytes = bytesFor(position, length);
		const { file } = await written(bytes, position);
		expect(file.equals(length === 0 ? Buffer.alloc(0) : fileOf(bytes, position))).toBe(true);
	});

	it("gives whole pages to the disk where the system takes them", async () => {
		expect((await written(bytesFor(0, LENGTH), 0)).isDirect).toBe(process.platform === "linux");
		expect((await written(bytesFor(0, 1000), 0)).isDirect).toBe(false);
	});

	it("goes through the cache where the file cannot be opened otherwise", async () => {
		const bytes = bytesFor(9, LENGTH);
		const { file, isDirect } = await written(bytes, 9, at("missing", "file"));
		expect(file.equals(fileOf(bytes, 9))).toBe(true);
		expect(isDirect).toBe(false);
	});

	it("goes through the cache where the system refuses a write", async () => {
		const bytes = pageBuffer(LENGTH + 1)
			.subarray(1)
			.fill(77);
		const { file, isDirect } = await written(bytes, 0);
		expect(file.equals(bytes)).toBe(true);
		expect(isDirect).toBe(false);
	});
});
