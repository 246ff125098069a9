import { dataTypeName } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import type { Decision } from "../../recipe/decide.js";
import type { ModelUnit } from "../../recipe/find-units.js";
import { PRECISION_FACTS } from "../../recipe/precision.js";
import { type Setting, settingOf } from "../../recipe/recipe.js";
import type { Constant } from "../../weights/constant.js";
import type { WeightSite } from "../../weights/weight-site.js";
import type { Refusal } from "./eligibility.js";
import { floatRefusal, isFloatType } from "./float-source.js";
import type { ConstantUse } from "./insert-quantized.js";
import type { FloatWeight } from "./quantized-weight.js";

/** A float constant and what its users are to read instead. */
export interface RecipeGroup {
	readonly weight: FloatWeight;
	readonly decisions: readonly ModelDecision[];
	/** The one that counts. */
	readonly decision: ModelDecision;
	readonly setting: Setting;
	/** Why the setting is not the one that the recipe names. */
	readonly unfit: string | undefined;
}

export type ModelDecision = Decision<ModelUnit>;

/** Something that stays as it is. */
export interface KeptUnit {
	readonly decision: ModelDecision;
	readonly refusal: Refusal;
}

/**
 * Sorts what a recipe decided into constants to quantize, each once for all uses that sum over the same axes, and the
 * rest. Where rules decide differently for two uses of one constant, the one with more bits holds for both.
 */
export function groupDecisions(decisions: readonly ModelDecision[]): { groups: RecipeGroup[]; kept: KeptUnit[] } {
	const kept: KeptUnit[] = [];
	const byConstant = new Map<string, ModelDecision[]>();
	const ids = new Map<Value, number>();
	for (const decision of decisions) {
		const { unit, setting } = decision;
		if (constantIn(unit) === undefined) continue;
		const refusal = setting.precision === "keep" ? KEPT : refusalOf(unit);
		if (refusal !== undefined) {
			kept.push({ decision, refusal: withName(refusal, unit) });
			continue;
		}
		const { value } = constantIn(unit)!;
		const id = ids.get(value) ?? ids.set(value, ids.size).size - 1;
		const axes = unit.kind === "weight" ? `${unit.site.axes?.blockAxis}/${unit.site.axes?.channelAxis}` : "table";
		const key = `${id} ${axes}`;
		const list = byConstant.get(key);
		if (list === undefined) byConstant.set(key, [decision]);
		else list.push(decision);
	}
	return { groups: [...byConstant.values()].map(groupOf), kept };
}

const KEPT: Refusal = { code: "recipe/keep", message: "" };

function withName({ code, message }: Refusal, unit: ModelUnit): Refusal {
	return { code, message: message || `weight '${unit.weight}' is kept: the recipe says so, or no rule names it` };
}

function refusalOf(unit: ModelUnit): Refusal | undefined {
	if (unit.kind === "weight") return floatRefusal(unit.site);
	const constant = constantIn(unit)!;
	if (constant.overridable)
		return { code: "weight/overridable", message: `table '${unit.weight}' is a graph input too` };
	return isFloatType(constant.tensor.dtype)
		? undefined
		: {
				code: "weight/not-float",
				message: `table '${unit.weight}' is ${dataTypeName(constant.tensor.dtype)}, not float`,
			};
}

/** The weight or table of a unit; the other units have none. */
function constantIn(unit: ModelUnit): Constant | undefined {
	if (unit.kind === "weight") return unit.site.stored;
	return unit.kind === "embedding" ? unit.table : undefined;
}

function groupOf(decisions: readonly ModelDecision[]): RecipeGroup {
	const decision = decisions.reduce((best, other) => (bitsOf(other) > bitsOf(best) ? other : best));
	const sites: WeightSite[] = [];
	const uses: ConstantUse[] = [];
	for (const { unit } of decisions) {
		if (unit.kind === "weight") {
			sites.push(unit.site);
			uses.push({ node: unit.site.node, input: unit.site.input });
		} else if (unit.kind === "embedding") uses.push({ node: unit.operator, input: 0 });
	}
	const weight = { constant: constantIn(decision.unit)!, sites, uses };
	return { weight, decisions, decision, ...fittingSetting(weight, decision.setting) };
}

function bitsOf({ setting }: ModelDecision): number {
	return PRECISION_FACTS[setting.precision].weightBits ?? 0;
}

/** The setting itself, or what comes closest to it with 8 bits where the weight's shape or place does not allow it. */
function fittingSetting(
	{ sites, constant }: FloatWeight,
	setting: Setting,
): { readonly setting: Setting; readonly unfit: string | undefined } {
	const facts = PRECISION_FACTS[setting.precision];
	const instead = settingOf(facts.activationBits === 8 ? "8a8w" : "16a8w");
	const [site] = sites;
	if (site === undefined) {
		const isTable = facts.isFloat || (!facts.isBlock && facts.weightBits !== 4);
		if (isTable) return { setting: { ...setting, granularity: "per-tensor" }, unfit: undefined };
		const unfit = "the HTP takes tables with one scale and 8 or 16 bits only";
		return { setting: { ...instead, granularity: "per-tensor" }, unfit };
	}
	if (!facts.isBlock) return { setting, unfit: undefined };
	const { op } = site.node;
	const rank = constant.tensor.shape.length;
	const depth = constant.tensor.shape[site.axes!.blockAxis]!;
	const reason =
		site.input !== 1 || op.type === "ConvTranspose"
			? `LPBQ exists for the right operand of MatMul and Gemm and for Conv, not for ${op.type} input ${site.input}`
			: rank !== (op.type === "Conv" ? 4 : 2)
				? `a weight of ${op.type} has rank ${rank}, expected ${op.type === "Conv" ? 4 : 2}`
				: depth % setting.blockSize !== 0
					? `K = ${depth} is no multiple of the block size ${setting.blockSize}`
					: undefined;
	return reason === undefined ? { setting, unfit: undefined } : { setting: instead, unfit: reason };
}
