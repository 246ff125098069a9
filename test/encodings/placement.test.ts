import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodingFor } from "../../src/encodings/encode.js";
import type { EncodingsVersion } from "../../src/encodings/encoding.js";
import { type PlacedEncoding, placeEncoding } from "../../src/encodings/placement.js";
import { parseEncodings, readEncodings } from "../../src/encodings/read-encodings.js";
import { encodingsText } from "../../src/encodings/write-encodings.js";
import { ENCODING_VECTORS, vectorPath } from "./vectors.js";

interface Axes {
	readonly blockAxis: number;
	readonly channelAxis: number;
}

/** Shapes of weights with the axes that operators give them. */
const WEIGHTS: readonly (readonly [shape: readonly number[], axes: Axes])[] = [
	[[6, 4], { blockAxis: 0, channelAxis: 1 }],
	[[4, 6], { blockAxis: 1, channelAxis: 0 }],
	[[6, 6], { blockAxis: 0, channelAxis: 1 }],
	[[2, 6, 4], { blockAxis: 1, channelAxis: 2 }],
	[[4, 6, 1, 1], { blockAxis: 1, channelAxis: 0 }],
	[[6, 4, 3, 3], { blockAxis: 0, channelAxis: 1 }],
];

const numbers = (count: number, arbitrary: fc.Arbitrary<number>) =>
	fc.array(arbitrary, { minLength: count, maxLength: count }).map((values) => Float64Array.from(values));
const scale = fc.double({ min: 1e-12, max: 1e6, noNaN: true });

interface PlacedWeight {
	readonly shape: readonly number[];
	readonly axes: Axes;
	readonly encoding: PlacedEncoding;
}

const placed: fc.Arbitrary<PlacedWeight> = fc
	.record({
		weight: fc.constantFrom(...WEIGHTS),
		blocks: fc.constantFrom(0, 1, 2, 3),
		kind: fc.constantFrom("affine" as const, "lpbq" as const),
		codes: fc.record({ signed: fc.boolean(), bits: fc.constantFrom(2, 4, 8, 16) }),
		isOne: fc.boolean(),
	})
	.chain(({ weight: [shape, axes], blocks, kind, codes, isOne }): fc.Arbitrary<PlacedWeight> => {
		const { blockAxis, channelAxis } = axes;
		const along = (dim: number, axis: number) =>
			axis === channelAxis ? dim : axis === blockAxis ? Math.max(1, blocks) : 1;
		const channels = shape[channelAxis]!;
		const count = channels * Math.max(1, blocks);
		const place = {
			shape: shape.map(along),
			channelAxis,
			blockAxis,
			blockSize: shape[blockAxis]! / Math.max(1, blocks),
		};
		if (kind === "lpbq") {
			return fc
				.record({ integers: numbers(count, fc.integer({ min: 1, max: 4 })), channelScales: numbers(channels, scale) })
				.map((lists) => ({
					shape,
					axes,
					encoding: {
						kind,
						codes: { signed: true, bits: codes.bits },
						expandedBits: 2 * codes.bits,
						...place,
						...lists,
					},
				}));
		}
		const own = isOne && blocks === 0 ? { shape: [], channelAxis: undefined } : place;
		const unblocked = blocks === 0 ? { ...own, blockAxis: undefined, blockSize: 0 } : place;
		const total = isOne && blocks === 0 ? 1 : count;
		const zero = codes.signed ? fc.integer({ min: -2, max: 1 }) : fc.integer({ min: 0, max: 3 });
		return fc
			.record({ scales: numbers(total, scale), zeroPoints: fc.option(numbers(total, zero), { nil: undefined }) })
			.map(({ scales, zeroPoints }) => ({
				shape,
				axes,
				encoding: {
					...{ kind, codes, ...unblocked, scales },
					zeroPoints: zeroPoints?.some((value) => value !== 0) ? zeroPoints : undefined,
				},
			}));
	});

