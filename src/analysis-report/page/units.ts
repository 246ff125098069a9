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

/** Weights that exporters only number say less than their operators: `onnx::MatMul_862`, `/encoder/layer.5/output/dense/MatMul`. */
function tellingName({ name, nodes }: AnalyzedUnit): string {
	const [operator] = nodes;
	return /^onnx::\w+_\d+$/.test(name) && operator !== undefined
		? operator.replace(/(?<=.)\/(MatMul|Gemm|Conv)$/, "")
		: name;
}

/** Names for charts: without what those of all layers begin with, and without `.weight` at the end. */
export class Names {
	readonly #starts: readonly string[];

	constructor(units: readonly AnalyzedUnit[]) {
		// products are named by their operators, which other names are seldom like
		const groups = [true, false].map((hasWeights) =>
			units.filter(({ layer, elements }) => layer !== null && elements > 0 === hasWeights),
		);
		this.#starts = groups.map((group) => commonStart(group.map(tellingName))).filter((start) => start !== "");
	}

	short(unit: AnalyzedUnit): string {
		const name = tellingName(unit);
		const start = this.#starts.find((other) => name.startsWith(other)) ?? "";
		return name.slice(start.length).replace(/(?<=.)\.(weight)?$/, "");
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

/** Where there is little room: `16a4w_block:32` -> `4w:32`; activations are of 16 bits where nothing else is said. */
export function shortPrecision(name: string): string {
	return name.replace(/^16a/, "").replace("_block", "");
}
