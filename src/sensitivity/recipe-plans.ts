import type { ParetoEntry } from "./analysis.js";
import { type ChosenCandidates, GREEDY_ORDERS, type PrecisionChoice } from "./choose-precisions.js";
import { candidateName } from "./find-sensitivity-units.js";
import type { CandidateNoise } from "./isolated-noise.js";

/** A choice of precisions to be compared with others. */
export interface Plan {
	readonly kind: ParetoEntry["kind"];
	readonly label: string;
	readonly chosen: ChosenCandidates;
}

/** Points of the trade between size and noise. */
const PLAN_POINTS = 9;

/** The base recipe, and all weights at one precision. */
export function singlePlans(
	choice: PrecisionChoice,
	baseName: string,
	ownOf: (unit: string) => CandidateNoise,
): Plan[] {
	const base = new Map(choice.units.map(({ known: { unit } }) => [unit.name, ownOf(unit.name)] as const));
	const names = choice.units.flatMap(({ known }) => known.candidates.map(({ setting }) => candidateName(setting)));
	return [
		{ kind: "base", label: baseName, chosen: base },
		...[...new Set(names)].map((label): Plan => {
			const chosen = choice.single(({ setting }) => candidateName(setting) === label);
			return { kind: "single", label, chosen };
		}),
	];
}

/** The best choices of several sizes as predicted, what greedy orders make of the bytes of `chosen`, and `chosen`. */
export function sizedPlans(choice: PrecisionChoice, chosen: ChosenCandidates): Plan[] {
	const [least, most] = [choice.bytesOf(choice.smallest()), choice.bytesOf(choice.mostExact())];
	const plan = (kind: "plan" | "greedy", word: string, of: ChosenCandidates): Plan => ({
		kind,
		label: `${word} ${((8 * choice.bytesOf(of)) / choice.elements).toFixed(2)} bits a weight`,
		chosen: of,
	});
	const sizes = Array.from({ length: PLAN_POINTS }, (_, index) => least + (index / (PLAN_POINTS - 1)) * (most - least));
	const bytes = choice.bytesOf(chosen);
	return [
		...sizes.flatMap((size) => choice.within(size) ?? []).map((planned) => plan("plan", "plan", planned)),
		...Object.entries(GREEDY_ORDERS).map(([name, order]) => plan("greedy", `${name},`, choice.greedy(bytes, order))),
		plan("plan", "suggested,", chosen),
	];
}
