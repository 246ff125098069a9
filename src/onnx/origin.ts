import type { AnyRecord, WireRecord } from "./record.js";
import type { MessageName } from "./schema.js";

/**
 * The records that objects of the IR were decoded from. The IR has no place for unknown fields, for "present but empty"
 * or for the way numbers were stored; encoding takes these from here, so that what nobody changed comes out as it went in.
 */
const origins = new WeakMap<object, AnyRecord>();

export function setOrigin<T extends object>(object: T, record: object): T {
	origins.set(object, record as AnyRecord);
	return object;
}

export function originOf<M extends MessageName>(object: object, _message: M): WireRecord<M> | undefined {
	return origins.get(object) as WireRecord<M> | undefined;
}

/**
 * The field to write for `current`: the file's own where it says the same (an absent field says `absent`), so that
 * presence is kept; nothing where a new object has the default.
 */
export function keep<T, U extends T>(stored: T | undefined, current: U, absent: NoInfer<U>): T | undefined {
	return (stored ?? absent) === current ? stored : current;
}

type Entry = WireRecord<"StringStringEntryProto">;

export function decodeEntries(entries: readonly Entry[] | undefined): Map<string, string> {
	return new Map((entries ?? []).map((entry) => [entry.key ?? "", entry.value ?? ""]));
}

/** `stored` where it still says what `map` says (doubled keys and all), else the map's entries. */
export function encodeEntries(map: ReadonlyMap<string, string>, stored?: Entry[]): Entry[] | undefined {
	if (sameMap(map, decodeEntries(stored))) return stored;
	return [...map].map(([key, value]) => ({ key, value }));
}

export function sameMap<K, V>(a: ReadonlyMap<K, V>, b: ReadonlyMap<K, V>): boolean {
	return a.size === b.size && [...a].every(([key, value]) => b.has(key) && b.get(key) === value);
}
