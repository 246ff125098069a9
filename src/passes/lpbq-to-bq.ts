import { NameScope } from "../ir/names.js";
import { isOnnxOp } from "../ir/node.js";
import { dataTypeName } from "../ir/types.js";
import { nodeLabel } from "../ir/walk.js";
import { isLpbqShape } from "../targets/lpbq-blocks.js";
import { findWeightSites } from "../weights/weight-site.js";
import { definePass } from "./infra/pass.js";
import { refreshAnnotations } from "./support/annotation.js";
import { withFloatScales } from "./support/form-values.js";
import { lpbqFaults } from "./support/lpbq-faults.js";
import { isSelected, SELECTION_OPTIONS, type SelectionOptions } from "./support/selection.js";
import { formOf, type WeightForm } from "./support/weight-form.js";
import { groupSites, writeForm } from "./support/write-form.js";

export interface LpbqToBqOptions extends SelectionOptions {
	/** `illegal`: only what the HTP computes wrong or refuses. */
	readonly weights: "illegal" | "all";
}

/**
 * `W_DQ(int4, Scale_DQ(integers, channel scales))` -> `W_DQ(int4, products)`: the same weights with one float scale a block,
 * so that bq-to-lpbq can find other integers, or none are needed.
 */
export const lpbqToBq = definePass<LpbqToBqOptions>({
	name: "lpbq-to-bq",
	summary: "Multiply the scales of LPBQ weights out, so that they are block-quantized weights again.",
	options: {
		weights: { default: "illegal", choices: ["illegal", "all"], describe: "those that the HTP computes wrong, or all" },
		...SELECTION_OPTIONS,
	},
	run(model, context) {
		const names = new NameScope(model);
		const sites = findWeightSites(model).filter((site) => site.scheme === "lpbq" && isSelected(site, context.options));
		let changed = false;
		for (const group of groupSites(sites)) {
			const [site] = group.sites;
			const before = formOf(site!);
			const at = { graph: site!.graphSite.path, node: nodeLabel(site!.node), value: site!.weightName };
			if ("code" in before) {
				context.report(before.code, before.message, at);
				continue;
			}
			const isConv = group.sites.some(({ node }) => isOnnxOp(node, "Conv", "ConvTranspose"));
			if (context.options.weights === "illegal" && !isConv && !isIllegal(before)) continue;
			writeForm(group, before, withFloatScales(before), names);
			context.count("weights converted");
			for (const { node, stored, weightName, graphSite, bits } of group.sites) {
				context.reportWeight({
					weight: weightName,
					node: nodeLabel(node),
					op: node.op.type,
					graph: graphSite.path,
					shape: stored.tensor.shape,
					dtype: dataTypeName(stored.tensor.dtype),
					bits,
					scheme: "lpbq",
					blockSize: before.blockSize,
					blockAxis: before.blockAxis,
					channelAxis: before.channelAxis,
					status: "converted",
					code: "weight/converted",
					message: `the LPBQ scales of weight '${weightName}' were multiplied out`,
					form: "bq",
					sqnrDb: null,
					reference: "bq",
				});
			}
			changed = true;
		}
		if (changed) refreshAnnotations(model);
		return changed;
	},
});

function isIllegal(form: WeightForm): boolean {
	return lpbqFaults(form, false) !== undefined || !isLpbqShape(form.codes.shape[form.blockAxis]!, form.blockSize);
}
