import { writeFileSync } from "node:fs";
import { describe, expect, it, vi } from "vitest";
import { bytesData, DataFile, FileData, showCopied } from "../../../src/ir/data.js";
import { bytesOf } from "../../../src/ir/tensor.js";
import { type BlockWeight, partOf, slabRanges } from "../../../src/passes/support/block-weight.js";
import { measureKeptCodes } from "../../../src/passes/support/fit-error.js";
import { KeptError } from "../../../src/passes/support/kept-error.js";
import { scanScales } from "../../../src/passes/support/scale-scan.js";
import { channelScalesOf } from "../../../src/passes/support/snap.js";
import { TaskPool } from "../../../src/passes/support/task-pool.js";
import { blockLayout, slabCountOf, slabStart } from "../../../src/quant/layout.js";
import { packInt4 } from "../../../src/quant/packing.js";
import { temporaryFolder } from "../../support/onnx-files.js";
import { randomCodes, randomScales } from "../../support/weights.js";

const at = temporaryFolder();

/** A weight of four units and a bit, whose codes begin at an odd place of a file. */
async function weightInFile() {
	const layout = blockLayout([4100, 1056], 0, 1, 32);
	const slabs = slabCountOf(layout);
	const codes = packInt4(randomCodes(slabStart(layout, slabs), 1, -8, 7));
	writeFileSync(at("codes"), Buffer.concat([Buffer.from("odd"), codes]));
	const data = new FileData(new DataFile(at("codes")), 3, codes.byteLength);
	const scales = bytesData(bytesOf(randomScales(slabs * layout.channels, 2)));
	const weight: BlockWeight = { layout, codes: data, scales, float: undefined };
	const pool = new TaskPool();
	const channelScales = channelScalesOf((await scanScales(weight, pool)).channelMax);
	const sums = slabRanges(layout).map((range) => measureKeptCodes(partOf(weight, range), channelScales));
	const expected = { signal: 0, error: 0 };
	for (const { signal, error } of sums) {
		expected.signal += signal;
		expected.error += error;
	}
	await pool.close();
	return { data, kept: new KeptError(weight, channelScales), units: sums.length, expected };
}

/** A pool, and how many tasks it was given. */
function countingPool(): { readonly pool: TaskPool; readonly asked: () => number } {
	const pool = new TaskPool();
	const each = vi.spyOn(pool, "each");
	return { pool, asked: () => each.mock.calls.reduce((sum, [items]) => sum + items.length, 0) };
}

function copy(data: FileData, start: number, end: number): void {
	showCopied(data, data.read(start, end), start);
}

describe("the error of codes that are copied", () => {
	it.each([
		["one piece", 1e9],
		["pieces larger than a unit", 700_001],
		["pieces smaller than a unit", 99_999],
	] as const)("is measured on the way, in %s", async (_, pieceBytes) => {
		const { data, kept, expected } = await weightInFile();
		const { pool, asked } = countingPool();
		for (let start = 0; start < data.byteLength; start += pieceBytes) {
			copy(data, start, Math.min(start + pieceBytes, data.byteLength));
		}
		expect(await kept.sum(Promise.resolve(), pool)).toEqual(expected);
		expect(asked()).toBe(0);
		await pool.close();
	});

	it("is read where nothing, a part, or the wrong end first was copied", async () => {
		for (const pieces of [[], [0.3], [0.6, 0.2, 0], [0, 0.5, 0.1]]) {
			const { data, kept, units, expected } = await weightInFile();
			const { pool, asked } = countingPool();
			for (const piece of pieces) {
				const start = Math.floor(piece * data.byteLength);
				copy(data, start, Math.min(start + 900_000, data.byteLength));
			}
			expect(await kept.sum(Promise.resolve(), pool)).toEqual(expected);
			expect(asked()).toBeGreaterThan(0);
			expect(asked()).toBeLessThanOrEqual(units);
			await pool.close();
		}
	});

	it("is not known before the write has ended, and looks at no copy after", async () => {
		const { data, kept, expected } = await weightInFile();
		const { pool, asked } = countingPool();
		let end = () => {};
		const written = new Promise<void>((resolve) => {
			end = resolve;
		});
		let isKnown = false;
		const sum = kept.sum(written, pool).then((found) => {
			isKnown = true;
			return found;
		});
		copy(data, 0, data.byteLength);
		await new Promise((resolve) => setTimeout(resolve, 5));
		expect(isKnown).toBe(false);
		end();
		expect(await sum).toEqual(expected);
		expect(asked()).toBe(0);
		copy(data, 0, data.byteLength);
		await pool.close();
	});
});
