import { QGraphError } from "../diagnostics.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp } from "../ir/node.js";
import { nodeLabel } from "../ir/walk.js";
import { findWeightSites, type WeightSite } from "../weights/weight-site.js";
import { definePass, type PassContext } from "./infra/pass.js";
import type { WeightEntry } from "./infra/report.js";
import { refreshAnnotations } from "./support/annotation.js";
import { type Conversion, groupConversions, type LpbqForm } from "./support/conversion.js";
import { type Refusal, refusalOf } from "./support/eligibility.js";
import { type FittedWeight, fitWeight } from "./support/fit-weight.js";
import { FloatWeights } from "./support/float-weights.js";
import { foreignWeights } from "./support/foreign-weights.js";
import { malformation } from "./support/lpbq-faults.js";
import type { LpbqFit } from "./support/lpbq-fit.js";
import { rewriteToLpbq } from "./support/lpbq-rewrite.js";
import { mapAhead } from "./support/map-ahead.js";
import { findNBitsSites, type NBitsSite, packedEntryOf } from "./support/nbits-form.js";
import { packedRefusalOf } from "./support/nbits-tensors.js";
import { normalizeWeights, REQUANTIZE_OPTION, type RequantizeOption, type Workshop } from "./support/normalize.js";
import { exclusionOf, isSelected, SELECTION_OPTIONS, type SelectionOptions } from "./support/selection.js";
import { Spool } from "./support/spool.js";
import { TaskPool } from "./support/task-pool.js";
import { decibels, describeSite } from "./support/weight-entry.js";

export interface BqToLpbqOptions extends SelectionOptions, RequantizeOption {
	/** How LPBQ is written; `auto` is double-dq for MatMul and Gemm and exact-bq for Conv, which the HTP takes. */
	readonly form: "auto" | LpbqForm;
	/** `max` keeps the codes and gives AIMET's and ONNX Runtime's scales; `search` gives the scales and codes of least error. */
	readonly fit: "max" | "search";
	/** Exponent of the error that `search` minimizes; 0: 2 for block-quantized references, 3 for float ones. */
	readonly exponent: number;
	/** `integer`: only between quantized activations, where the HTP computes LPBQ. */
	readonly activations: "integer" | "any";
	/** Model file with the float originals, to come close to instead of the block-quantized weights. */
	readonly floatWeights: string;
	/** JSON file, names of quantized weights -> names in the float model. */
	readonly floatWeightsMap: string;
}

/**
 * `W_DQ(int4, float block scales)` -> `W_DQ(int4, Scale_DQ(uint8 block scales 1..16, float channel scales))`, or the same
 * nodes with scales that are such products. Weights that are stored otherwise, as UINT4 or behind a Transpose, get their normal
 * form first, if they can be converted then. Every weight that stays as it was gets a remark that says why.
 * The arithmetic is in quant/lpbq.ts, the axes in weights/weight-axes.ts, the conditions in support/eligibility.ts, the normal
 * form in support/normal-weight.ts.
 */
