import type { Analysis, AnalyzedUnit, UnitCandidate } from "../../sensitivity/analysis.js";
import { axisStyle, Chart, type Option, tooltipOf, tooltipStyle } from "./chart.js";
import { choice, element, section } from "./dom.js";
import { bytes, decibels, quantile, shortened } from "./format.js";
import { color, currentTheme, scaleColors } from "./theme.js";
import { Names, origin, type Selection, shortPrecision } from "./units.js";

type Measure = "isolatedSqnrDb" | "endToEndSqnrDb" | "weightSqnrDb";

const MEASURES: readonly (readonly [Measure, string])[] = [
	["isolatedSqnrDb", "Own output"],
	["endToEndSqnrDb", "Model's outputs"],
	["weightSqnrDb", "Weights"],
];

/** Units, in graph order, against what each could become. */
export function heatMapSection({ units, candidates }: Analysis, selection: Selection): HTMLElement | undefined {
	const rows = [...candidates, ...otherNames(units, candidates)];
	const measures = MEASURES.filter(([measure]) =>
		units.some((unit) => unit.candidates.some((candidate) => candidate[measure] !== null)),
	);
	if (rows.length === 0 || measures.length === 0) return undefined;
	let measure = measures[0]![0];
	const names = new Names(units);
	const chart = new Chart(
		"Signal to noise of every layer at every precision",
		(width) => TOP + rows.length * 34 + labelsOf(units, width) + bottomOf(units, width),
		(width) => optionOf(units, rows, measure, names, width, selection),
	);
	chart.onClick((value) => selection.select(units[Math.round(value)]), "x");
	selection.onChange(() => chart.draw());
	const controls = element("div", { class: "controls" });
	if (measures.length > 1) {
		controls.append(
			choice("Where the noise is measured", measures, measure, (value) => {
				measure = value;
				chart.draw();
			}),
		);
	}
	return section(
		"precisions",
		"Every layer at every precision",
		"Layers in graph order from left to right, a row for each precision. Dots mark what is suggested; where layers are crowded, promotions only. Click a layer.",
		controls,
		chart.place,
	);
}

/** Precisions that only some units have, such as those of tables. */
function otherNames(units: readonly AnalyzedUnit[], candidates: readonly string[]): string[] {
	const names = new Set(units.flatMap((unit) => unit.candidates.map(({ name }) => name)));
	return [...names].filter((name) => !candidates.includes(name));
}

/** Names of so few units that they can be read stand below the chart. */
function hasNames(units: readonly AnalyzedUnit[], width: number): boolean {
	return (width - 130) / units.length >= 22;
}

function labelsOf(units: readonly AnalyzedUnit[], width: number): number {
	return hasNames(units, width) ? 118 : 22;
}

/** Room for the scale of colours, and for the name of the axis. */
function bottomOf(units: readonly AnalyzedUnit[], width: number): number {
	return hasNames(units, width) ? 44 : 66;
}

const TOP = 8;

/** The colours span no more than this: where a few layers are nearly exact, the others must still differ. */
const MOST_SPAN_DB = 40;

