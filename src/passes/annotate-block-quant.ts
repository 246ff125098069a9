import { nodeLabel } from "../ir/walk.js";
import { findWeightSites, type WeightSite } from "../weights/weight-site.js";
import { definePass } from "./infra/pass.js";
import { annotate, annotationOf, packedAnnotationOf } from "./support/annotation.js";
import { findNBitsSites } from "./support/nbits-form.js";
import { isSelected, SELECTION_OPTIONS, type SelectionOptions } from "./support/selection.js";

/**
 * `MatMul(x, DequantizeLinear(W))` -> the same, annotated with what W is: scheme, bits, block size, axes, symmetric or not,
 * activations integer or float, and whether it could become LPBQ. Nothing that a runtime sees changes.
 */
export const annotateBlockQuant = definePass<SelectionOptions>({
	name: "annotate-block-quant",
	summary:
		"Find every constant weight of MatMul, Gemm, Conv, ConvTranspose and MatMulNBits and write down how it is quantized.",
	options: SELECTION_OPTIONS,
	run(model, context) {
		let changed = false;
		for (const site of findWeightSites(model)) {
			if (!isSelected(site, context.options)) continue;
			const { annotation, refusal } = annotationOf(site);
			changed = annotate(site.node, annotation) || changed;
			context.count(`weights ${site.scheme}`);
			if (refusal === undefined || refusal.code === "weight/float") continue;
			context.report(refusal.code, refusal.message, placeOf(site));
		}
		for (const site of findNBitsSites(model)) {
			if (!isSelected(site, context.options)) continue;
			const { annotation, refusal } = packedAnnotationOf(site);
			changed = annotate(site.node, annotation) || changed;
			context.count("weights packed");
			context.report(refusal.code, refusal.message, placeOf(site));
		}
		return changed;
	},
});

function placeOf({ graphSite, node, weightName }: Pick<WeightSite, "graphSite" | "node" | "weightName">) {
	return { graph: graphSite.path, node: nodeLabel(node), value: weightName };
}
