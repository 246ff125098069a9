import { floatAttribute, floatOf, intAttribute } from "../ir/attribute.js";
import { onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isMicrosoftOp, type Node } from "../ir/node.js";
import { allGraphs } from "../ir/walk.js";
import { definePass } from "./infra/pass.js";
import { leave, type Obstacle, opsetObstacle } from "./support/fusion.js";
import { isOutputUsed, NodeWriter } from "./support/node-writer.js";
import { rmsNormOperator } from "./support/normalization.js";

/**
 * `SkipLayerNormalization(x, skip, gamma, beta, bias)` -> `LayerNormalization(x + skip + bias, gamma, beta)`, and
 * `SkipSimplifiedLayerNormalization` likewise with RMSNormalization (below operator set 23 SimplifiedLayerNormalization).
 * The sum, which is the fourth output, is the value in between.
 */
export const lowerSkipLayerNorm = definePass({
	name: "lower-skip-layer-norm",
	summary: "Write ONNX Runtime's skip normalizations as Add and a normalization.",
	options: {},
	run(model, context) {
		const names = new NameScope(model);
		let changed = false;
		for (const site of allGraphs(model)) {
			const opset = onnxOpset(site.function ?? model) ?? 0;
			for (const node of [...site.graph.nodes]) {
				if (!isMicrosoftOp(node, "SkipLayerNormalization", SIMPLIFIED, "SkipGroupNorm")) continue;
				const isCentered = isMicrosoftOp(node, "SkipLayerNormalization");
				const tooOld = isCentered ? opsetObstacle(model, site, "LayerNormalization", 17) : undefined;
				const obstacle = obstacleTo(node) ?? tooOld;
				if (obstacle !== undefined) {
					leave(obstacle, node, site, context);
					continue;
				}
				lower(node, isCentered ? "LayerNormalization" : rmsNormOperator(opset), names);
				context.count("nodes lowered");
				changed = true;
			}
		}
		return changed;
	},
});

const SIMPLIFIED = "SkipSimplifiedLayerNormalization";

/** Of ONNX Runtime's skip normalizations. */
const DEFAULT_EPSILON = 1e-12;

function obstacleTo(node: Node): Obstacle | undefined {
	if (isMicrosoftOp(node, "SkipGroupNorm")) {
		return {
			code: "lower/unsupported",
			message: "SkipGroupNorm has no equal among the standard operators that is as short",
		};
	}
	const statistics = [1, 2].find((index) => isOutputUsed(node, index));
	if (statistics === undefined) return undefined;
	const message = `output '${node.outputs[statistics]!.name}', the ${statistics === 1 ? "mean" : "inverse deviation"}, is used, which inference has no need of`;
	return { code: "lower/unsupported", message };
}

function lower(node: Node, operator: string, names: NameScope): void {
	const [x, skip, gamma] = node.inputs;
	const isCentered = operator === "LayerNormalization";
	const beta = isCentered ? node.inputs[3] : undefined;
	const bias = node.inputs[isCentered ? 4 : 3];
	const writer = new NodeWriter(node, names);
	const addends = bias === undefined ? [x, skip] : [writer.emit("Add", [x, skip], {}, "skip"), bias];
	const added = writer.emit("Add", addends, {}, "sum");
	const sum = isOutputUsed(node, 3) ? writer.give(3, added) : added;
	const epsilon = floatAttribute(floatOf(node, "epsilon", DEFAULT_EPSILON));
	const parameters = beta === undefined ? [gamma] : [gamma, beta];
	const attributes = { axis: intAttribute(-1), epsilon, stash_type: intAttribute(1) };
	writer.give(0, writer.emit(operator, [sum, ...parameters], attributes));
	writer.finish();
}
