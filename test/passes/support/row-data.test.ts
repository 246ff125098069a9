import fc from "fast-check";
import { expect, test } from "vitest";
import { bytesData, readAll } from "../../../src/ir/data.js";
import { gatheredRows, ZERO_ROW } from "../../../src/passes/support/row-data.js";
import { packUint4, unpackUint4 } from "../../../src/quant/packing.js";
import { randomSource } from "../../support/random.js";

test("gatheredRows repeats, drops and zeroes rows of 4-bit elements, in whatever pieces it is read", () => {
	const size = fc.integer({ min: 1, max: 6 });
	const cases = fc.tuple(size, size, size).chain(([outer, rows, columns]) =>
		fc.record({
			outer: fc.constant(outer),
			rows: fc.constant(rows),
			columns: fc.constant(columns),
			sources: fc.array(fc.integer({ min: ZERO_ROW, max: rows - 1 }), { minLength: 1, maxLength: 8 }),
			cut: fc.nat(),
		}),
	);
	fc.assert(
		fc.property(cases, ({ outer, rows, columns, sources, cut }) => {
			const random = randomSource(rows);
			const elements = Uint8Array.from({ length: outer * rows * columns }, () => random() * 16);
			const layout = { bits: 4, outer, rows, columns };
			const data = gatheredRows(bytesData(packUint4(elements)), layout, Int32Array.from(sources));
			const expected = Array.from({ length: outer }, (_, index) =>
				sources.flatMap((source) =>
					Array.from({ length: columns }, (_, column) =>
						source === ZERO_ROW ? 0 : elements[(index * rows + source) * columns + column]!,
					),
				),
			).flat();
			expect([...unpackUint4(readAll(data), 0, expected.length)]).toEqual(expected);
			const at = cut % (data.byteLength + 1);
			const joined = [...data.read(0, at), ...data.read(at, data.byteLength)];
			expect(joined).toEqual([...readAll(data)]);
		}),
	);
});
