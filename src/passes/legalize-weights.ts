import { inferTypes } from "../inference/index.js";
import { NameScope } from "../ir/names.js";
import { dataTypeName } from "../ir/types.js";
import { nodeLabel } from "../ir/walk.js";
import { sqnrDb } from "../quant/measure.js";
import { findWeightSites, type WeightSite } from "../weights/weight-site.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { refreshAnnotations } from "./support/annotation.js";
import { type LegalWeight, legalWeight } from "./support/legal-weight.js";
import { ActivationPadding } from "./support/pad-activation.js";
import { isSelected, SELECTION_OPTIONS, type SelectionOptions } from "./support/selection.js";
import { Spool } from "./support/spool.js";
import { formOf } from "./support/weight-form.js";
import { WeightKernels } from "./support/weight-kernels.js";
import { groupSites, writeForm } from "./support/write-form.js";

export interface LegalizeWeightsOptions extends SelectionOptions {
	/** What becomes of weights whose K no block divides as the target wants it. */
	readonly misfits: "pad" | "int8";
}

/**
 * Block-quantized weights that the target computes wrong -> the same in a form that it computes right, the first of these
 * that is one: UINT4 with zero points 8 as INT4; blocks cut into legal ones; K padded with zeros, and the activation with it;
 * LPBQ's scales multiplied out; zero points taken off codes that become INT8. Where none is, what loses least of int8 codes
 * with one scale a channel and new symmetric codes. With bq-to-lpbq to follow, INT4 blocks are cut as LPBQ wants them.
 */
export const legalizeWeights = definePass<LegalizeWeightsOptions>({
	name: "legalize-weights",
	summary: "Bring block-quantized weights into forms that the target computes right, with the least loss.",
	options: {
		misfits: {
			default: "pad",
			choices: ["pad", "int8"],
			describe: "weights whose K is no multiple of 32: pad them and their activations, or make them int8",
		},
		...SELECTION_OPTIONS,
	},
	run(model, context) {
		if (context.target === undefined) {
			context.report(
				"target/missing",
				"weights stay as they are: no target was named, expected one such as 'qnn-htp:v79'",
				{},
			);
			return false;
		}
		const names = new NameScope(model);
		const spool = new Spool();
		const padding = new ActivationPadding(inferTypes(model), names);
		const sites = findWeightSites(model).filter(
			(site) => (site.scheme === "block" || site.scheme === "lpbq") && isSelected(site, context.options),
		);
		let changed = false;
		for (const group of groupSites(sites)) {
			const before = formOf(group.sites[0]!);
			if ("code" in before) {
				context.report(before.code, before.message, placeOf(group.sites[0]!));
				continue;
			}
			const float = group.sites.find(({ activations }) => activations === "float");
			if (float !== undefined) {
				const message = `weight '${float.weightName}' is multiplied with float activations, expected quantized ones`;
				context.report("weight/float-activations", message, placeOf(float));
				continue;
			}
			const legal = legalWeight(before, {
				kernels: new WeightKernels(group.sites, context.target, context.later.includes("bq-to-lpbq")),
				canPad: () => context.options.misfits === "pad" && group.sites.every((site) => padding.isPossible(site)),
				spool,
			});
			if (legal.form === before) continue;
			const added = legal.form.codes.shape[before.blockAxis]! - before.codes.shape[before.blockAxis]!;
			if (added > 0) for (const site of group.sites) padding.pad(site, added);
			writeForm(group, before, legal.form, names);
			for (const site of group.sites) report(context, site, legal);
			changed = true;
		}
		if (changed) refreshAnnotations(model);
		return changed;
	},
});

/** What rounding products to float32 costs is no loss. */
const EXACT_DB = 130;

function report(
	context: PassContext<LegalizeWeightsOptions>,
	site: WeightSite,
	{ form, steps, error }: LegalWeight,
): void {
	const { weightName, stored, node, graphSite, scheme, bits, axes, dequantization } = site;
	const ratio = error === undefined ? Number.POSITIVE_INFINITY : sqnrDb(error.signal, error.error);
	const decibels = ratio < EXACT_DB ? ratio : null;
	const isInt8 = form.blockSize === 0;
	const loss = decibels === null ? "without loss" : `at ${decibels.toFixed(1)} dB`;
	const message = `weight '${weightName}' was made legal ${loss}: ${steps.join("; ")}`;
	context.count(isInt8 ? "weights made int8" : "weights kept in blocks");
	context.report(decibels === null ? "weight/legal" : "weight/legal-at-a-loss", message, placeOf(site));
	context.reportWeight({
		weight: weightName,
		node: nodeLabel(node),
		op: node.op.type,
		graph: graphSite.path,
		shape: stored.tensor.shape,
		dtype: dataTypeName(stored.tensor.dtype),
		bits,
		scheme,
		blockSize: dequantization!.blockSize,
		blockAxis: axes!.blockAxis,
		channelAxis: axes!.channelAxis,
		status: "converted",
		code: decibels === null ? "weight/legal" : "weight/legal-at-a-loss",
		message,
		form: isInt8 ? "channel-int8" : form.lpbq === undefined ? "bq" : "double-dq",
		sqnrDb: decibels,
		reference: "bq",
	});
}

function placeOf({ graphSite, node, weightName }: WeightSite) {
	return { graph: graphSite.path, node: nodeLabel(node), value: weightName };
}
