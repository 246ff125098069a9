import { inferTypes } from "../inference/index.js";
import { NameScope } from "../ir/names.js";
import type { Value } from "../ir/value.js";
import { allGraphs } from "../ir/walk.js";
import { definePass } from "./infra/pass.js";
import { leave } from "./support/fusion.js";
import { lengthOf, rangeOf, vector } from "./support/lengths.js";
import { NodeWriter } from "./support/node-writer.js";
import { type RotaryTables, rotate, wideTables } from "./support/rotary.js";
import { isRotary, type RotaryCall, rotaryCall } from "./support/rotary-call.js";
import { RotaryRows } from "./support/rotary-tables.js";

/**
 * `RotaryEmbedding(x, positions, cos cache, sin cache)` of ONNX Runtime, and the standard operator of that name ->
 * `x cos + swap(x) sin`, with rows of the caches that are read once for all layers. Signs are in the sines.
 */
export const lowerRotaryEmbedding = definePass({
	name: "lower-rotary-embedding",
	summary: "Write rotary position embeddings as Gather of their tables, Mul and Add.",
	options: {},
	run(model, context) {
		const rotaries = [...allGraphs(model)].flatMap((site) =>
			[...site.graph.nodes].filter(isRotary).map((node) => ({ site, node })),
		);
		if (rotaries.length === 0) return false;
		const [names, types, rows] = [new NameScope(model), inferTypes(model), new RotaryRows()];
		let changed = false;
		for (const { site, node } of rotaries) {
			const call = rotaryCall(node, types);
			if ("code" in call) {
				leave(call, node, site, context);
				continue;
			}
			lower(call, new NodeWriter(node, names), rows);
			context.count("nodes lowered");
			changed = true;
		}
		return changed;
	},
});

function lower(call: RotaryCall, writer: NodeWriter, rows: RotaryRows): void {
	const { x, shape, form } = call;
	const isFlat = shape.length === 3;
	const heads = isFlat
		? writer.emit("Reshape", [x, vector(writer, "heads", 0, 0, -1, form.headSize)], {}, "heads_of")
		: x;
	const turned = rotate(writer, heads, form, tablesOf(call, writer, rows, isFlat ? -2 : -3));
	writer.give(0, isFlat ? writer.emit("Reshape", [turned, vector(writer, "flat", 0, 0, -1)]) : turned);
	writer.finish();
}

function tablesOf(call: RotaryCall, writer: NodeWriter, rows: RotaryRows, axis: -2 | -3): RotaryTables {
	const { caches, form, positions, isOffset, x, shape } = call;
	if (positions === undefined) {
		const wide = wideTables(writer, caches, form);
		const alongHeads = (table: Value) =>
			writer.emit("Unsqueeze", [table, vector(writer, "head_axis", axis)], {}, "rows_of_heads");
		return { cos: alongHeads(wide.cos), sin: alongHeads(wide.sin) };
	}
	if (!isOffset) return rows.at(writer, caches, form, { value: positions, key: positions.name }, axis);
	const sequenceAxis = shape.length - 2;
	const first = writer.emit("Squeeze", [positions], {}, "first");
	const length = lengthOf(writer, x, sequenceAxis, shape[sequenceAxis]);
	const all = rangeOf(writer, first, writer.emit("Add", [first, length], {}, "end"));
	return rows.at(writer, caches, form, { value: all, key: all.name }, axis);
}
