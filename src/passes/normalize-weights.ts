import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp } from "../ir/node.js";
import { allNodes, nodeLabel } from "../ir/walk.js";
import { addConstant } from "../weights/constant.js";
import { foldedQuantize } from "../weights/folded-quantize.js";
import { findWeightSites, isSymmetric, type WeightSite } from "../weights/weight-site.js";
import { definePass } from "./infra/pass.js";
import { refreshAnnotations } from "./support/annotation.js";
import { asymmetryOf, type Refusal } from "./support/eligibility.js";
import { normalizeWeights as normalize, REQUANTIZE_OPTION, type RequantizeOption } from "./support/normalize.js";
import { removeUnused } from "./support/remove-unused.js";
import { isSelected, SELECTION_OPTIONS, type SelectionOptions } from "./support/selection.js";
import { Spool } from "./support/spool.js";

export interface NormalizeWeightsOptions extends SelectionOptions, RequantizeOption {}

/**
 * `MatMul(x, Transpose(DequantizeLinear(QuantizeLinear(W))))` -> `MatMul(x, DequantizeLinear(W))`: what is quantized when the
 * model runs is stored as codes, views and casts of weights are done in advance, UINT4 codes with zero point 8 become INT4.
 * On request asymmetric 4-bit weights become symmetric, which loses something.
 */
export const normalizeWeights = definePass<NormalizeWeightsOptions>({
	name: "normalize-weights",
	summary: "Bring quantized weights into one form: signed codes and their scales directly in front of the operator.",
	options: { ...REQUANTIZE_OPTION, ...SELECTION_OPTIONS },
	run(model, context) {
		const names = new NameScope(model);
		const folded = foldQuantizes(model, names);
		if (folded > 0) context.count("constants quantized", folded);
		const sites = findWeightSites(model).filter(
			(site) => site.dequantization !== undefined && isSelected(site, context.options),
		);
		const { changed, kept } = normalize(sites, refusalOf, { names, spool: new Spool() }, context);
		for (const { site, refusal } of kept) {
			context.count("weights kept");
			context.report(refusal.code, refusal.message, {
				graph: site.graphSite.path,
				node: nodeLabel(site.node),
				value: site.weightName,
			});
		}
		if (changed || folded > 0) refreshAnnotations(model);
		return changed || folded > 0;
	},
});

function refusalOf({ bits, scheme, dequantization, weightName }: WeightSite): Refusal | undefined {
	if (bits !== 4 || scheme !== "block" || isSymmetric(dequantization!)) return undefined;
	return asymmetryOf(weightName);
}

/** Stores what QuantizeLinear makes of constants, and returns how many it was. */
function foldQuantizes(model: Model, names: NameScope): number {
	let count = 0;
	for (const { node } of [...allNodes(model)]) {
		const codes = isOnnxOp(node, "QuantizeLinear") ? foldedQuantize(node) : undefined;
		const [output] = node.outputs;
		if (codes === undefined || codes.overridable || output === undefined || output.isGraphOutput) continue;
		const stored = addConstant(output.graph, names.fresh(output.name), codes.tensor, node);
		for (const { node: reader, index } of [...output.uses]) reader.setInput(index, stored);
		const { name } = output;
		const inputs = new Set(node.inputs);
		node.remove();
		stored.name = name;
		for (const input of inputs) if (input !== undefined) removeUnused(input);
		count++;
	}
	return count;
}