export const bqToLpbq = definePass<BqToLpbqOptions>({
	name: "bq-to-lpbq",
	summary: "Convert int4 block-quantized weights to LPBQ, which the Hexagon HTP computes natively.",
	options: {
		form: { default: "auto", choices: ["auto", "double-dq", "exact-bq"], describe: "how LPBQ is written in ONNX" },
		fit: {
			default: "search",
			choices: ["max", "search"],
			describe: "max: AIMET's scales, codes kept; search: scales and codes of least error",
		},
		exponent: { default: 0, describe: "of the error that search minimizes; 0: 2, or 4 with float weights" },
		activations: {
			default: "integer",
			choices: ["integer", "any"],
			describe: "convert only between quantized activations, or anywhere",
		},
		floatWeights: {
			default: "",
			describe: "float model whose weights are the reference, instead of the quantized ones",
		},
		floatWeightsMap: { default: "", describe: "JSON file: names of quantized weights -> names in the float model" },
		...REQUANTIZE_OPTION,
		...SELECTION_OPTIONS,
	},
	requires(_model, { options }) {
		const { exponent } = options;
		if (exponent === 0 || (Number.isInteger(exponent) && exponent >= 2 && exponent <= 8)) return;
		throw new QGraphError("pass/unknown-option", `exponent is ${exponent}, expected 0 or a whole number from 2 to 8`);
	},
	async run(model, context) {
		const { options } = context;
		const sites = findWeightSites(model);
		const selected = sites.filter((site) => isSelected(site, options));
		for (const site of sites) {
			if (!selected.includes(site)) keep(context, site, exclusionOf(site));
		}
		for (const site of findNBitsSites(model)) keepPacked(context, site);
		const work = { names: new NameScope(model), spool: new Spool() };
		const refusal = (site: WeightSite) => refusalOf(site, options.activations);
		const normal = normalizeWeights(selected, refusal, work, context);
		for (const { site, refusal } of normal.kept) {
			const fault = refusal.code === "lpbq/already" ? malformation(site) : undefined;
			keep(context, site, fault === undefined ? refusal : { code: "lpbq/malformed", message: fault });
		}
		for (const entry of foreignWeights(model)) {
			const { code, message, graph, node, weight } = entry;
			context.count("weights kept");
			context.report(code, message, { graph, node, value: weight });
			context.reportWeight(entry);
		}
		const nodes = new Set(normal.taken.map(({ node }) => node));
		const taken = normal.changed ? findWeightSites(model).filter(({ node }) => nodes.has(node)) : normal.taken;
		const { conversions, kept } = groupConversions(taken, options);
		for (const { site, refusal } of kept) keep(context, site, refusal);
		if (conversions.length === 0) return normal.changed;
		const floats =
			options.floatWeights === ""
				? undefined
				: new FloatWeights(await context.readModel(options.floatWeights), options.floatWeightsMap);
		const pool = new TaskPool();
		try {
			const converted = await convertAll(model, conversions, floats, context, pool, work);
			context.defer(measureAll(converted, context).finally(() => pool.close()));
			return normal.changed || converted.length > 0;
		} catch (error) {
			await pool.close();
			throw error;
		}
	},
});

/** A weight that was rewritten but perhaps not measured yet. */
interface ConvertedWeight {
	readonly entries: readonly WeightEntry[];
	readonly fit: LpbqFit;
}

/** So many weights are worked on at a time, so that no core waits for the end of one. */
const WEIGHTS_AHEAD = 4;

async function convertAll(
	model: Model,
	conversions: readonly Conversion[],
	floats: FloatWeights | undefined,
	context: PassContext<BqToLpbqOptions>,
	pool: TaskPool,
	{ names, spool }: Workshop,
): Promise<ConvertedWeight[]> {
	const { options, signal } = context;
	const fits = mapAhead(conversions, WEIGHTS_AHEAD, (conversion) => {
		signal.throwIfAborted();
		return fitWeight(conversion, floats?.find(conversion), options, pool, spool);
	});
	const converted: ConvertedWeight[] = [];
	let done = 0;
	for await (const [conversion, result] of fits) {
		if ("refusal" in result) {
			for (const site of conversion.sites) keep(context, site, result.refusal);
		} else {
			if (floats !== undefined && result.reference === "bq") reportMissingFloat(context, conversion);
			rewriteToLpbq(conversion, result.fit, names);
			const weight = { entries: entriesOf(conversion, result), fit: result.fit };
			for (const entry of weight.entries) context.reportWeight(entry);
			reportConverted(context, conversion, result);
			converted.push(weight);
		}
		context.progress(++done, conversions.length);
	}
	if (converted.length > 0) {
		model.irVersion = Math.max(model.irVersion, 10);
		refreshAnnotations(model);
	}
	return converted;
}

