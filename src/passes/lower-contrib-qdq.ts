import { isMicrosoftOp } from "../ir/node.js";
import { allNodes, nodeLabel } from "../ir/walk.js";
import { definePass } from "./infra/pass.js";
import { ensureOpset } from "./support/opset/ensure-opset.js";

/** Since when QuantizeLinear and DequantizeLinear have codes of 16 and of 4 bits, for which there are those of ONNX Runtime. */
const SINCE = 21;

/**
 * `com.microsoft:QuantizeLinear` and `com.microsoft:DequantizeLinear` -> those of ONNX, which compute the same. ONNX
 * Runtime's quantizers write them for codes of 16 and 4 bits in models before operator set 21, to which they are raised.
 */
export const lowerContribQdq = definePass<Record<never, never>>({
	name: "lower-contrib-qdq",
	summary: "Write the QuantizeLinear and DequantizeLinear of ONNX Runtime's own domain as those of ONNX.",
	options: {},
	run(model, context) {
		const sites = [...allNodes(model)].filter(({ node }) => isMicrosoftOp(node, "QuantizeLinear", "DequantizeLinear"));
		if (sites.length === 0) return false;
		const scopes = new Set(sites.map(({ site }) => site.function ?? model));
		const obstacle = ensureOpset(model, [...scopes], SINCE);
		if (obstacle !== undefined) {
			const [{ node, site }] = sites as [(typeof sites)[0]];
			const message = `quantizers of ONNX Runtime's own domain stay, '${nodeLabel(node)}' among them: ${obstacle}`;
			context.report("qdq/opset", message, { graph: site.path, node: nodeLabel(node) });
			return false;
		}
		for (const { node } of sites) {
			const { name, inputs, outputs, attributes } = node;
			const made = node.graph!.replaceNode(node, { op: node.op.type, name, inputs: [...inputs], outputs, attributes });
			made.docString = node.docString;
			for (const [key, text] of node.metadata) made.metadata.set(key, text);
			context.count("quantizers replaced");
		}
		return true;
	},
});
