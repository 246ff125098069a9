import type { WireRecord } from "./record.js";
import type { MessageName } from "./schema.js";

/**
 * The record that an object of the IR was decoded from. The IR has no place for unknown fields, for "present but empty" or
 * for the way numbers were stored; encoding takes these from here, so that what nobody changed comes out as it went in. An
 * object whose record holds nothing of the kind has none: most have not, and that saves much memory.
 *
 * It is a property that cannot be enumerated, so that a changed copy (`{ ...tensor, shape }`) does not have it. A WeakMap
 * would do the same, but garbage collection takes minutes once it has a few million entries (measured).
 */
const ORIGIN = Symbol("origin");

export function setOrigin<T extends object>(object: T, record: object): T {
	return Object.defineProperty(object, ORIGIN, { value: record });
}

export function originOf<M extends MessageName>(object: object, _message: M): WireRecord<M> | undefined {
	return (object as { readonly [ORIGIN]?: WireRecord<M> })[ORIGIN];
}

/**
 * The field to write for `current`: the file's own where it says the same (an absent field says `absent`), so that
 * presence is kept; nothing where a new object has the default.
 */
export function keep<T, U extends T>(stored: T | undefined, current: U, absent: NoInfer<U>): T | undefined {
	return (stored ?? absent) === current ? stored : current;
}

/** Do the texts read back as what they are without their record, none present but empty? */
export function arePlain(...texts: readonly (string | undefined)[]): boolean {
	return !texts.includes("");
}

type Entry = WireRecord<"StringStringEntryProto">;

export function decodeEntries(entries: readonly Entry[] | undefined): Map<string, string> {
	return new Map((entries ?? []).map((entry) => [entry.key ?? "", entry.value ?? ""]));
}

export function encodeEntries(map: ReadonlyMap<string, string>, stored?: readonly Entry[]): Entry[] | undefined {
	return encodeMap(map, stored, (entry) => [entry.key ?? "", entry.value ?? ""], "key", "value");
}

/** Are the entries what `encodeEntries` makes of their map alone? */
export function arePlainEntries(entries: readonly Entry[] | undefined): boolean {
	if (entries === undefined) return true;
	const complete = entries.every(
		(entry) => entry.key !== undefined && entry.value !== undefined && entry.$unknown === undefined,
	);
	return complete && decodeEntries(entries).size === entries.length;
}

/**
 * The records of the entries of `map`, those that the file has in its own words: a doubled key stays doubled, the last
 * one counting, and a record changes only where its value did.
 */
export function encodeMap<R extends object, V>(
	map: ReadonlyMap<string, V>,
	stored: readonly R[] = [],
	entryOf: (record: R) => readonly [string, V],
	keyField: keyof R,
	valueField: keyof R,
): R[] | undefined {
	const records = stored.filter((record) => map.has(entryOf(record)[0]));
	const last = new Map(records.map((record, index) => [entryOf(record)[0], index]));
	for (const [key, value] of map) {
		const index = last.get(key);
		if (index === undefined) records.push({ [keyField]: key, [valueField]: value } as R);
		else if (entryOf(records[index]!)[1] !== value) records[index] = { ...records[index]!, [valueField]: value };
	}
	return records.length > 0 ? records : undefined;
}
