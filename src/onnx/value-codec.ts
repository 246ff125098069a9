import type { Value } from "../ir/value.js";
import { decodeEntries, encodeEntries, keep, originOf, setOrigin } from "./origin.js";
import type { WireRecord } from "./record.js";
import { decodeType, encodeType } from "./type-codec.js";

type ValueInfoRecord = WireRecord<"ValueInfoProto">;

/** The lists of a graph in which a value may be described; it may stand in several, and twice in one. */
export type ValueList = "input" | "output" | "value_info";

interface Other {
	readonly list: ValueList;
	readonly occurrence: number;
	readonly record: ValueInfoRecord;
	readonly typeThen: Value["type"];
}

/** Descriptions beyond a value's first, where they say something else. */
const otherDescriptions = new WeakMap<Value, Other[]>();

/** Takes in what `record` says of `value`, as the `occurrence`-th entry for it in `list`. */
export function describeValue(value: Value, record: ValueInfoRecord, list: ValueList, occurrence: number): void {
	if (originOf(value, "ValueInfoProto") === undefined) {
		setOrigin(value, record);
		if (record.type !== undefined) value.type = decodeType(record.type);
		value.docString = record.doc_string ?? "";
		for (const [key, text] of decodeEntries(record.metadata_props)) value.metadata.set(key, text);
		return;
	}
	const others = otherDescriptions.get(value) ?? [];
	others.push({ list, occurrence, record, typeThen: value.type });
	otherDescriptions.set(value, others);
}

/** The ValueInfoProto of `value` as the `occurrence`-th entry for it in `list`. */
export function encodeValueInfo(value: Value, list: ValueList, occurrence: number): ValueInfoRecord {
	const other = otherDescriptions
		.get(value)
		?.find((entry) => entry.list === list && entry.occurrence === occurrence && entry.typeThen === value.type);
	if (other !== undefined) return { ...other.record, name: keep(other.record.name, value.name, "") };
	const stored = originOf(value, "ValueInfoProto");
	return {
		name: keep(stored?.name, value.name, ""),
		type: value.type && encodeType(value.type),
		doc_string: keep(stored?.doc_string, value.docString, ""),
		metadata_props: encodeEntries(value.metadata, stored?.metadata_props),
		$unknown: stored?.$unknown,
	};
}