function optionOf(
	units: readonly AnalyzedUnit[],
	rows: readonly string[],
	measure: Measure,
	names: Names,
	width: number,
	selection: Selection,
): Option {
	const cells = units.flatMap((unit, x) =>
		unit.candidates.flatMap((candidate) => {
			const value = candidate[measure];
			return value === null ? [] : [{ x, y: rows.indexOf(candidate.name), value, unit, candidate }];
		}),
	);
	const finite = cells
		.map(({ value }) => value)
		.filter((value) => value < 200)
		.sort((a, b) => a - b);
	const low = Math.floor(quantile(finite, 0.01));
	const high = Math.max(low + 1, Math.min(Math.ceil(quantile(finite, 0.98)), low + MOST_SPAN_DB));
	const cellWidth = (width - 130) / units.length;
	const isNamed = hasNames(units, width);
	const hasNumbers = cellWidth >= 34;
	const isCrowded = cellWidth < 6;
	const suggested = cells.filter(
		({ unit, candidate }) =>
			unit.suggestion?.name === candidate.name && (!isCrowded || unit.suggestion.change === "promoted"),
	);
	return {
		grid: {
			left: 4,
			right: 12,
			top: TOP,
			bottom: bottomOf(units, width),
			outerBoundsMode: "same",
			outerBoundsContain: "axisLabel",
		},
		tooltip: {
			...tooltipStyle(),
			formatter: ({ data }: { data: { cell: { unit: AnalyzedUnit; candidate: UnitCandidate } } }) =>
				tooltipOf(data.cell.unit.name, rowsOf(data.cell.unit, data.cell.candidate)),
		},
		xAxis: {
			...axisStyle(isNamed ? "" : "layer, in graph order"),
			type: "category",
			nameLocation: "middle",
			nameGap: 26,
			data: units.map((_, index) => index),
			splitLine: { show: false },
			axisTick: { show: false },
			axisLabel: {
				color: color("muted"),
				fontSize: 12,
				rotate: isNamed ? 55 : 0,
				hideOverlap: true,
				interval: isNamed ? 0 : (index: number) => isStart(units, index),
				formatter: (_: string, index: number) =>
					isNamed ? shortened(names.short(units[index]!), 22) : String(units[index]!.layer ?? index + 1),
			},
		},
		yAxis: {
			...axisStyle(""),
			type: "category",
			data: rows,
			axisTick: { show: false },
			splitLine: { show: false },
			axisLabel: {
				color: color("ink"),
				fontSize: 12,
				interval: 0,
				formatter: (name: string) => (width < 560 ? shortPrecision(name) : shortened(name, 24)),
			},
		},
		visualMap: {
			type: "continuous",
			min: low,
			max: high,
			calculable: false,
			orient: "horizontal",
			left: "center",
			bottom: 0,
			itemWidth: 12,
			itemHeight: Math.min(220, width * 0.45),
			precision: 0,
			text: [`${high} dB and more`, `${low} dB`],
			textStyle: { color: color("muted"), fontSize: 12 },
			inRange: { color: scaleColors() },
			dimension: 2,
			seriesIndex: 0,
		},
		series: [
			{
				type: "heatmap",
				progressive: 0,
				cursor: "pointer",
				data: cells.map((cell) => ({
					value: [cell.x, cell.y, cell.value],
					cell,
					label: { color: textColor(cell.value, low, high) },
				})),
				itemStyle: { borderColor: color("card"), borderWidth: cellWidth > 6 ? 1 : 0 },
				emphasis: { itemStyle: { borderColor: color("ink"), borderWidth: 2 } },
				label: {
					show: hasNumbers,
					fontSize: 11,
					formatter: ({ value }: { value: [number, number, number] }) => numberIn(value[2]),
				},
			},
			{
				type: "scatter",
				silent: true,
				symbol: "circle",
				symbolSize: Math.max(3, Math.min(7, cellWidth * 0.6)),
				symbolOffset: hasNumbers ? [0, 11] : [0, 0],
				itemStyle: { color: color("ink"), borderColor: color("card"), borderWidth: cellWidth > 8 ? 1 : 0 },
				data: suggested.map(({ x, y }) => [x, y]),
				...selectedLine(units, selection),
			},
		],
	};
}

function selectedLine(units: readonly AnalyzedUnit[], { unit }: Selection): Option {
	if (unit === undefined) return {};
	return {
		markLine: {
			silent: true,
			symbol: "none",
			label: { show: false },
			lineStyle: { color: color("ink"), width: 2, type: "solid" },
			data: [{ xAxis: units.indexOf(unit) }],
		},
	};
}

/** Where a new layer begins; of models without layers, every tenth unit. */
function isStart(units: readonly AnalyzedUnit[], index: number): boolean {
	if (units.every(({ layer }) => layer === null)) return index % 10 === 0;
	const { layer } = units[index]!;
	return layer !== null && layer !== units[index - 1]?.layer;
}

function rowsOf(unit: AnalyzedUnit, candidate: UnitCandidate): (readonly [string, string])[] {
	const from = origin(candidate);
	return [
		["precision", candidate.name],
		...(unit.elements === 0 ? [] : [["bytes", bytes(candidate.bytes)] as const]),
		["weights", decibels(candidate.weightSqnrDb)],
		["own output", decibels(candidate.isolatedSqnrDb)],
		[from === "" ? "model's outputs" : `model's outputs, ${from}`, decibels(candidate.endToEndSqnrDb)],
		...(unit.suggestion?.name === candidate.name ? [["suggested", "this"] as const] : []),
	];
}

function numberIn(value: number): string {
	return value >= 200 ? "=" : value.toFixed(0).replace("-", "−");
}

/** Readable on the colour of a value: the ends of the scale are dark in the light theme and light in the dark one. */
function textColor(value: number, low: number, high: number): string {
	const at = (value - low) / (high - low);
	const isEnd = at < 0.14 || at > 0.86;
	if (currentTheme() === "light") return isEnd ? "#ffffff" : "#1b1f24";
	return isEnd ? "#14181d" : "#ffffff";
}
