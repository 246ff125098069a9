import { intAttribute } from "../../ir/attribute.js";
import type { Graph } from "../../ir/graph.js";
import type { Value } from "../../ir/value.js";
import { vector } from "./lengths.js";
import type { GraphWriter } from "./node-writer.js";
import { type RotaryForm, type RotaryTables, wideTables } from "./rotary.js";

/** Rows of the tables are read once for all operators of a graph that want the same ones. */
export class RotaryRows {
	readonly #known: Map<Graph, Map<string, RotaryTables>> = new Map();

	/**
	 * The rows at `positions`, [sequence] or [batch, sequence]; of length 1 along `axis`, negative, where the heads are.
	 */
	at(
		writer: GraphWriter,
		caches: RotaryTables,
		form: RotaryForm,
		positions: { readonly value: Value; readonly key: string },
		axis: -2 | -3,
	): RotaryTables {
		const { isInterleaved, rotatedSize } = form;
		const table = [caches.cos.name, caches.sin.name, isInterleaved, rotatedSize].join();
		const wide = this.#once(writer.graph, table, () => wideTables(writer, caches, form));
		return this.#once(writer.graph, `${table},${positions.key},${axis}`, () => ({
			cos: this.#rows(writer, wide.cos, positions.value, axis),
			sin: this.#rows(writer, wide.sin, positions.value, axis),
		}));
	}

	#rows(writer: GraphWriter, table: Value, positions: Value, axis: number): Value {
		const rows = writer.emit("Gather", [table, positions], { axis: intAttribute(0) }, "rows");
		return writer.emit("Unsqueeze", [rows, vector(writer, "head_axis", axis)], {}, "rows_of_heads");
	}

	#once(graph: Graph, key: string, make: () => RotaryTables): RotaryTables {
		const known = this.#known.get(graph) ?? new Map<string, RotaryTables>();
		this.#known.set(graph, known);
		const tables = known.get(key) ?? make();
		known.set(key, tables);
		return tables;
	}
}
