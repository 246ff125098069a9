import { intAttribute, intOf } from "../ir/attribute.js";
import type { Graph } from "../ir/graph.js";
import { NameScope } from "../ir/names.js";
import type { Node } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import type { Value } from "../ir/value.js";
import { allNodes, nodeLabel } from "../ir/walk.js";
import { addConstant } from "../weights/constant.js";
import { definePass } from "./infra/pass.js";
import type { Refusal } from "./support/eligibility.js";
import { embeddingTable, perTensorTable } from "./support/embedding-table.js";
import { storedConstant } from "./support/nbits-form.js";
import { removeUnused } from "./support/remove-unused.js";
import { isEmbedding } from "./support/tied-embedding.js";

export interface LowerGatherBlockQuantizedOptions {
	/** `keep`: as it is; `float`: a table of floats; `int8`, `uint16`: a table with one scale; `auto`: uint16 for a target. */
	readonly table: "auto" | "keep" | "float" | "int8" | "uint16";
}

/**
 * `GatherBlockQuantized(table, ids, scales)` -> `Gather(table, ids)`: a table of floats, which is exact, or of integers with
 * one scale behind a DequantizeLinear, which are the tables that the HTP takes. Embeddings that share a table go on sharing it;
 * with an LM head they do not.
 */
export const lowerGatherBlockQuantized = definePass<LowerGatherBlockQuantizedOptions>({
	name: "lower-gather-block-quantized",
	summary: "Write ONNX Runtime's GatherBlockQuantized as Gather from a table of floats, or of integers with one scale.",
	options: {
		table: {
			default: "auto",
			choices: ["auto", "keep", "float", "int8", "uint16"],
			describe:
				"what embedding tables become: float is exact, int8 and uint16 have one scale; auto: uint16 for a target",
		},
	},
	run(model, context) {
		const { table } = context.options;
		const wanted = table !== "auto" ? table : context.target === undefined ? "keep" : "uint16";
		const sites = [...allNodes(model)].filter(({ node }) => isEmbedding(node));
		if (wanted === "keep" || sites.length === 0) return false;
		const rewriter = new EmbeddingRewriter(new NameScope(model));
		const known = new Map<string, LoweredTable | Refusal>();
		for (const { node, site } of sites) {
			const at = { graph: site.path, node: nodeLabel(node) };
			const key = rewriter.keyOf(node);
			const isNew = !known.has(key);
			const made = known.get(key) ?? loweredTable(node, wanted);
			known.set(key, made);
			if ("code" in made) {
				context.report(made.code, made.message, at);
				continue;
			}
			if (isNew && made.decibels !== undefined) {
				const message = `the table of '${nodeLabel(node)}' became ${wanted} with one scale, at ${made.decibels.toFixed(1)} dB`;
				context.report("embedding/one-scale", message, at);
			}
			rewriter.replace(node, key, made);
			context.count("embeddings lowered");
		}
		return [...known.values()].some((made) => !("code" in made));
	},
});

/** What Gather is to read rows of. */
interface LoweredTable {
	readonly gatherAxis: number;
	readonly table: Tensor;
	/** Where the table is integers. */
	readonly scale?: Tensor;
	readonly zeroPoint?: Tensor;
	/** What one scale leaves of it. */
	readonly decibels?: number;
}

function loweredTable(node: Node, wanted: "float" | "int8" | "uint16"): LoweredTable | Refusal {
	const table = embeddingTable(node);
	if ("code" in table) return table;
	const { gatherAxis, float } = table;
	if (wanted === "float") return { gatherAxis, table: float };
	const { codes, ...rest } = perTensorTable(table, wanted);
	return { gatherAxis, table: codes, ...rest };
}

/** Writes embeddings as Gather; those of the same constants read the same table. */
class EmbeddingRewriter {
	readonly #names: NameScope;
	readonly #ids: Map<Value | undefined, number> = new Map();
	/** Constants by what they are made of; in front of each Gather's graph, what dequantizes them. */
	readonly #constants: Map<string, readonly Value[]> = new Map();
	readonly #dequantized: Map<string, Map<Graph, Value>> = new Map();

	constructor(names: NameScope) {
		this.#names = names;
	}

	/** The same for embeddings that read the same numbers in the same way. */
	keyOf(node: Node): string {
		const constants = [0, 2, 3].map((index) =>
			this.#idOf(storedConstant(node.inputs[index])?.value ?? node.inputs[index]),
		);
		const numbers = ["bits", "block_size", "gather_axis", "quantize_axis"].map((name) => intOf(node, name, Number.NaN));
		return [...constants, ...numbers].join();
	}

	replace(node: Node, key: string, made: LoweredTable): void {
		const graph = node.graph!;
		const inputs = [this.#read(node, key, made), node.inputs[1]];
		const old = new Set(node.inputs);
		const attributes = { axis: intAttribute(made.gatherAxis) };
		graph.replaceNode(node, { op: "Gather", name: node.name, inputs, outputs: [...node.outputs], attributes });
		for (const input of old) if (input !== undefined && input !== inputs[1]) removeUnused(input);
	}

	#read(node: Node, key: string, made: LoweredTable): Value {
		const name = node.name || node.outputs[0]!.name;
		const constants = this.#constants.get(key) ?? this.#store(`${name}_table`, made, node);
		this.#constants.set(key, constants);
		if (made.scale === undefined) return constants[0]!;
		const graph = node.graph!;
		const byGraph = this.#dequantized.get(key) ?? new Map<Graph, Value>();
		this.#dequantized.set(key, byGraph);
		const known = byGraph.get(graph);
		if (known !== undefined) return known;
		const output = graph.createValue(this.#names.fresh(`${name}_table_dq`));
		const op = { op: "DequantizeLinear", name: this.#names.fresh(`${name}_table_DQ`) };
		graph.createNode({ ...op, inputs: constants, outputs: [output] }, node);
		byGraph.set(graph, output);
		return output;
	}

	/** Puts the constants where the packed table is, so that all who read that can read them. */
	#store(name: string, { table, scale, zeroPoint }: LoweredTable, node: Node): Value[] {
		const { value } = storedConstant(node.inputs[0])!;
		const before = value.producer ?? node;
		return [table, scale, zeroPoint].flatMap((tensor, index) => {
			const suffix = ["", "_scale", "_zero_point"][index];
			return tensor === undefined ? [] : [addConstant(value.graph, this.#names.fresh(name + suffix), tensor, before)];
		});
	}

	#idOf(value: Value | undefined): number {
		const id = this.#ids.get(value) ?? this.#ids.size;
		this.#ids.set(value, id);
		return id;
	}
}
