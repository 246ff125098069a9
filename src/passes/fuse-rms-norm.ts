import { floatAttribute, intAttribute } from "../ir/attribute.js";
import { type Model, onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allGraphs, type GraphSite } from "../ir/walk.js";
import { HTP_CAPABILITIES } from "../targets/capabilities.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { lazyTypes, leave, QUANTIZED_OPTION, type Quantized, type Types } from "./support/fusion.js";
import { channelVector, normFusion } from "./support/norm-fusion.js";
import { normalizationAt, rmsNormOperator } from "./support/normalization.js";
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
 * For a target, the scale is quantized where x is, that of operators which are there already, too: with a float scale the
 * HTP computes in float, where it can at all.
 */
export const fuseRmsNorm = definePass<FuseRmsNormOptions>({
	name: "fuse-rms-norm",
	summary: "Make RMS normalization, written with ReduceMean and Sqrt, one RMSNormalization operator.",
	options: QUANTIZED_OPTION,
	run(model, context) {
		const run = { model, types: lazyTypes(model), context, names: new NameScope(model) };
		let changed = false;
		for (const site of allGraphs(model)) {
			for (const node of site.graph.nodes) {
				if (isOnnxOp(node, "Sqrt")) changed = fuse(node, site, run) || changed;
				else if (isOnnxOp(node, ...OPERATORS)) changed = quantizeScale(node, run) || changed;
			}
		}
		return changed;
	},
});

const OPERATORS = ["RMSNormalization", "SimplifiedLayerNormalization"];

interface Run {
	readonly model: Model;
	readonly types: Types;
	readonly context: PassContext<FuseRmsNormOptions>;
	readonly names: NameScope;
}

function fuse(sqrt: Node, site: GraphSite, run: Run): boolean {
	const { model, types, context, names } = run;
	const found = normalizationAt(sqrt);
	if (found === undefined || found.isCentered) return false;
	const op = rmsNormOperator(onnxOpset(site.function ?? model) ?? 0);
	const { quantized } = context.options;
	const fusion = normFusion(found, op, { types, quantized, withBias: false });
	if ("code" in fusion) return leave(fusion, found.root, site, context);
	const { root, x } = fusion;
	const name = `${root.outputs[0]!.name}_norm_scale`;
	const float = channelVector(fusion.scale, fusion, { name, names, types });
	const scale = scaleLike(x, float, root, run) ?? float;
	const attributes = { axis: intAttribute(-1), epsilon: floatAttribute(found.epsilon), stash_type: intAttribute(1) };
	replaceSubgraph(root, { op, name: root.name, inputs: [x, scale], attributes });
	removeUnused(float);
	context.count("subgraphs fused");
	return true;
}

/** Gives an operator that is there already the scale that a fused one gets. */
function quantizeScale(node: Node, run: Run): boolean {
	const [x, scale] = node.inputs;
	const codes = x && scale && scaleLike(x, scale, node, run);
	if (codes === undefined) return false;
	node.setInput(1, codes);
	removeUnused(scale!);
	run.context.count("scales quantized");
	return true;
}

/**
 * The scale as codes of the type that x has, where the model is made for a target and that is of 16 bits: fewer lose more
 * than float costs, so that they are taken only where there are no float operators. undefined: it stays as it is.
 */
function scaleLike(x: Value, scale: Value, before: Node, { context, names }: Run): Value | undefined {
	const dtype = encodingBehind(x)?.dtype;
	const isStored =
		scale.initializer !== undefined || (scale.producer !== undefined && isOnnxOp(scale.producer, "Constant"));
	const constant = isStored ? smallConstantOf(scale) : undefined;
	if (context.target === undefined || dtype === undefined || constant === undefined) return undefined;
	const is16Bit = dtype === DataType.UINT16 || dtype === DataType.INT16;
	if (!is16Bit && HTP_CAPABILITIES[context.target.architecture].floatOperators) return undefined;
	return addQuantizedConstant(before.graph!, scale.name, { ...constant, dtype }, names, before);
}
