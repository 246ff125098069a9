import type { MomentInput } from "./moment-inputs.js";
import { momentBytes, triangleSize } from "./moment-sum.js";
import type { DerivedValue } from "./sample-runner.js";
import type { WatchedValue, WeightInput } from "./watched-values.js";

/** One round over all samples. */
export interface Stage {
	/** Is it the first round? What it saw is kept when the work is interrupted. */
	readonly isFirst: boolean;
	readonly values: readonly WatchedValue[];
	/** Inputs of weights whose squares are summed up. */
	readonly squares: readonly WeightInput[];
	/** Inputs of weights whose second moments are summed up. */
	readonly moments: readonly MomentInput[];
}

export interface StageOptions {
	readonly values: readonly WatchedValue[];
	/** Of which mean squares are wanted. */
	readonly squares: readonly WeightInput[];
	/** Of which second moments are wanted. */
	readonly moments: readonly MomentInput[];
	readonly histograms: boolean;
	/** Bytes that one round may take. */
	readonly memory: number;
	readonly runners: number;
	/** Samples that a runner takes at once. */
	readonly batch: number;
	/** What was seen before comes from a state, which has no moments. */
	readonly isResumed: boolean;
}

/** Divides the work into rounds that fit into memory. What takes much is put off to later ones. */
export function planStages(options: StageOptions): Stage[] {
	const { values, squares, moments, histograms, memory, runners, batch, isResumed } = options;
	const valueGroups = histograms
		? grouped(values, ({ bytes, step }) => (bytes / step) * runners * batch, memory / 2)
		: [[...values]];
	// what each runner has, and the sum of all of them
	const costOf = ({ depth, groups }: MomentInput) =>
		momentBytes(depth, groups) * runners + groups * triangleSize(depth) * 8;
	const momentGroups = grouped(moments, costOf, memory / 2);
	if (isResumed && moments.length > 0) momentGroups.unshift([]);
	const rounds = Math.max(valueGroups.length, momentGroups.length, 1);
	return Array.from({ length: rounds }, (_, round) => ({
		isFirst: round === 0,
		values: valueGroups[round] ?? [],
		squares: round === 0 ? squares : [],
		moments: momentGroups[round] ?? [],
	}));
}

/** Divides values into those that have to be looked at and those whose ranges follow from the others. */
export function divideRanges(values: readonly WatchedValue[]): { ranges: WatchedValue[]; derived: DerivedValue[] } {
	const [ranges, derived]: [WatchedValue[], DerivedValue[]] = [[], []];
	const known = new Set<string>();
	for (const watched of values) {
		const { name } = watched.value;
		const { derivation } = watched;
		if (derivation !== undefined && known.has(derivation.source)) derived.push({ name, ...derivation });
		else ranges.push(watched);
		known.add(name);
	}
	return { ranges, derived };
}

/** Cuts a list into groups of no more than `limit`; what exceeds it alone is a group of its own. */
function grouped<T>(items: readonly T[], costOf: (item: T) => number, limit: number): T[][] {
	const groups: T[][] = [];
	let cost = Number.POSITIVE_INFINITY;
	for (const item of items) {
		cost += costOf(item);
		if (cost > limit) {
			groups.push([]);
			cost = costOf(item);
		}
		groups.at(-1)!.push(item);
	}
	return groups;
}
