import { inferTypes, type TypeTable } from "../inference/index.js";
import { intOf } from "../ir/attribute.js";
import { NameScope } from "../ir/names.js";
import { isMicrosoftOp, isOnnxOp, type Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { allGraphs } from "../ir/walk.js";
import { definePass } from "./infra/pass.js";
import { leave, type Obstacle } from "./support/fusion.js";
import { lengthOf, rangeOf, vector } from "./support/lengths.js";
import { NodeWriter } from "./support/node-writer.js";
import { type RotaryForm, type RotaryTables, rotate, wideTables } from "./support/rotary.js";
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
			const call = callOf(node, types);
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

function isRotary(node: Node): boolean {
	return isMicrosoftOp(node, "RotaryEmbedding") || isOnnxOp(node, "RotaryEmbedding");
}

interface RotaryCall {
	readonly x: Value;
	readonly shape: ReturnType<TypeTable["shapeOf"]> & {};
	readonly form: RotaryForm;
	readonly caches: RotaryTables;
	/** undefined: the caches have the rows that are needed already, [batch, sequence, pairs]. */
	readonly positions: Value | undefined;
	/** Is `positions` the position of the first element alone? */
	readonly isOffset: boolean;
}

function callOf(node: Node, types: TypeTable): RotaryCall | Obstacle {
	const isStandard = isOnnxOp(node, "RotaryEmbedding");
	const [x, cos, sin] = isStandard ? node.inputs : [0, 2, 3].map((index) => node.inputs[index]);
	const positions = node.inputs[isStandard ? 3 : 1];
	if (x === undefined || cos === undefined || sin === undefined) {
		return { code: "lower/unsupported", message: "an input is missing that the operator needs" };
	}
	if (intOf(node, "is_packed_batching", 0) !== 0) {
		return { code: "lower/unsupported", message: "sequences of several lengths are packed into one" };
	}
	const scale = node.attributes.get("scale");
	if (scale?.kind === "float" && scale.value !== 1) {
		return {
			code: "lower/unsupported",
			message: `it has scale ${scale.value}, of which ONNX Runtime's CPU kernel takes no notice`,
		};
	}
	const shape = types.shapeOf(x);
	const pairs = types.shapeOf(cos)?.at(-1);
	const positionRank = positions === undefined ? 2 : types.shapeOf(positions)?.length;
	if ((shape?.length !== 3 && shape?.length !== 4) || typeof pairs !== "number" || positionRank === undefined) {
		return {
			code: "lower/shape",
			message: "the rank of its input, of its positions or the width of its tables is not known",
		};
	}
	const rotatedSize = 2 * pairs;
	const headSize = headSizeOf(node, shape, rotatedSize);
	if (headSize === undefined || headSize < rotatedSize) {
		return {
			code: "lower/shape",
			message: `the size of a head is ${headSize ?? "not known"}, of which ${rotatedSize} are turned`,
		};
	}
	const form = { headSize, rotatedSize, isInterleaved: intOf(node, "interleaved", 0) !== 0 };
	return { x, shape, form, caches: { cos, sin }, positions, isOffset: positionRank === 1 };
}

function headSizeOf(node: Node, shape: readonly unknown[], rotatedSize: number): number | undefined {
	const last = shape.at(-1);
	if (shape.length === 4) return typeof last === "number" ? last : undefined;
	const heads = intOf(node, "num_heads", 0);
	if (heads > 0) return typeof last === "number" ? last / heads : undefined;
	return intOf(node, "rotary_embedding_dim", 0) === 0 ? rotatedSize : undefined;
}

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
