import { inferTypes } from "../inference/index.js";
import { intOf } from "../ir/attribute.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp } from "../ir/node.js";
import { DataType, dataTypeName } from "../ir/types.js";
import { nodeLabel } from "../ir/walk.js";
import type { ErrorSum } from "../quant/measure.js";
import { sqnrDb } from "../quant/measure.js";
import { isLpbqBlockSize, isLpbqShape, LPBQ_DEPTH_STEP } from "../targets/lpbq-blocks.js";
import { findWeightSites, type WeightSite } from "../weights/weight-site.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { refreshAnnotations } from "./support/annotation.js";
import { withFloatScales } from "./support/form-values.js";
import { withBlocks, withChannelInt8, withSignedCodes, withZeroPoints } from "./support/legal-form.js";
import { lpbqFaults } from "./support/lpbq-faults.js";
import { ActivationPadding } from "./support/pad-activation.js";
import { isSelected, SELECTION_OPTIONS, type SelectionOptions } from "./support/selection.js";
import { formOf, layoutOf, type WeightForm } from "./support/weight-form.js";
import { groupSites, type WeightGroup, writeForm } from "./support/write-form.js";
import { zeroPointKind } from "./support/zero-points.js";

export interface LegalizeWeightsOptions extends SelectionOptions {
	/** What becomes of weights whose K no block divides as the target wants it. */
	readonly misfits: "pad" | "int8";
}

/**
 * Block-quantized weights that the target computes wrong -> the same in a form that it computes right: UINT4 with zero
 * points 8 as INT4; blocks cut into legal ones; K padded with zeros, and the activation with it. Where that is not possible
 * (asymmetric codes, one output channel, kernels of more than one position, integer scales above 16): int8 codes, one scale a
 * channel. Only the last may lose anything, and says how much.
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
			const legal = legalForm(group, before, padding, context.options.misfits);
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

interface LegalForm {
	readonly form: WeightForm;
	/** What was done, in words. */
	readonly steps: readonly string[];
	/** undefined where the weight is the same as before. */
	readonly error: ErrorSum | undefined;
}

function legalForm(
	group: WeightGroup,
	before: WeightForm,
	padding: ActivationPadding,
	misfits: LegalizeWeightsOptions["misfits"],
): LegalForm {
	const steps: string[] = [];
	let form = before;
	const zeroPoints = zeroPointKind(form);
	if (zeroPoints === "middle") {
		form = withSignedCodes(form);
		steps.push("its UINT4 codes with zero point 8 became INT4");
	}
	const reason = int8Reason(group, form, zeroPoints === "mixed");
	if (reason !== undefined) return asInt8(form, steps, reason);
	if (form.lpbq !== undefined && isOnnxOp(group.sites[0]!.node, "Conv")) {
		form = withFloatScales(form);
		steps.push("its LPBQ scales were multiplied out, for the target refuses them in Conv");
	}
	if (form.lpbq !== undefined && form.zeroPoint === undefined) {
		form = withZeroPoints(form);
		steps.push("its zero points were written out");
	}
	const depth = form.codes.shape[form.blockAxis]!;
	if (isLpbqShape(depth, form.blockSize)) return { form, steps, error: undefined };
	const { blockSize, padded } = legalBlocks(form.blockSize, depth);
	const why = `K = ${depth} in blocks of ${form.blockSize} is none that the target computes right`;
	if (blockSize === undefined) return asInt8(form, steps, why);
	const canPad = misfits === "pad" && padded <= 2 * depth && group.sites.every((site) => padding.isPossible(site));
	if (padded !== depth && !canPad) return asInt8(form, steps, why);
	if (blockSize !== form.blockSize) steps.push(`its blocks of ${form.blockSize} were cut into ${blockSize}`);
	if (padded !== depth) steps.push(`K was padded from ${depth} to ${padded}`);
	return { form: withBlocks(form, blockSize, padded), steps, error: undefined };
}

function asInt8(form: WeightForm, steps: readonly string[], reason: string): LegalForm {
	const made = withChannelInt8(form);
	return {
		form: made.form,
		steps: [...steps, `it became int8 with one scale a channel: ${reason}`],
		error: made.error,
	};
}

/** Why the weight cannot stay 4-bit blocks; undefined where it can. */
function int8Reason({ sites }: WeightGroup, form: WeightForm, isAsymmetric: boolean): string | undefined {
	const [{ node, axes }] = sites as [WeightSite];
	const { shape, dtype } = form.codes;
	const { channelCount, spatial, channels } = layoutOf(form);
	if (isAsymmetric) return "its zero points are not zero";
	if (dtype !== DataType.INT4) return `the target takes no blocks of ${dataTypeName(dtype)}`;
	if (channelCount !== shape[axes!.channelAxis]) return undefined;
	if (isOnnxOp(node, "ConvTranspose")) return "ConvTranspose takes no blocks";
	if (isOnnxOp(node, "Conv")) {
		if (shape.length !== 4 || spatial !== 1 || channels !== 1) return "only kernels of one position take blocks";
		if (intOf(node, "group", 1) !== 1) return "grouped Conv takes no blocks";
	}
	if (channelCount === 1) return "it has one output channel";
	return form.lpbq === undefined ? undefined : lpbqFaults(form, isOnnxOp(node, "Conv"));
}

/** The largest legal block size that divides the old one and for which least padding is needed, with the padded depth. */
function legalBlocks(old: number, depth: number): { blockSize: number | undefined; padded: number } {
	let best: { blockSize: number | undefined; padded: number } = {
		blockSize: undefined,
		padded: Number.POSITIVE_INFINITY,
	};
	for (let blockSize = 16; blockSize <= old; blockSize += 16) {
		if (old % blockSize !== 0 || !isLpbqBlockSize(blockSize)) continue;
		const step = Math.max(blockSize, LPBQ_DEPTH_STEP);
		const padded = Math.ceil(depth / step) * step;
		if (padded <= best.padded) best = { blockSize, padded };
	}
	return best;
}

/** What rounding products to float32 costs is no loss. */
const EXACT_DB = 130;

function report(
	context: PassContext<LegalizeWeightsOptions>,
	site: WeightSite,
	{ form, steps, error }: LegalForm,
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
