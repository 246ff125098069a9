import { NameScope } from "../ir/names.js";
import { isOnnxOp } from "../ir/node.js";
import { nodeLabel } from "../ir/walk.js";
import { findWeightSites, type WeightSite } from "../weights/weight-site.js";
import { definePass } from "./infra/pass.js";
import { quantizeAddends } from "./support/quantize-addends.js";
import { exclusionOf, isSelected, SELECTION_OPTIONS, type SelectionOptions } from "./support/selection.js";
import { separateOutput } from "./support/separate-output.js";
import { reportSeparation } from "./support/separation-report.js";

/**
 * `MatMul(x, W) -> Add, Relu, Gelu, graph output ...` -> `MatMul(x, W) -> Q -> DQ -> the same`, for weights with block scales,
 * and constants that are added behind it as integers of the same type. The encoding is that of a quantizer that reads the
 * same values, or what the readers can tell apart (support/wanted-interval.ts), or else all that the weight and the input
 * allow (support/linear-bound.ts). For a target convolutions too.
 */
export const separateMatmulOutputs = definePass<SelectionOptions>({
	name: "separate-matmul-outputs",
	summary: "Quantize the output of MatMuls with block-quantized weights before anything else reads it.",
	options: SELECTION_OPTIONS,
	run(model, context) {
		const names = new NameScope(model);
		let changed = false;
		for (const site of findWeightSites(model)) {
			if (!isSeparated(site, context.target !== undefined)) continue;
			if (!isSelected(site, context.options)) {
				const { code, message } = exclusionOf(site);
				context.report(code, message, {
					graph: site.graphSite.path,
					node: nodeLabel(site.node),
					value: site.weightName,
				});
				continue;
			}
			const separation = separateOutput(model, site, names);
			reportSeparation(context, site, separation);
			const replaced = quantizeAddends(site.node.outputs[0]!, names);
			if (replaced > 0) context.count("constants quantized", replaced);
			changed ||= replaced > 0 || typeof separation !== "string";
		}
		return changed;
	},
});

function isSeparated({ node, scheme, input }: WeightSite, hasTarget: boolean): boolean {
	const isLinear = isOnnxOp(node, "MatMul") || (hasTarget && isOnnxOp(node, "Conv", "ConvTranspose"));
	return isLinear && input === 1 && (scheme === "block" || scheme === "lpbq");
}
