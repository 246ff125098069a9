import { floatAttribute, intAttribute } from "../ir/attribute.js";
import { type Model, onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allGraphs, type GraphSite } from "../ir/walk.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { lazyTypes, leave, QUANTIZED_OPTION, type Quantized, type Types } from "./support/fusion.js";
import { channelVector, type NormFusion, normFusion } from "./support/norm-fusion.js";
import { normalizationAt } from "./support/normalization.js";
import { addQuantizedConstant, encodingBehind } from "./support/qdq.js";
import { smallConstantOf } from "./support/small-constant.js";
import { removeUnused, replaceSubgraph } from "./support/subgraph.js";

export interface FuseRmsNormOptions {
	readonly quantized: Quantized;
}

/**
 * `x / sqrt(mean(x^2) + epsilon) * scale` -> `RMSNormalization(x, scale)`, where the mean goes over the last axis; below
 * operator set 23, which brought it, `SimplifiedLayerNormalization`, ONNX Runtime's operator of the same meaning.
 *
 * For a target, the scale is quantized where x is: with a float scale the HTP computes in float, where it can at all.
 */
export const fuseRmsNorm = definePass<FuseRmsNormOptions>({
	name: "fuse-rms-norm",
	summary: "Make RMS normalization, written with ReduceMean and Sqrt, one RMSNormalization operator.",
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
	readonly context: PassContext<FuseRmsNormOptions>;
	readonly names: NameScope;
}

function fuse(sqrt: Node, site: GraphSite, { model, types, context, names }: Run): boolean {
	const found = normalizationAt(sqrt);
	if (found === undefined || found.isCentered) return false;
	const isStandard = (onnxOpset(site.function ?? model) ?? 0) >= RMS_NORMALIZATION_SINCE;
	const op = isStandard ? "RMSNormalization" : "SimplifiedLayerNormalization";
	const { quantized } = context.options;
	const fusion = normFusion(found, op, { types, quantized, withBias: false });
	if ("code" in fusion) return leave(fusion, found.root, site, context);
	const { root, x } = fusion;
	const name = `${root.outputs[0]!.name}_norm_scale`;
	const float = channelVector(fusion.scale, fusion, { name, names, types });
	const scale = context.target === undefined ? float : scaleLike(x, float, fusion, names);
	const attributes = { axis: intAttribute(-1), epsilon: floatAttribute(found.epsilon), stash_type: intAttribute(1) };
	replaceSubgraph(root, { op, name: root.name, inputs: [x, scale], attributes });
	removeUnused(float);
	context.count("subgraphs fused");
	return true;
}

const RMS_NORMALIZATION_SINCE = 23;

/** The scale as codes of the type that `x` has, where that is of 16 bits; fewer bits lose more than float costs. */
function scaleLike(x: Value, scale: Value, { root, channels }: NormFusion, names: NameScope): Value {
	const dtype = encodingBehind(x)?.dtype;
	const isStored = scale.initializer !== undefined || isOnnxOp(scale.producer!, "Constant");
	if ((dtype !== DataType.UINT16 && dtype !== DataType.INT16) || !isStored) return scale;
	const { values } = smallConstantOf(scale)!;
	return addQuantizedConstant(root.graph!, scale.name, { shape: [channels], values, dtype }, names, root);
}
