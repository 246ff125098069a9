import { floatAttribute, intAttribute } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { allGraphs, type GraphSite } from "../ir/walk.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { lazyTypes, leave, opsetObstacle, QUANTIZED_OPTION, type Quantized, type Types } from "./support/fusion.js";
import { channelVector, normFusion } from "./support/norm-fusion.js";
import { normalizationAt } from "./support/normalization.js";
import { replaceSubgraph } from "./support/subgraph.js";

export interface FuseLayerNormOptions {
	readonly quantized: Quantized;
}

/**
 * `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) * scale + bias` -> `LayerNormalization(x, scale, bias)`, where
 * means go over the last axis. Scale and bias may be absent.
 */
export const fuseLayerNorm = definePass<FuseLayerNormOptions>({
	name: "fuse-layer-norm",
	summary: "Make layer normalization, written with ReduceMean and Sqrt, one LayerNormalization operator.",
	options: QUANTIZED_OPTION,
	run(model, context) {
		const run = { model, types: lazyTypes(model), context, names: new NameScope(model) };
		let changed = false;
		for (const site of allGraphs(model)) {
			for (const node of site.graph.nodes) if (isOnnxOp(node, "Sqrt")) changed = fuse(node, site, run) || changed;
		}
		return changed;
	},
});

interface Run {
	readonly model: Model;
	readonly types: Types;
	readonly context: PassContext<FuseLayerNormOptions>;
	readonly names: NameScope;
}

function fuse(sqrt: Node, site: GraphSite, { model, types, context, names }: Run): boolean {
	const found = normalizationAt(sqrt);
	if (found === undefined || !found.isCentered) return false;
	const { quantized } = context.options;
	const fusion =
		opsetObstacle(model, site, "LayerNormalization", 17) ??
		normFusion(found, "LayerNormalization", { types, quantized, withBias: true });
	if ("code" in fusion) return leave(fusion, found.root, site, context);
	const { root, x, scale, bias } = fusion;
	const vector = (value: Value | undefined, suffix: string) =>
		channelVector(value, fusion, { name: `${root.outputs[0]!.name}_${suffix}`, names, types });
	const inputs = [x, vector(scale, "norm_scale")];
	if (bias !== undefined) inputs.push(vector(bias, "norm_bias"));
	const attributes = { axis: intAttribute(-1), epsilon: floatAttribute(found.epsilon) };
	replaceSubgraph(root, { op: "LayerNormalization", name: root.name, inputs, attributes });
	context.count("subgraphs fused");
	return true;
}
