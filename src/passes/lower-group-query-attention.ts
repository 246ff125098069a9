import { inferTypes, type TypeTable } from "../inference/index.js";
import { floatAttribute, intAttribute, intsAttribute } from "../ir/attribute.js";
import type { Graph } from "../ir/graph.js";
import { onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isMicrosoftOp, type Node } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allGraphs } from "../ir/walk.js";
import { definePass } from "./infra/pass.js";
import { attend, floatScalar } from "./support/attention.js";
import { causalMask, type Positions } from "./support/causal-mask.js";
import { leave } from "./support/fusion.js";
import { type GroupQueryForm, groupQueryForm } from "./support/group-query-form.js";
import { lengthOf, rangeOf, scalar, vector } from "./support/lengths.js";
import { isOutputUsed, NodeWriter } from "./support/node-writer.js";
import { rmsNormOperator } from "./support/normalization.js";
import { rotate } from "./support/rotary.js";
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
			const form = groupQueryForm(node, types);
			if ("code" in form) {
				leave(form, node, site, context);
				continue;
			}
			const norm = rmsNormOperator(onnxOpset(site.function ?? model) ?? 0);
			new Lowering(node, form, { writer: new NodeWriter(node, names), types, shared, norm }).run();
			context.count("nodes lowered");
			changed = true;
		}
		return changed;
	},
});

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

interface Tools {
	readonly writer: NodeWriter;
	readonly types: TypeTable;
	readonly shared: SharedValues;
	/** The operator that normalizes queries and keys. */
	readonly norm: string;
}

class Lowering {
	readonly #node: Node;
	readonly #form: GroupQueryForm;
	readonly #tools: Tools;
	readonly #writer: NodeWriter;

	constructor(node: Node, form: GroupQueryForm, tools: Tools) {
		this.#node = node;
		this.#form = form;
		this.#tools = tools;
		this.#writer = tools.writer;
	}

	run(): void {
		const form = this.#form;
		const writer = this.#writer;
		const [query, key, value] = this.#operands();
		const positions = this.#positions();
		const [ownQuery, ownKey] = [
			this.#turned(query!, form.heads, form.norm?.query, positions, "query"),
			this.#turned(key!, form.keyHeads, form.norm?.key, positions, "key"),
		];
		const ownValue = this.#headsFirst(this.#heads(value!, form.keyHeads, "value"), "value");
		const allKeys = this.#present(1, form.past?.key, ownKey);
		const allValues = this.#present(2, form.past?.value, ownValue);
		const mask = this.#mask(positions);
		const biases = form.attentionBias === undefined ? [mask] : [mask, form.attentionBias];
		const sink = form.sink ?? (form.isSmooth ? writer.constant("sink", floatScalar(form.dtype, 0)) : undefined);
		writer.give(0, attend(writer, form, { query: ownQuery, key: allKeys, value: allValues, biases, sink }));
		writer.finish();
	}

	/** [batch, sequence, heads * size] each. */
	#operands(): readonly (Value | undefined)[] {
		const { query, key, value, heads, keyHeads, headSize } = this.#form;
		if (key !== undefined) return [query, key, value];
		const sizes = vector(this.#writer, "widths", heads * headSize, keyHeads * headSize, keyHeads * headSize);
		return this.#writer.emitSeveral("Split", [query, sizes], ["query", "key", "value"], { axis: intAttribute(-1) });
	}

	/** The positions of the sequence; the same for all layers, whose pasts are equally long. */
	#positions(): Positions {
		const { past, query } = this.#form;
		const { shared, types } = this.#tools;
		const writer = this.#writer;
		return shared.once(writer.graph, `positions,${this.#node.inputs[5]?.name},${past === undefined}`, () => {
			const sequence = lengthOf(writer, query, 1, types.shapeOf(query)?.[1]);
			const start = past ? lengthOf(writer, past.key, 2, types.shapeOf(past.key)?.[2]) : scalar(writer, 0);
			const total = writer.emit("Add", [start, sequence], {}, "total");
			return { total, own: rangeOf(writer, start, total) };
		});
	}

	#mask(positions: Positions): Value {
		const { window, dtype } = this.#form;
		const key = `mask,${positions.own.name},${window},${dtype}`;
		const masked = dtype === DataType.FLOAT16 ? LOWEST_FLOAT16 : LOWEST_FLOAT;
		return this.#tools.shared.once(this.#writer.graph, key, () =>
			causalMask(this.#writer, positions, { window, dtype, masked }),
		);
	}

	/** Normalized and turned by their positions, [batch, heads, sequence, size]. */
	#turned(flat: Value, heads: number, scale: Value | undefined, positions: Positions, label: string): Value {
		const { rotary, norm } = this.#form;
		const split = this.#heads(flat, heads, label);
		const normal = scale === undefined ? split : this.#normalized(split, scale, norm!.epsilon, label);
		if (rotary === undefined) return this.#headsFirst(normal, label);
		const given = this.#form.positions ?? positions.own;
		const at = { value: given, key: given.name };
		const rows = this.#tools.shared.rows.at(this.#writer, rotary.caches, rotary, at, -2);
		return this.#headsFirst(rotate(this.#writer, normal, rotary, rows), label);
	}

	#heads(flat: Value, heads: number, label: string): Value {
		const shape = vector(this.#writer, "heads", 0, 0, heads, this.#form.headSize);
		return this.#writer.emit("Reshape", [flat, shape], {}, `${label}_heads`);
	}

	#normalized(x: Value, scale: Value, epsilon: number, label: string): Value {
		const attributes = { axis: intAttribute(-1), epsilon: floatAttribute(epsilon), stash_type: intAttribute(1) };
		return this.#writer.emit(this.#tools.norm, [x, scale], attributes, `${label}_norm`);
	}

	#headsFirst(x: Value, label: string): Value {
		return this.#writer.emit("Transpose", [x], { perm: intsAttribute([0, 2, 1, 3]) }, `${label}_by_head`);
	}

	/** The past with what is new behind it, which is output `index`. */
	#present(index: number, past: Value | undefined, own: Value): Value {
		const all =
			past === undefined ? own : this.#writer.emit("Concat", [past, own], { axis: intAttribute(2) }, "present");
		return isOutputUsed(this.#node, index) ? this.#writer.give(index, all) : all;
	}
}

const LOWEST_FLOAT = -3.4028234663852886e38;
const LOWEST_FLOAT16 = -65504;
