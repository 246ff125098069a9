import type { Graph } from "../ir/graph.js";
import type { Value } from "../ir/value.js";
import { arePlain, arePlainEntries, decodeEntries, encodeEntries, keep, originOf, setOrigin } from "./origin.js";
import type { WireRecord } from "./record.js";
import { decodeType, encodeType } from "./type-codec.js";

type ValueInfoRecord = WireRecord<"ValueInfoProto">;

/** The lists of a graph in which a value may be described; it may stand in several, and twice among the outputs. */
export type ValueList = "input" | "output" | "value_info";

/** What a list says of a value that was described before, possibly otherwise; holds as long as the type is the same. */
interface Repetition {
	readonly record: ValueInfoRecord;
	readonly typeThen: Value["type"];
}

/** By list, then by value, then by occurrence of the value in the list. */
type Repetitions = Map<ValueList, Map<Value, Repetition[]>>;

const repetitions = new WeakMap<Graph, Repetitions>();

/** Takes in what the first description of `value` says. */
export function describeValue(value: Value, record: ValueInfoRecord): void {
	if (record.type !== undefined) value.type = decodeType(record.type);
	value.docString = record.doc_string ?? "";
	for (const [key, text] of decodeEntries(record.metadata_props)) value.metadata.set(key, text);
	const isPlain = arePlain(record.name, record.doc_string) && arePlainEntries(record.metadata_props);
	if (!isPlain || record.$unknown !== undefined) setOrigin(value, { ...record, type: undefined });
}

/** Takes in a further description, the `occurrence`-th of `value` in `list` of `graph`. */
export function describeAgain(
	value: Value,
	record: ValueInfoRecord,
	graph: Graph,
	list: ValueList,
	occurrence: number,
): void {
	const ofGraph: Repetitions = repetitions.get(graph) ?? new Map();
	const ofList = ofGraph.get(list) ?? new Map<Value, Repetition[]>();
	const ofValue = ofList.get(value) ?? [];
	ofValue[occurrence] = { record, typeThen: value.type };
	repetitions.set(graph, ofGraph.set(list, ofList.set(value, ofValue)));
}

/** The ValueInfoProtos of the values in `list` of `graph`. */
export function encodeValues(values: Iterable<Value>, graph: Graph, list: ValueList): ValueInfoRecord[] {
	const ofList = repetitions.get(graph)?.get(list);
	const occurrence = occurrenceCounter();
	return Array.from(values, (value) => {
		const again = ofList?.get(value)?.[occurrence(value)];
		if (again?.typeThen === value.type && again !== undefined) {
			return { ...again.record, name: keep(again.record.name, value.name, "") };
		}
		const stored = originOf(value, "ValueInfoProto");
		return {
			name: keep(stored?.name, value.name, ""),
			type: value.type && encodeType(value.type),
			doc_string: keep(stored?.doc_string, value.docString, ""),
			metadata_props: encodeEntries(value.metadata, stored?.metadata_props),
			$unknown: stored?.$unknown,
		};
	});
}

/** A function that says how often it was called with a value before. */
export function occurrenceCounter(): (value: Value) => number {
	const seen = new Map<Value, number>();
	return (value) => {
		const before = seen.get(value) ?? 0;
		seen.set(value, before + 1);
		return before;
	};
}
