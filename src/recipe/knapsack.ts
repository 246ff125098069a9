/*
 * The multiple-choice knapsack: of every unit one candidate, so that the costs add up to no more than a budget and the
 * losses to as little as possible. Exact, by dynamic programming over the units: a partial choice is dropped when another
 * costs and loses no more, or when it cannot end below the best choice known. How far it can get is bounded by the
 * relaxation in which candidates may be mixed: the steps along the units' convex hulls, the most gainful first (Sinha and
 * Zoltners 1979).
 */

/** Something that a unit may become. */
export interface Choice {
	/** 0 or more. */
	readonly cost: number;
	/** 0 or more; what is added up and made least. */
	readonly loss: number;
}

export interface KnapsackSolution {
	/** Index of the candidate of each unit. */
	readonly chosen: readonly number[];
	readonly cost: number;
	readonly loss: number;
	/** No choice within the budget loses less than this; equal to `loss` where the solution is proved best. */
	readonly bound: number;
}

/** Partial choices that are kept at a time; beyond it the solution is good but may not be proved best. */
const MAX_STATES = 100_000;

interface State {
	readonly cost: number;
	readonly loss: number;
	readonly choice: number;
	readonly before: State | undefined;
}

/**
 * Solves the knapsack.
 *
 * @param units candidates of each unit, one or more.
 * @returns undefined where even the cheapest candidates cost more than the budget.
 */
export function solveKnapsack(units: readonly (readonly Choice[])[], budget: number): KnapsackSolution | undefined {
	const relaxation = new Relaxation(units);
	if (relaxation.leastCost(0) > budget) return undefined;
	let best = relaxation.greedy(budget);
	let dropped = Number.POSITIVE_INFINITY;
	let states: State[] = [{ cost: 0, loss: 0, choice: -1, before: undefined }];
	units.forEach((candidates, unit) => {
		const next: State[] = [];
		for (const before of states) {
			candidates.forEach((candidate, choice) => {
				const cost = before.cost + candidate.cost;
				const loss = before.loss + candidate.loss;
				if (loss + relaxation.leastLoss(unit + 1, budget - cost) < best.loss) next.push({ cost, loss, choice, before });
			});
		}
		states = undominated(next);
		if (states.length <= MAX_STATES) return;
		const bounds = states.map(({ loss, cost }) => loss + relaxation.leastLoss(unit + 1, budget - cost));
		const order = [...states.keys()].sort((a, b) => bounds[a]! - bounds[b]!);
		dropped = Math.min(dropped, bounds[order[MAX_STATES]!]!);
		states = order.slice(0, MAX_STATES).map((at) => states[at]!);
	});
	for (const state of states) if (state.loss < best.loss) best = { ...state, chosen: choicesOf(state) };
	return { chosen: best.chosen, cost: best.cost, loss: best.loss, bound: Math.min(best.loss, dropped) };
}

/** States of which no other costs no more and loses no more, by rising cost. */
function undominated(states: readonly State[]): State[] {
	const sorted = [...states].sort((a, b) => a.cost - b.cost || a.loss - b.loss);
	const kept: State[] = [];
	for (const state of sorted) if (kept.length === 0 || state.loss < kept.at(-1)!.loss) kept.push(state);
	return kept;
}

function choicesOf(state: State): number[] {
	const chosen: number[] = [];
	for (let at: State | undefined = state; at?.before !== undefined; at = at.before) chosen.push(at.choice);
	return chosen.reverse();
}

/** A step along the hull of a unit: to a candidate that costs more and loses less. */
interface Step {
	readonly unit: number;
	readonly choice: number;
	readonly cost: number;
	readonly gain: number;
}

/** The units from some on: what their cheapest candidates cost and lose, and sums over their steps, most gainful first. */
interface Suffix {
	readonly cost: number;
	readonly loss: number;
	readonly costs: Float64Array;
	readonly gains: Float64Array;
}

