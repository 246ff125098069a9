import type { Model } from "../../ir/model.js";
import { PRECISION_FACTS } from "../../recipe/precision.js";
import type { WeightObserver } from "../infra/pass.js";
import { gptqInputs } from "./gptq-inputs.js";
import { MomentsFolder } from "./input-statistics.js";
import type { RecipeGroup } from "./recipe-groups.js";

/** Weights that are quantized together, before others that read what they compute. */
export interface WeightRound {
	readonly groups: readonly RecipeGroup[];
	/** Second moments of their inputs as the weights before them make these; undefined where nobody looks. */
	observe(): Promise<MomentsFolder | undefined>;
}

/**
 * Sorts weights into the rounds of an observer; without one there is a single round. Codes of 4 bits are worth a look at
 * inputs in between: those of 8 bits leave next to nothing to make good, and have the moments of a folder, if there is one.
 *
 * @param hessian folder of moments, or nothing.
 */
export async function weightRounds(
	model: Model,
	groups: readonly RecipeGroup[],
	observer: WeightObserver | undefined,
	hessian: string,
): Promise<readonly WeightRound[]> {
	if (observer === undefined || !groups.some(hasFewBits)) return [{ groups, observe: async () => undefined }];
	const isInMain = ({ weight }: RecipeGroup) => weight.constant.value.graph === model.graph;
	const isObserved = (group: RecipeGroup) => isForGptq(group) && (hessian === "" || hasFewBits(group));
	const weights = new Map<string, { isObserved: boolean }>();
	for (const group of groups.filter(isInMain)) {
		const { name } = group.weight.constant.value;
		weights.set(name, { isObserved: isObserved(group) || weights.get(name)?.isObserved === true });
	}
	const planned = await observer.plan(model, weights);
	const rounds = planned.map((names) => {
		const wanted = new Set(names);
		return groups.filter((group) => isInMain(group) && wanted.has(group.weight.constant.value.name));
	});
	const others = groups.filter((group) => !isInMain(group));
	return [
		...rounds.map((found) => ({ groups: found, observe: async () => new MomentsFolder(await observer.observe()) })),
		{ groups: others, observe: async () => undefined },
	];
}

function hasFewBits({ setting }: RecipeGroup): boolean {
	return PRECISION_FACTS[setting.precision].weightBits === 4;
}

function isForGptq({ weight, setting }: RecipeGroup): boolean {
	const { weightBits, isBlock } = PRECISION_FACTS[setting.precision];
	const [site] = weight.sites;
	return (weightBits === 4 || weightBits === 8) && site !== undefined && gptqInputs(site, isBlock) !== undefined;
}
