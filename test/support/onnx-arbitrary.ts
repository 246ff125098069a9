import fc from "fast-check";
import { type FieldEntry, type Fields, REFERENCE, UNKNOWN_FIELDS } from "./onnx-wire.js";

const INT64_MAX = 2n ** 63n - 1n;
const NAMES = ["", "x", "y", "x\x002", "x\0", "Größe", "\ufeffbom", "a/b:0", "\u{1f600}"];

/** Random messages, any field present or not, empty and doubled names, odd numbers, unknown fields behind the known ones. */
export function messageArbitrary(name: string, depth: number): fc.Arbitrary<Fields> {
	const key = `${name} ${depth}`;
	const known = cache.get(key);
	if (known !== undefined) return known;
	const entries = Object.entries(REFERENCE.messages[name] ?? {}).filter(
		([, { type }]) => depth > 0 || !(type in REFERENCE.messages),
	);
	const made = fc
		.tuple(fc.subarray(entries, { maxLength: Math.min(4, entries.length) }), unknownArbitrary)
		.map(([chosen, raw]) => [onePerOneof(chosen), raw] as const)
		.chain(([chosen, $raw]) =>
			fc
				.record(Object.fromEntries(chosen.map(([field, entry]) => [field, fieldArbitrary(name, field, entry, depth)])))
				.map((fields): Fields => ($raw.length > 0 ? { ...fields, $raw } : fields)),
		);
	cache.set(key, made);
	return made;
}

/** Whole models: there is a graph, and nothing that a reader refuses. */
export function modelArbitrary(): fc.Arbitrary<Fields> {
	return fc
		.tuple(messageArbitrary("ModelProto", 6), messageArbitrary("GraphProto", 5), messageArbitrary("GraphProto", 5))
		.map(([model, a, b]) => ({ ...model, graph: { ...a, ...b } }));
}

const cache = new Map<string, fc.Arbitrary<Fields>>();

const unknownArbitrary = fc
	.array(fc.constantFrom(...Object.values(UNKNOWN_FIELDS)), { maxLength: 2 })
	.map((fields) => Buffer.concat(fields));

function fieldArbitrary(message: string, field: string, entry: FieldEntry, depth: number): fc.Arbitrary<unknown> {
	const one = elementArbitrary(message, field, entry, depth);
	return entry.repeated || entry.packed ? fc.array(one, { minLength: 1, maxLength: 3 }) : one;
}

function elementArbitrary(message: string, field: string, { type }: FieldEntry, depth: number): fc.Arbitrary<unknown> {
	if (type in REFERENCE.messages) return messageArbitrary(type, depth - 1);
	if (field === "dims") return fc.oneof(fc.nat(4), fc.constantFrom(0, 2 ** 15));
	if (message === "TensorProto" && field === "data_location") return fc.constantFrom(0, 2);
	if (message === "TensorProto" && field === "data_type") return fc.nat(30);
	if (message === "AttributeProto" && field === "type") return fc.integer({ min: -1, max: 16 });
	switch (type) {
		case "string":
			return fc.oneof(
				{ weight: 3, arbitrary: fc.constantFrom(...NAMES) },
				fc.string({ maxLength: 12 }),
				fc.uint8Array({ minLength: 1, maxLength: 6 }).map((bytes) => Buffer.from(bytes)),
			);
		case "bytes":
			return fc
				.oneof(
					{ weight: 6, arbitrary: fc.uint8Array({ maxLength: 9 }) },
					fc.nat(3).map((extra) => new Uint8Array(4095 + extra).fill(7)),
				)
				.map((bytes) => Buffer.from(bytes));
		case "float":
			return fc.oneof(
				fc.nat(0xffffffff).map((bits) => ({ bits })),
				fc.constantFrom(0x80000000, 0x7fc00000, 0x7f800001, 0xffc12345, 0x7f800000).map((bits) => ({ bits })),
			);
		case "double":
			return fc.double();
		case "int32":
			return fc.oneof(fc.integer({ min: -300, max: 300 }), fc.constantFrom(2 ** 31 - 1, -(2 ** 31)));
		case "uint64":
			return fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
		default:
			return fc.oneof(
				fc.bigInt({ min: -300n, max: 300n }),
				fc.bigInt({ min: -INT64_MAX - 1n, max: INT64_MAX }),
				fc.constantFrom(INT64_MAX, -INT64_MAX - 1n, 2n ** 53n, -(2n ** 53n)),
			);
	}
}

/** Keeps the first member of every oneof: a canonical file has one. */
function onePerOneof(entries: readonly [string, FieldEntry][]): [string, FieldEntry][] {
	const seen = new Set<string>();
	return entries.filter(([, { oneof }]) => {
		if (oneof === undefined) return true;
		const isFirst = !seen.has(oneof);
		seen.add(oneof);
		return isFirst;
	});
}
