import type { Analysis, AnalyzedUnit, UnitCandidate } from "../../sensitivity/analysis.js";
import { commonStart, decibels } from "./format.js";
import { color } from "./theme.js";

/** SQNRs that units have. */
export type Measure = "isolatedSqnrDb" | "cumulativeSqnrDb" | "endToEndSqnrDb";

export const MEASURES: readonly (readonly [Measure, string, string])[] = [
	["isolatedSqnrDb", "Isolated", "it alone quantized, at its own output"],
	["cumulativeSqnrDb", "Cumulative", "everything quantized, at its own output"],
	["endToEndSqnrDb", "End to end", "it alone quantized, at the model's outputs"],
];

/** The measures that some unit has. */
export function measuresOf({ units }: Analysis): (readonly [Measure, string, string])[] {
	return MEASURES.filter(([measure]) => units.some((unit) => unit[measure] !== null));
}

export type Change = "promoted" | "demoted" | "same";

export const CHANGES: readonly (readonly [Change, string])[] = [
	["promoted", "needs more bits"],
	["demoted", "can do with fewer"],
	["same", "as the base recipe says"],
];

export function changeOf({ suggestion }: AnalyzedUnit): Change {
	return suggestion?.change ?? "same";
}

export function paintOf(change: Change): string {
	return color(({ promoted: "orange", demoted: "green", same: "blue" } as const)[change]);
}

/** Names without what all have in common. */
export class Names {
	readonly #start: number;

	constructor(units: readonly AnalyzedUnit[]) {
		this.#start = commonStart(units.map(({ name }) => name)).length;
	}

	short({ name }: AnalyzedUnit): string {
		return name.slice(this.#start);
	}
}

/** The unit that is looked at. */
export class Selection {
	readonly #listeners: ((unit: AnalyzedUnit | undefined) => void)[] = [];
	#unit: AnalyzedUnit | undefined;

	get unit(): AnalyzedUnit | undefined {
		return this.#unit;
	}

	select(unit: AnalyzedUnit | undefined): void {
		this.#unit = unit;
		for (const listener of this.#listeners) listener(unit);
	}

	onChange(listener: (unit: AnalyzedUnit | undefined) => void): void {
		this.#listeners.push(listener);
	}
}

/** Rows for a tooltip about a unit. */
export function unitRows(unit: AnalyzedUnit): (readonly [string, string])[] {
	return [
		["base", unit.base ?? "kept"],
		...MEASURES.filter(([measure]) => unit[measure] !== null).map(
			([measure, name]) => [name.toLowerCase(), decibels(unit[measure])] as const,
		),
		...(unit.suggestion === null ? [] : [["suggested", unit.suggestion.name] as const]),
	];
}

/** What end-to-end figures rest on. */
export function origin({
	endToEndMeasured,
	endToEndSqnrDb,
}: Pick<UnitCandidate, "endToEndMeasured" | "endToEndSqnrDb">): string {
	if (endToEndSqnrDb === null) return "";
	return endToEndMeasured ? "measured" : "predicted";
}
