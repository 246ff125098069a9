import type { Model } from "../ir/model.js";
import { elementCount } from "../ir/types.js";
import { quantizeWeight } from "../passes/support/quantize-weight.js";
import type { QuantizeTools, WeightFitOptions } from "../passes/support/quantized-weight.js";
import { groupDecisions, type RecipeGroup } from "../passes/support/recipe-groups.js";
import { findUnits, type ModelUnit } from "../recipe/find-units.js";
import { type Setting, settingOf } from "../recipe/recipe.js";
import type { Role } from "../recipe/role.js";

/** One of the things that a unit may become. */
export interface Candidate {
	readonly setting: Setting;
	/** Of codes and scales. */
	readonly bytes: number;
	/** Squared error over squared weights; 0 where nothing is lost. */
	readonly noise: number;
}

/** Weights that become the same: one, or the query, key and value projections of a layer. */
export interface PlanUnit {
	readonly weights: readonly string[];
	readonly role: Role | undefined;
	readonly layer: number | undefined;
	/** How many weights these are. */
	readonly elements: number;
	/** Bytes that they take as they are. */
	readonly floatBytes: number;
	readonly candidates: readonly Candidate[];
}

/** What weights may become where nobody says. */
export const DEFAULT_CANDIDATES: readonly Setting[] = [
	...([16, 32, 64, 128] as const).map((blockSize) => settingOf("16a4w_block", { blockSize })),
	settingOf("16a4w"),
	settingOf("16a8w"),
];

/** What tables may become: what the HTP takes. */
export const TABLE_CANDIDATES: readonly Setting[] = [
	settingOf("16a8w", { granularity: "per-tensor" }),
	settingOf("16a16w", { granularity: "per-tensor" }),
];

/**
 * Quantizes every float weight and table of a model to each of `settings` and measures the error; nothing is changed.
 *
 * @param progress called with the weights done and their number.
 */
export async function measureCandidates(
	model: Model,
	settings: readonly Setting[],
	fit: WeightFitOptions,
	tools: QuantizeTools,
	progress: (done: number, total: number) => void,
	signal: AbortSignal | undefined,
): Promise<PlanUnit[]> {
	const units = findUnits(model);
	const measured = new Map<string, PlanUnit[]>();
	const groups = groupsOf(units, settings[0]!);
	let done = 0;
	for (const { weight, decision } of groups) {
		signal?.throwIfAborted();
		const { unit } = decision;
		const candidates: Candidate[] = [];
		for (const setting of unit.kind === "embedding" ? TABLE_CANDIDATES : settings) {
			const [group] = groupsOf(
				units.filter((other) => sameConstant(other, unit)),
				setting,
			);
			if (group === undefined || group.unfit !== undefined) continue;
			const made = await quantizeWeight(weight, group.setting, fit, tools);
			if ("code" in made) continue;
			const { signal: power, error } = await made.error();
			candidates.push({ setting: group.setting, bytes: made.bytes, noise: power === 0 ? 0 : error / power });
		}
		progress(++done, groups.length);
		if (candidates.length === 0) continue;
		const { constant } = weight;
		const one: PlanUnit = {
			weights: [constant.value.name],
			role: unit.role,
			layer: unit.layer,
			elements: elementCount(constant.tensor.shape),
			floatBytes: constant.tensor.data.byteLength,
			candidates,
		};
		const isFused = one.role === "q_proj" || one.role === "k_proj" || one.role === "v_proj";
		const key = isFused ? `${unit.graph} ${one.layer} qkv` : `${unit.graph} ${constant.value.name}`;
		measured.set(key, [...(measured.get(key) ?? []), one]);
	}
	return [...measured.values()].map(together);
}

function groupsOf(units: readonly ModelUnit[], setting: Setting): RecipeGroup[] {
	const decisions = units.map((unit) => ({ unit, setting, rule: undefined, overruled: [] }));
	return groupDecisions(decisions).groups;
}

function sameConstant(a: ModelUnit, b: ModelUnit): boolean {
	return a.weight === b.weight && a.graph === b.graph && a.kind === b.kind;
}

/** Several weights as one unit, with the candidates that all of them have; its noise is that of all over all. */
function together(units: readonly PlanUnit[]): PlanUnit {
	const [first] = units;
	if (units.length === 1) return first!;
	const candidates = first!.candidates.flatMap(({ setting }) => {
		const each = units.map(({ candidates }) => candidates.find((other) => sameSetting(other.setting, setting)));
		if (each.includes(undefined)) return [];
		const bytes = each.reduce((sum, candidate) => sum + candidate!.bytes, 0);
		return [{ setting, bytes, noise: each.reduce((sum, candidate) => sum + candidate!.noise, 0) / units.length }];
	});
	return {
		weights: units.flatMap(({ weights }) => weights),
		role: undefined,
		layer: first!.layer,
		elements: units.reduce((sum, { elements }) => sum + elements, 0),
		floatBytes: units.reduce((sum, { floatBytes }) => sum + floatBytes, 0),
		candidates,
	};
}

export function sameSetting(a: Setting, b: Setting): boolean {
	return JSON.stringify(a) === JSON.stringify(b);
}
