import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { QGraphError } from "../../src/diagnostics.js";
import { parseModel, serializeModel } from "../../src/onnx/file.js";
import { modelArbitrary } from "../support/onnx-arbitrary.js";
import { recordOf } from "../support/onnx-records.js";
import { encode, tag, varint } from "../support/onnx-wire.js";

/** `QGRAPH_FUZZ_RUNS=100000 npx vitest run test/onnx/fuzz.test.ts` runs for minutes. */
const numRuns = Number(process.env.QGRAPH_FUZZ_RUNS ?? 1000);
const timeout = 60_000 + numRuns * 50;

/**
 * Reads bytes of any kind. They are refused with a QGraphError, or they are a model: written and read again it says the
 * same, and writing that again gives the same bytes.
 */
function check(bytes: Uint8Array): "read" | "refused" {
	let written: Uint8Array;
	try {
		written = serializeModel(parseModel(bytes));
	} catch (error) {
		if (error instanceof QGraphError) return "refused";
		throw error;
	}
	expect(recordOf(written, "ModelProto")).toEqual(recordOf(bytes, "ModelProto"));
	expect(Buffer.from(serializeModel(parseModel(written))).equals(written)).toBe(true);
	return "read";
}

/** Changes to a file: bits, bytes, pieces cut out, doubled or put in. */
const damage = fc.array(
	fc.oneof(
		fc.record({ kind: fc.constant("flip" as const), at: fc.nat(), bit: fc.nat(7) }),
		fc.record({ kind: fc.constant("set" as const), at: fc.nat(), value: fc.nat(255) }),
		fc.record({ kind: fc.constant("cut" as const), at: fc.nat(), length: fc.integer({ min: 1, max: 9 }) }),
		fc.record({ kind: fc.constant("double" as const), at: fc.nat(), length: fc.integer({ min: 1, max: 60 }) }),
		fc.record({ kind: fc.constant("insert" as const), at: fc.nat(), bytes: fc.uint8Array({ maxLength: 12 }) }),
	),
	{ minLength: 1, maxLength: 4 },
);

function damaged(bytes: Buffer, changes: DamageList): Buffer {
	let result = bytes;
	for (const change of changes) {
		const at = result.length === 0 ? 0 : change.at % result.length;
		const [head, tail] = [result.subarray(0, at), result.subarray(at)];
		if (change.kind === "cut") result = Buffer.concat([head, tail.subarray(change.length)]);
		else if (change.kind === "double") result = Buffer.concat([head, tail.subarray(0, change.length), tail]);
		else if (change.kind === "insert") result = Buffer.concat([head, change.bytes, tail]);
		else if (result.length > 0) {
			result = Buffer.from(result);
			result[at] = change.kind === "set" ? change.value : result[at]! ^ (1 << change.bit);
		}
	}
	return result;
}

type DamageList = typeof damage extends fc.Arbitrary<infer T> ? T : never;

/** Fields of any number and wire type, their values right or not. */
const fieldSoup = fc
	.array(
		fc.tuple(
			fc.integer({ min: 0, max: 30 }),
			fc.nat(7),
			fc.bigInt({ min: 0n, max: 40n }),
			fc.uint8Array({ maxLength: 20 }),
		),
		{ maxLength: 12 },
	)
	.map((fields) => Buffer.concat(fields.flatMap(([id, wireType, n, bytes]) => [tag(id, wireType), varint(n), bytes])));

describe("fuzzing", () => {
	it("random bytes", { timeout }, () => {
		fc.assert(
			fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
				check(bytes);
			}),
			{ numRuns },
		);
	});

	it("random fields", { timeout }, () => {
		fc.assert(
			fc.property(fieldSoup, fieldSoup, (first, second) => {
				check(first);
				check(Buffer.concat([tag(7, 2), varint(first.length), first, second]));
			}),
			{ numRuns },
		);
	});

	it("models with damage", { timeout }, () => {
		const outcomes = { read: 0, refused: 0 };
		fc.assert(
			fc.property(modelArbitrary(), damage, (fields, changes) => {
				outcomes[check(damaged(encode("ModelProto", fields), changes))]++;
			}),
			{ numRuns },
		);
		expect(Math.min(outcomes.read, outcomes.refused), "both happen").toBeGreaterThan(numRuns / 20);
	});

	it("two models in one file, which are one", { timeout }, () => {
		fc.assert(
			fc.property(modelArbitrary(), modelArbitrary(), (first, second) => {
				check(Buffer.concat([encode("ModelProto", first), encode("ModelProto", second)]));
			}),
			{ numRuns: Math.ceil(numRuns / 4) },
		);
	});

	it("whole models are read", { timeout }, () => {
		fc.assert(
			fc.property(modelArbitrary(), (fields) => {
				const bytes = encode("ModelProto", fields);
				expect(check(bytes)).toBe("read");
				expect(Buffer.from(serializeModel(parseModel(bytes))).equals(bytes)).toBe(true);
			}),
			{ numRuns },
		);
	});
});
