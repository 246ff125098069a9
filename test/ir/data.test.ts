import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { bytesData, computedData, DataFile, everyPiece, fileData, readAll } from "../../src/ir/data.js";

const bytes = (...values: number[]) => Uint8Array.from(values);

describe("data in memory", () => {
	it("gives ranges of bytes without a copy", () => {
		const data = bytesData(bytes(1, 2, 3, 4));
		expect([...data.read(1, 3)]).toEqual([2, 3]);
		expect(readAll(data).buffer).toBe(data.read(0, 1).buffer);
	});

	it("computes just the range that is asked for", () => {
		const asked: [number, number][] = [];
		const data = computedData(1000, (start, end) => {
			asked.push([start, end]);
			return bytes(...Array.from({ length: end - start }, (_, index) => start + index));
		});
		expect([...data.read(5, 8)]).toEqual([5, 6, 7]);
		expect(asked).toEqual([[5, 8]]);
	});
});

describe("DataFile", () => {
	let folder: string;
	beforeEach(() => {
		folder = mkdtempSync(path.join(tmpdir(), "qgraph-data-"));
	});
	afterEach(() => {
		rmSync(folder, { recursive: true });
	});

	function write(name: string, ...values: number[]): string {
		const file = path.join(folder, name);
		writeFileSync(file, bytes(...values));
		return file;
	}

	it("reads ranges of a file", () => {
		const file = new DataFile(write("w.data", 1, 2, 3, 4, 5, 6));
		const data = fileData(file, 2, 3);
		expect([...readAll(data)]).toEqual([3, 4, 5]);
		expect([...data.read(1, 2)]).toEqual([4]);
		expect(file.size).toBe(6);
		file.close();
	});

	it("opens the file at the first read, and again after close", () => {
		const file = new DataFile(write("w.data", 7, 8));
		expect([...file.read(0, 1)]).toEqual([7]);
		file.close();
		file.close();
		expect([...file.read(1, 1)]).toEqual([8]);
		file.close();
	});

	it.each([
		["a longer one", [1, 2, 3]],
		["one of the same length", [9, 9]],
	])("refuses a file that was rewritten as %s", (_, values) => {
		const name = write("w.data", 1, 2);
		const file = new DataFile(name);
		write("w.data", ...values);
		utimesSync(name, 1e9, 1e9);
		expect(() => file.read(0, 1)).toThrow(
			expect.objectContaining({
				code: "data/file-changed",
				message: `file '${name}' was changed since the model was read; read the model again`,
				at: { file: name },
			}),
		);
	});

	it("refuses another file that was put in the place of a closed one", () => {
		const name = write("w.data", 1, 2);
		const file = new DataFile(name);
		file.read(0, 2);
		file.close();
		renameSync(write("other.data", 3, 4), name);
		expect(() => file.read(0, 2)).toThrow(expect.objectContaining({ code: "data/file-changed" }));
	});

	it("refuses a file that is not there any more", () => {
		const name = write("w.data", 1, 2);
		const file = new DataFile(name);
		rmSync(name);
		expect(() => file.read(0, 1)).toThrow(
			expect.objectContaining({
				code: "data/file-changed",
				message: `file '${name}' was removed since the model was read; put it back and read the model again`,
			}),
		);
	});

	it("goes on with the old file where a new one takes its place while it is open", () => {
		const name = write("w.data", 1, 2);
		const file = new DataFile(name);
		file.read(0, 1);
		renameSync(write("other.data", 3, 4), name);
		expect([...file.read(0, 2)]).toEqual([1, 2]);
		file.close();
	});

	it("says where a file ends too early", () => {
		const name = write("w.data", 1, 2, 3);
		const file = new DataFile(name);
		expect(() => readAll(fileData(file, 1, 10))).toThrow(
			expect.objectContaining({
				code: "data/short-read",
				message: `file '${name}' ends at byte 3, but 10 bytes from 1 were expected`,
			}),
		);
		file.close();
	});

	it("serves more files than may be open at once", () => {
		const files = Array.from({ length: 80 }, (_, index) => new DataFile(write(`${index}.data`, index)));
		for (let round = 0; round < 2; round++) {
			for (const [index, file] of files.entries()) expect([...file.read(0, 1)]).toEqual([index]);
		}
		const descriptors = "/proc/self/fd";
		const before = existsSync(descriptors) ? readdirSync(descriptors).length : undefined;
		for (const file of files) file.close();
		if (before !== undefined) expect(before - readdirSync(descriptors).length).toBe(32);
	});

	it("is shown in pieces, also to one who looks at another meanwhile", () => {
		const bytesOf = (seed: number) => Uint8Array.from({ length: 600_000 }, (_, index) => (index * seed) % 251);
		const [first, second] = [3, 7].map((seed) => {
			const file = path.join(folder, `${seed}.bin`);
			writeFileSync(file, bytesOf(seed));
			return fileData(new DataFile(file), 0, 600_000);
		});
		const seen: number[] = [];
		const all = everyPiece(first!, (piece, start) => {
			everyPiece(second!, (other) => other.byteLength > 0);
			seen.push(start);
			return Buffer.compare(piece, bytesOf(3).subarray(start, start + piece.byteLength)) === 0;
		});
		expect([all, seen]).toEqual([true, [0, 262144, 524288]]);
		expect(everyPiece(first!, (_, start) => start === 0)).toBe(false);
	});
});
