import { floatAttribute, intAttribute, intsAttribute } from "../../ir/attribute.js";
import type { Value } from "../../ir/value.js";
import { attend, floatScalar } from "./attention.js";
import type { GroupQueryForm } from "./group-query-form.js";
import { vector } from "./lengths.js";
import type { NodeWriter } from "./node-writer.js";
import { type RotaryTables, rotate } from "./rotary.js";

/** Where an attention gets from what it shares with the other layers. */
export interface AttentionSurroundings {
	/** The operator that normalizes queries and keys. */
	readonly norm: string;
	/** Rows of the rotary tables for the positions of the sequence, [..., sequence, 1, rotated size]. */
	rows(rotary: NonNullable<GroupQueryForm["rotary"]>): RotaryTables;
	/** What is added to the scores, [..., sequence, total]. */
	mask(): Value;
	/** All keys or values, [batch, key heads, total, size], for the new ones `own`. */
	all(kind: "key" | "value", own: Value): Value;
}

/** Writes what a GroupQueryAttention computes as its first output. */
export function lowerGroupQuery(writer: NodeWriter, form: GroupQueryForm, around: AttentionSurroundings): void {
	const [query, key, value] = operandsOf(writer, form);
	const turned = (flat: Value, heads: number, scale: Value | undefined, label: string): Value => {
		const split = headsOf(writer, flat, heads, form.headSize, label);
		const normal = scale === undefined ? split : normalized(writer, split, scale, form, around.norm, label);
		const { rotary } = form;
		return headsFirst(writer, rotary ? rotate(writer, normal, rotary, around.rows(rotary)) : normal, label);
	};
	const ownQuery = turned(query, form.heads, form.norm?.query, "query");
	const ownKey = turned(key, form.keyHeads, form.norm?.key, "key");
	const ownValue = headsFirst(writer, headsOf(writer, value, form.keyHeads, form.headSize, "value"), "value");
	const allKeys = around.all("key", ownKey);
	const allValues = around.all("value", ownValue);
	const biases = form.attentionBias === undefined ? [around.mask()] : [around.mask(), form.attentionBias];
	const sink = form.sink ?? (form.isSmooth ? writer.constant("sink", floatScalar(form.dtype, 0)) : undefined);
	writer.give(0, attend(writer, form, { query: ownQuery, key: allKeys, value: allValues, biases, sink }));
}

/** [batch, sequence, heads * size] each. */
function operandsOf(writer: NodeWriter, form: GroupQueryForm): [query: Value, key: Value, value: Value] {
	const { query, key, value, heads, keyHeads, headSize } = form;
	if (key !== undefined && value !== undefined) return [query, key, value];
	const sizes = vector(writer, "widths", heads * headSize, keyHeads * headSize, keyHeads * headSize);
	const labels = ["query", "key", "value"];
	return writer.emitSeveral("Split", [query, sizes], labels, { axis: intAttribute(-1) }) as [Value, Value, Value];
}

function headsOf(writer: NodeWriter, flat: Value, heads: number, headSize: number, label: string): Value {
	return writer.emit("Reshape", [flat, vector(writer, "heads", 0, 0, heads, headSize)], {}, `${label}_heads`);
}

function normalized(
	writer: NodeWriter,
	x: Value,
	scale: Value,
	{ norm }: GroupQueryForm,
	operator: string,
	label: string,
): Value {
	const epsilon = floatAttribute(norm!.epsilon);
	return writer.emit(
		operator,
		[x, scale],
		{ axis: intAttribute(-1), epsilon, stash_type: intAttribute(1) },
		`${label}_norm`,
	);
}

function headsFirst(writer: NodeWriter, x: Value, label: string): Value {
	return writer.emit("Transpose", [x], { perm: intsAttribute([0, 2, 1, 3]) }, `${label}_by_head`);
}