/** Completes the entries of converted weights, which may take a walk over all of them. */
async function measureAll(
	converted: readonly ConvertedWeight[],
	{ signal, reportWeight, written }: PassContext<BqToLpbqOptions>,
): Promise<void> {
	const measure = async (weights: readonly ConvertedWeight[]) => {
		const measured = mapAhead(weights, WEIGHTS_AHEAD, ({ fit }) => {
			signal.throwIfAborted();
			return fit.error(written);
		});
		for await (const [{ entries }, error] of measured) {
			for (const entry of entries) reportWeight({ ...entry, sqnrDb: decibels(error) });
		}
	};
	// those that keep their codes wait for the write
	const keepsCodes = ({ fit }: ConvertedWeight) => fit.codes === undefined;
	await Promise.all([
		measure(converted.filter((weight) => !keepsCodes(weight))),
		measure(converted.filter(keepsCodes)),
	]);
}

function keep(context: PassContext<BqToLpbqOptions>, site: WeightSite, { code, message }: Refusal): void {
	context.count("weights kept");
	context.report(code, message, { graph: site.graphSite.path, node: nodeLabel(site.node), value: site.weightName });
	context.reportWeight({ ...describeSite(site), status: "kept", code, message });
}

/** Weights that nobody unpacked are named, too. */
function keepPacked(context: PassContext<BqToLpbqOptions>, site: NBitsSite): void {
	const { code, message } = isSelected(site, context.options) ? packedRefusalOf(site) : exclusionOf(site);
	context.count("weights kept");
	context.report(code, message, { graph: site.graphSite.path, node: nodeLabel(site.node), value: site.weightName });
	context.reportWeight({ ...packedEntryOf(site), status: "kept", code, message });
}

function reportConverted(
	context: PassContext<BqToLpbqOptions>,
	conversion: Conversion,
	{ scan, reference }: FittedWeight,
): void {
	const { weightName, graphSite, node } = conversion.sites[0]!;
	const at = { graph: graphSite.path, node: nodeLabel(node), value: weightName };
	const { blockSize, depth } = conversion.layout;
	if (scan.negative > 0 && reference === "bq") {
		const total = conversion.layout.blocks * conversion.layout.channelCount * conversion.layout.spatial;
		context.report(
			"lpbq/repaired",
			`weight '${weightName}' had ${scan.negative} negative scales of ${total}; their codes were chosen anew`,
			at,
		);
	}
	const gemm = conversion.sites.find((site) => isOnnxOp(site.node, "Gemm"));
	if (gemm !== undefined && conversion.form === "double-dq") {
		context.report(
			"lpbq/htp-gemm",
			`'${nodeLabel(gemm.node)}' is a Gemm, whose bias and alpha the HTP's compiler drops when weight '${weightName}' is LPBQ`,
			{ ...at, node: nodeLabel(gemm.node) },
		);
	}
	if ((blockSize !== 16 && blockSize % 32 !== 0) || depth % 32 !== 0) {
		context.report(
			"lpbq/htp-block-size",
			`weight '${weightName}' has K = ${depth} in blocks of ${blockSize}; the HTP wants blocks of 16 or a multiple of 32, and K a multiple of 32`,
			at,
		);
	}
	context.count("weights converted");
	context.count("uses converted", conversion.sites.length);
}

/** What is said of a weight at each of its uses, all but how good the fit is. */
function entriesOf({ sites, form }: Conversion, { fit, scan, reference }: FittedWeight): WeightEntry[] {
	return sites.map((site) => ({
		...describeSite(site),
		status: "converted",
		code: "weight/converted",
		message: `weight '${site.weightName}' was converted to LPBQ`,
		form,
		fit: fit.kind,
		...(fit.errorOfMax === undefined ? {} : { sqnrDbOfMax: decibels(fit.errorOfMax) }),
		reference,
		repairedBlocks: scan.negative,
	}));
}

function reportMissingFloat(context: PassContext<BqToLpbqOptions>, { sites, layout }: Conversion): void {
	const { weightName, stored, graphSite, node } = sites[0]!;
	context.report(
		"lpbq/no-float-weight",
		`'${context.options.floatWeights}' has no float weight for '${weightName}' of shape [${stored.tensor.shape.join(", ")}]`,
		{ graph: graphSite.path, node: nodeLabel(node), value: weightName },
		[`the block-quantized weight of ${layout.channelCount} channels is the reference instead`],
	);
}
