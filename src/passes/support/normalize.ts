import type { NameScope } from "../../ir/names.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { nodeLabel } from "../../ir/walk.js";
import { asFloatType } from "../../weights/derived-tensor.js";
import { type WeightSite, weightSiteAt } from "../../weights/weight-site.js";
import type { PassContext } from "../infra/pass.js";
import type { Refusal } from "./eligibility.js";
import { type NormalWeight, normalWeight } from "./normal-weight.js";
import { withoutZeroPoints } from "./requantize.js";
import { WeightViewer } from "./seen-weight.js";
import type { Spool } from "./spool.js";
import { lossText, requantizedEntry } from "./weight-entry.js";
import type { WeightForm } from "./weight-form.js";
import { groupSites, writeForm } from "./write-form.js";

/** The option of passes that bring weights into their normal form. */
export const REQUANTIZE_OPTION = {
	requantize: {
		default: false as boolean,
		describe: "make asymmetric 4-bit weights symmetric by quantizing them anew, at a loss that is reported",
	},
} as const;

export interface RequantizeOption {
	readonly requantize: boolean;
}

/** What making weights takes. */
export interface Workshop {
	readonly names: NameScope;
	readonly spool: Spool;
}

/** What became of the places where weights are used. */
export interface Normalization {
	readonly changed: boolean;
	/** Places that stay as they are, and why, in order. */
	readonly kept: readonly { readonly site: WeightSite; readonly refusal: Refusal }[];
	/** The others, as they were before. */
	readonly taken: readonly WeightSite[];
}

/**
 * Brings weights into their normal form (normal-weight.ts), each once however often it is used: those of which `refusalOf`,
 * shown the place as it would be then, has nothing to say.
 */
export function normalizeWeights(
	sites: readonly WeightSite[],
	refusalOf: (site: WeightSite) => Refusal | undefined,
	{ names, spool }: Workshop,
	context: PassContext<RequantizeOption>,
): Normalization {
	const viewer = new WeightViewer();
	const kept: { site: WeightSite; refusal: Refusal }[] = [];
	const taken: WeightSite[] = [];
	const groups = new Map<string, { weight: NormalWeight; sites: WeightSite[] }>();
	for (const site of sites) {
		const weight = normalWeight(site, viewer, context.options.requantize);
		const refusal = weight !== undefined && "code" in weight ? through(site, weight) : refusalOf(weight?.site ?? site);
		if (refusal !== undefined) {
			kept.push({ site, refusal });
			continue;
		}
		taken.push(site);
		if (weight === undefined || "code" in weight || weight.form === undefined) continue;
		const group = groups.get(weight.key) ?? { weight, sites: [] };
		groups.set(weight.key, group);
		group.sites.push(site);
	}
	let changed = false;
	for (const { weight, sites: members } of groups.values()) {
		changed = write(weight, members, { names, spool }, context) || changed;
	}
	return { changed, kept, taken };
}

/** Puts the normal form of a weight into the graph; says whether it could. */
function write(
	{ form, steps, requantizes }: NormalWeight,
	sites: readonly WeightSite[],
	{ names, spool }: Workshop,
	context: PassContext<RequantizeOption>,
): boolean {
	const [first] = sites;
	const { weightName, graphSite, node, stored, dequantization } = first!;
	const at = { graph: graphSite.path, node: nodeLabel(node), value: weightName };
	const made = requantizes ? requantized(form!, spool) : { form: form!, error: undefined };
	if (made === undefined) {
		context.report("weight/scale-not-finite", `a scale of weight '${weightName}' is infinite or not a number`, at);
		return false;
	}
	const before: WeightForm = {
		...form!,
		codes: stored.value.initializer ?? stored.tensor,
		scale: dequantization!.scale?.tensor,
		zeroPoint: dequantization!.zeroPoint?.tensor,
	};
	const merged = { sites, dequantizations: groupSites(sites).flatMap((group) => group.dequantizations) };
	writeForm(merged, before, made.form, names);
	context.count("weights normalized");
	if (steps.length > 0) {
		context.report("weight/normalized", `weight '${weightName}' was brought into normal form: ${steps.join("; ")}`, at);
	}
	if (made.form.codes !== before.codes && isStored(stored.value)) {
		const message = `weight '${weightName}' is also read in its old form, so that the model holds it twice`;
		context.report("weight/copied", message, at);
	}
	if (made.error !== undefined) {
		const message = `weight '${weightName}' was asymmetric and was quantized anew, ${lossText(made.error)}`;
		context.report("weight/requantized", message, at);
		for (const { node, input, graphSite, opset } of sites) {
			context.reportWeight(requantizedEntry(weightSiteAt(node, input, graphSite, opset)!, made.error));
		}
	}
	return true;
}

function isStored(value: Value): boolean {
	return value.initializer !== undefined || value.producer !== undefined;
}

function requantized(form: WeightForm, spool: Spool): ReturnType<typeof withoutZeroPoints> {
	const scale = form.scale!;
	const made = withoutZeroPoints({ ...form, scale: asFloatType(scale, DataType.FLOAT) }, spool);
	return made && { ...made, form: { ...made.form, scale: asFloatType(made.form.scale!, scale.dtype) } };
}

/** What is said of a weight that cannot be seen through what is in front of it. */
function through({ weightName, indirect }: WeightSite, { code, message }: Refusal): Refusal {
	const way = indirect === undefined ? "" : ` reaches its operator through ${indirect.op.type}`;
	return { code, message: `weight '${weightName}'${way}: ${message}` };
}