describe("the order of numbers", () => {
	it.each<EncodingsVersion>(["0.6.1", "1.0.0", "2.0.0", "2.1.0"])("comes back from a file of version %s", (version) => {
		fc.assert(
			fc.property(placed, ({ shape, axes, encoding }) => {
				fc.pre(version !== "0.6.1" || encoding.kind !== "lpbq");
				// a single block, and blocks of one, of a square matrix look like channels in version 0.6.1
				const isUnclear = encoding.kind === "affine" && encoding.blockSize > 0 && encoding.shape[axes.blockAxis] === 1;
				fc.pre(version !== "0.6.1" || !isUnclear);
				const entry = encodingFor(version, "w", "parameter", encoding);
				const text = encodingsText({ version, entries: [entry], header: new Map(), unknownFields: new Map() });
				const [read] = parseEncodings(text).entries;
				expect(read).toEqual(entry);
				if (read === undefined || read.kind === "float") throw new Error("no integer encoding");
				expect(placeEncoding(read, version, { shape, axes })).toEqual(encoding);
			}),
		);
	});

	it("is transposed for matrices in version 1.0.0 only", () => {
		const place = { shape: [2, 3], channelAxis: 1, blockAxis: 0, blockSize: 4 };
		const rows = Float64Array.of(1, 2, 3, 4, 5, 6);
		const codes = { signed: true, bits: 4 };
		const encoding = { kind: "affine" as const, codes, ...place, scales: rows, zeroPoints: undefined };
		expect(encodingFor("1.0.0", "w", "parameter", encoding)).toMatchObject({
			scales: { shape: [6], values: Float64Array.of(1, 4, 2, 5, 3, 6) },
		});
		expect(encodingFor("0.6.1", "w", "parameter", encoding)).toMatchObject({ scales: { values: rows } });
		expect(encodingFor("2.0.0", "w", "parameter", encoding)).toMatchObject({ scales: { shape: [2, 3], values: rows } });
	});

	const cases = ENCODING_VECTORS.filter((name) => name.endsWith("1.0.0"));
	it.each(cases)("of %s is that of version 2.0.0", (name) => {
		const axes =
			name.startsWith("conv1x1") || name.startsWith("gemm_transB1")
				? { blockAxis: 1, channelAxis: 0 }
				: { blockAxis: 0, channelAxis: 1 };
		const shapes = {
			conv1x1: [24, 64, 1, 1],
			convtr: [32, 16, 3, 3],
			gemm_transB0: [128, 24],
			gemm_transB1: [24, 128],
		};
		const [, shape] = Object.entries(shapes).find(([start]) => name.startsWith(start))!;
		const [first, second] = [name, name.replace("1.0.0", "2.0.0")].map((each) => {
			const { version, entries } = readEncodings(vectorPath(each));
			const weight = entries.find((entry) => entry.name === "W");
			if (weight === undefined || weight.kind === "float") throw new Error("no encoding of W");
			return placeEncoding(weight, version, { shape, axes });
		});
		expect(first).toEqual(second);
	});
});

describe("what a version cannot say", () => {
	const codes = { signed: true, bits: 4 };
	const place = { shape: [2, 3, 4], channelAxis: 2, blockAxis: 1, blockSize: 8 };
	const affine = {
		kind: "affine" as const,
		codes,
		...place,
		scales: new Float64Array(24).fill(1),
		zeroPoints: undefined,
	};
	const lpbq = {
		...{ kind: "lpbq" as const, codes, ...place, shape: [1, 3, 4], expandedBits: 8 },
		...{ integers: new Float64Array(12).fill(1), channelScales: new Float64Array(4).fill(1) },
	};
	it.each<[EncodingsVersion, PlacedEncoding, string]>([
		["0.6.1", lpbq, "version 0.6.1 has no LPBQ"],
		[
			"1.0.0",
			affine,
			"version 1.0.0 lists one scale for each block of a channel, but its scales change along axis 0, too",
		],
		["1.0.0", { ...affine, channelAxis: undefined }, "it is not known which axis is that of its channels"],
		["2.0.0", { ...lpbq, expandedBits: 12 }, "version 2.0.0 has codes that expand to twice their bits only, not to 12"],
	])("%s", (version, encoding, message) => {
		expect(() => encodingFor(version, "w", "parameter", encoding)).toThrow(message);
	});
});
