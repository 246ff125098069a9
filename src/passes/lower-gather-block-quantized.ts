import { intAttribute } from "../ir/attribute.js";
import { NameScope } from "../ir/names.js";
import type { Node } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import { allNodes, nodeLabel } from "../ir/walk.js";
import { addConstant } from "../weights/constant.js";
import { definePass } from "./infra/pass.js";
import { embeddingTable, perTensorTable } from "./support/embedding-table.js";
import { removeUnused } from "./support/remove-unused.js";
import { isEmbedding } from "./support/tied-embedding.js";

export interface LowerGatherBlockQuantizedOptions {
	/** `keep`: as it is; `float`: a table of floats; `int8`, `uint16`: a table with one scale. */
	readonly table: "keep" | "float" | "int8" | "uint16";
}

/**
 * `GatherBlockQuantized(table, ids, scales)` -> `Gather(table, ids)`: a table of floats, which is exact, or of integers with
 * one scale behind a DequantizeLinear, which are the tables that the HTP takes. A weight that an LM head shares is then no
 * longer one.
 */
export const lowerGatherBlockQuantized = definePass<LowerGatherBlockQuantizedOptions>({
	name: "lower-gather-block-quantized",
	summary: "Write ONNX Runtime's GatherBlockQuantized as Gather from a table of floats, or of integers with one scale.",
	options: {
		table: {
			default: "keep",
			choices: ["keep", "float", "int8", "uint16"],
			describe: "what embedding tables become: float is exact, int8 and uint16 have one scale",
		},
	},
	run(model, context) {
		const { table: wanted } = context.options;
		const sites = [...allNodes(model)].filter(({ node }) => isEmbedding(node));
		if (wanted === "keep" || sites.length === 0) return false;
		const names = new NameScope(model);
		let changed = false;
		for (const { node, site } of sites) {
			const at = { graph: site.path, node: nodeLabel(node) };
			const table = embeddingTable(node);
			if ("code" in table) {
				context.report(table.code, table.message, at);
				continue;
			}
			if (wanted === "float") replace(node, names, table.gatherAxis, table.float);
			else {
				const { codes, scale, zeroPoint, decibels } = perTensorTable(table, wanted);
				const message = `the table of '${nodeLabel(node)}' became ${wanted} with one scale, at ${decibels.toFixed(1)} dB`;
				context.report("embedding/one-scale", message, at);
				replace(node, names, table.gatherAxis, codes, scale, zeroPoint);
			}
			context.count("embeddings lowered");
			changed = true;
		}
		return changed;
	},
});

function replace(node: Node, names: NameScope, axis: number, ...[table, scale, zeroPoint]: readonly Tensor[]): void {
	const graph = node.graph!;
	const name = names.fresh(`${node.name || node.outputs[0]!.name}_table`);
	let read = addConstant(graph, name, table!, node);
	if (scale !== undefined) {
		const inputs = [read, addConstant(graph, names.fresh(`${name}_scale`), scale, node)];
		if (zeroPoint !== undefined) inputs.push(addConstant(graph, names.fresh(`${name}_zero_point`), zeroPoint, node));
		read = graph.createValue(names.fresh(`${name}_dq`));
		graph.createNode({ op: "DequantizeLinear", name: names.fresh(`${name}_DQ`), inputs, outputs: [read] }, node);
	}
	const inputs = [read, node.inputs[1]];
	const old = new Set(node.inputs);
	const attributes = { axis: intAttribute(axis) };
	graph.replaceNode(node, { op: "Gather", name: node.name, inputs, outputs: [...node.outputs], attributes });
	for (const input of old) if (input !== undefined && input !== inputs[1]) removeUnused(input);
}