class Relaxation {
	readonly #hulls: readonly (readonly { readonly choice: number; readonly cost: number; readonly loss: number }[])[];
	readonly #suffixes: Suffix[] = [];
	readonly #steps: readonly Step[];

	constructor(units: readonly (readonly Choice[])[]) {
		this.#hulls = units.map(hullOf);
		let steps: Step[] = [];
		let [cost, loss] = [0, 0];
		const suffix = (): Suffix => {
			const costs = new Float64Array(steps.length + 1);
			const gains = new Float64Array(steps.length + 1);
			steps.forEach((step, index) => {
				costs[index + 1] = costs[index]! + step.cost;
				gains[index + 1] = gains[index]! + step.gain;
			});
			return { cost, loss, costs, gains };
		};
		this.#suffixes.push(suffix());
		for (let unit = units.length - 1; unit >= 0; unit--) {
			const hull = this.#hulls[unit]!;
			cost += hull[0]!.cost;
			loss += hull[0]!.loss;
			const own = hull.slice(1).map((candidate, index) => ({
				unit,
				choice: candidate.choice,
				cost: candidate.cost - hull[index]!.cost,
				gain: hull[index]!.loss - candidate.loss,
			}));
			steps = [...own, ...steps].sort((a, b) => b.gain / b.cost - a.gain / a.cost);
			this.#suffixes.unshift(suffix());
		}
		this.#steps = steps;
	}

	/** What the units from `unit` on cost at least. */
	leastCost(unit: number): number {
		return this.#suffixes[unit]!.cost;
	}

	/** What the units from `unit` on lose at least within a budget, if candidates could be mixed; infinite where none fit. */
	leastLoss(unit: number, budget: number): number {
		const { cost, loss, costs, gains } = this.#suffixes[unit]!;
		const left = budget - cost;
		if (left < 0) return Number.POSITIVE_INFINITY;
		let [low, high] = [0, costs.length - 1];
		while (low < high) {
			const middle = (low + high + 1) >> 1;
			if (costs[middle]! <= left) low = middle;
			else high = middle - 1;
		}
		if (low === costs.length - 1) return loss - gains[low]!;
		const share = (left - costs[low]!) / (costs[low + 1]! - costs[low]!);
		return loss - gains[low]! - share * (gains[low + 1]! - gains[low]!);
	}

	/** The choice that takes the steps that fit, the most gainful first. */
	greedy(budget: number): { chosen: number[]; cost: number; loss: number } {
		const chosen = this.#hulls.map((hull) => hull[0]!.choice);
		let { cost, loss } = this.#suffixes[0]!;
		const stuck = new Set<number>();
		for (const step of this.#steps) {
			if (stuck.has(step.unit)) continue;
			if (cost + step.cost > budget) {
				stuck.add(step.unit);
				continue;
			}
			cost += step.cost;
			loss -= step.gain;
			chosen[step.unit] = step.choice;
		}
		return { chosen, cost, loss };
	}
}

/** The lower convex hull of a unit's candidates, by rising cost and falling loss. */
function hullOf(candidates: readonly Choice[]): { choice: number; cost: number; loss: number }[] {
	const sorted = candidates
		.map(({ cost, loss }, choice) => ({ choice, cost, loss }))
		.sort((a, b) => a.cost - b.cost || a.loss - b.loss);
	const hull: typeof sorted = [];
	for (const candidate of sorted) {
		if (hull.length > 0 && candidate.loss >= hull.at(-1)!.loss) continue;
		while (hull.length > 1 && isAbove(hull.at(-2)!, hull.at(-1)!, candidate)) hull.pop();
		hull.push(candidate);
	}
	return hull;
}

/** Does b lie on or above the line from a to c? */
function isAbove(a: Choice, b: Choice, c: Choice): boolean {
	return (a.loss - b.loss) * (c.cost - a.cost) <= (a.loss - c.loss) * (b.cost - a.cost);
}
