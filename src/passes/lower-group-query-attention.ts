import { inferTypes, type TypeTable } from "../inference/index.js";
import { intAttribute, intOf } from "../ir/attribute.js";
import type { Graph } from "../ir/graph.js";
import { onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isMicrosoftOp, type Node } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import { allGraphs } from "../ir/walk.js";
import { definePass } from "./infra/pass.js";
import { causalMask } from "./support/causal-mask.js";
import { leave, type Obstacle } from "./support/fusion.js";
import { type GroupQueryForm, groupQueryForm } from "./support/group-query-form.js";
import { type AttentionSurroundings, lowerGroupQuery } from "./support/group-query-lowering.js";
import { lengthOf, rangeOf, scalar } from "./support/lengths.js";
import { isOutputUsed, NodeWriter } from "./support/node-writer.js";
import { rmsNormOperator } from "./support/normalization.js";
import { RotaryRows } from "./support/rotary-tables.js";

/**
 * `GroupQueryAttention(q, k, v, past k, past v, ...)` -> rotary embedding, `Concat` of past and new keys and values, and
 * `softmax(scale q k^T + mask) v` in MatMul, Add and Softmax, with the heads of a key in its rows. Positions, mask and rows
 * of the tables are made once for all layers.
 */
export const lowerGroupQueryAttention = definePass({
	name: "lower-group-query-attention",
	summary: "Write ONNX Runtime's GroupQueryAttention as MatMul, Softmax and what is around them.",
	options: {},
	run(model, context) {
		const found = [...allGraphs(model)].flatMap((site) =>
			[...site.graph.nodes]
				.filter((node) => isMicrosoftOp(node, "GroupQueryAttention"))
				.map((node) => ({ site, node })),
		);
		if (found.length === 0) return false;
		const [names, types, shared] = [new NameScope(model), inferTypes(model), new SharedValues()];
		let changed = false;
		for (const { site, node } of found) {
			const form = windowObstacle(node) ?? groupQueryForm(node, types);
			if ("code" in form) {
				leave(form, node, site, context);
				continue;
			}
			const writer = new NodeWriter(node, names);
			const norm = rmsNormOperator(onnxOpset(site.function ?? model) ?? 0);
			lowerGroupQuery(writer, form, { norm, ...surroundingsOf(node, form, writer, types, shared) });
			writer.finish();
			context.count("nodes lowered");
			changed = true;
		}
		return changed;
	},
});

/** A cache that keeps a window of positions does not say at which ones what is new stands. */
function windowObstacle(node: Node): Obstacle | undefined {
	if (intOf(node, "sliding_window_cache", 0) === 0 || node.inputs[PAST] === undefined) return undefined;
	const message =
		"its cache keeps the last positions only (sliding_window_cache), so that their number is not the length of the past";
	return { code: "lower/unsupported", message };
}

/** The input with the past of keys. */
const PAST = 3;

/** What the layers of a graph have in common. */
class SharedValues {
	readonly rows: RotaryRows = new RotaryRows();
	readonly #known: Map<Graph, Map<string, unknown>> = new Map();

	once<T>(graph: Graph, key: string, make: () => T): T {
		const known = this.#known.get(graph) ?? new Map<string, unknown>();
		this.#known.set(graph, known);
		if (!known.has(key)) known.set(key, make());
		return known.get(key) as T;
	}
}

/** Positions that follow on those of the past, which is put in front of what is new: the node's other outputs. */
function surroundingsOf(
	node: Node,
	form: GroupQueryForm,
	writer: NodeWriter,
	types: TypeTable,
	shared: SharedValues,
): Omit<AttentionSurroundings, "norm"> {
	const { past, query, window, dtype } = form;
	const positions = shared.once(writer.graph, `positions,${node.inputs[5]?.name},${past === undefined}`, () => {
		const sequence = lengthOf(writer, query, 1, types.shapeOf(query)?.[1]);
		const start = past ? lengthOf(writer, past.key, 2, types.shapeOf(past.key)?.[2]) : scalar(writer, 0);
		const total = writer.emit("Add", [start, sequence], {}, "total");
		return { total, own: rangeOf(writer, start, total) };
	});
	return {
		rows(rotary) {
			const value = form.positions ?? positions.own;
			return shared.rows.at(writer, rotary.caches, rotary, { value, key: value.name }, -2);
		},
		mask() {
			const masked = dtype === DataType.FLOAT16 ? LOWEST_FLOAT16 : LOWEST_FLOAT;
			return shared.once(writer.graph, `mask,${positions.own.name},${window},${dtype}`, () =>
				causalMask(writer, positions, { window, dtype, masked }),
			);
		},
		all(kind, own) {
			const before = past?.[kind];
			const all = before ? writer.emit("Concat", [before, own], { axis: intAttribute(2) }, "present") : own;
			const index = kind === "key" ? 1 : 2;
			return isOutputUsed(node, index) ? writer.give(index, all) : all;
		},
	};
}

const LOWEST_FLOAT = -3.4028234663852886e38;
const LOWEST_FLOAT16 = -65504;
