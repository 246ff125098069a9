import type { Analysis, ParetoEntry } from "../../sensitivity/analysis.js";
import { axisStyle, Chart, type Option, type PixelOf, tooltipOf, tooltipStyle } from "./chart.js";
import { element, section } from "./dom.js";
import { byChance, bytes, byteUnit, counted, decibels, decimal } from "./format.js";
import { type Box, LabelPlaces, type PlacedLabel } from "./label-places.js";
import { color } from "./theme.js";
import { shortPrecision } from "./units.js";

const KINDS = {
	plan: { name: "best of its size", symbol: "circle", paint: "blue" },
	single: { name: "one precision", symbol: "diamond", paint: "amber" },
	greedy: { name: "worst first", symbol: "triangle", paint: "purple" },
	base: { name: "base recipe", symbol: "rect", paint: "green" },
} as const;

/** Of marks, in pixels. */
const SIZES: Readonly<Record<ParetoEntry["kind"], number>> = { plan: 9, single: 12, greedy: 12, base: 18 };

const CHOSEN_SIZE = 24;

/** Size against error of everything that was tried. */
export function paretoSection({ points, model, options }: Analysis): HTMLElement | undefined {
	const shown = points.filter((point) => figureOf(point) !== null);
	if (shown.length === 0) return undefined;
	const unit = byteUnit(Math.max(...shown.map((point) => point.bytes)));
	const chart = new Chart(
		"Size of the model against its signal to noise",
		(width) => (width < 560 ? 340 : 400),
		(width, pixelOf) => optionOf(shown, unit, width, pixelOf),
	);
	const what =
		options.heldOut > 0
			? `Filled marks are measured on ${counted(options.heldOut, "sample")} held out, hollow ones predicted from ${options.samples} others; ± is how far the two are apart by chance (standard error).`
			: "All figures are predicted.";
	return section(
		"pareto",
		"Size against error",
		`Further up is more exact, further left is smaller; the float model takes ${bytes(model.bytes)}. ${what}`,
		chart.place,
		element(
			"p",
			{ class: "note" },
			"SQNR is signal to quantization noise at the model's outputs: 6 dB more is half the error.",
		),
	);
}

function figureOf({ measuredSqnrDb, predictedSqnrDb }: ParetoEntry): number | null {
	return measuredSqnrDb ?? predictedSqnrDb;
}

function positionOf(point: ParetoEntry, size: number): readonly [number, number] {
	return [point.bytes / size, figureOf(point)!];
}

function markOf({ kind, isChosen }: ParetoEntry, [x, y]: readonly [number, number]): Box {
	const size = isChosen ? CHOSEN_SIZE : SIZES[kind];
	return { x: x - size / 2, y: y - size / 2, width: size, height: size };
}

function optionOf(
	points: readonly ParetoEntry[],
	unit: { readonly name: string; readonly size: number },
	width: number,
	pixelOf: PixelOf,
): Option {
	const isNarrow = width < 560;
	const places = new LabelPlaces(() => points.map((point) => markOf(point, pixelOf(positionOf(point, unit.size)))));
	const series = Object.entries(KINDS).flatMap(([kind, { name, symbol, paint }]) => {
		const own = points.filter((point) => point.kind === kind);
		if (own.length === 0) return [];
		return [
			{
				type: kind === "plan" || kind === "greedy" ? "line" : "scatter",
				name,
				symbol,
				symbolSize: SIZES[kind as ParetoEntry["kind"]],
				lineStyle: { color: color(paint), width: 2, type: kind === "greedy" ? "dashed" : "solid" },
				itemStyle: { color: color(paint), opacity: 1 },
				z: kind === "plan" ? 3 : 4,
				data: own.map((point) => dataOf(point, unit.size, color(paint))),
				labelLayout: (label: PlacedLabel) => places.shiftOf(label),
				label: {
					show: kind === "single",
					position: "right",
					color: color("ink"),
					fontSize: 12,
					formatter: ({ dataIndex }: { dataIndex: number }) => shortPrecision(own[dataIndex]!.label),
				},
			},
		];
	});
	const chosen = points.find(({ isChosen }) => isChosen);
	return {
		grid: {
			left: 8,
			right: isNarrow ? 24 : 60,
			top: 56,
			bottom: 44,
			outerBoundsMode: "same",
			outerBoundsContain: "axisLabel",
		},
		legend: {
			type: isNarrow ? "scroll" : "plain",
			itemWidth: 16,
			itemHeight: 12,
			top: 0,
			left: 0,
			itemGap: 16,
			data: [...(chosen === undefined ? [] : [CHOSEN]), ...series.map(({ name }) => name)],
			textStyle: { color: color("ink"), fontSize: 13 },
			formatter: (name: string) =>
				name === CHOSEN && chosen !== undefined
					? `chosen: ${bytes(chosen.bytes)}, ${decibels(figureOf(chosen))}`
					: name,
			pageTextStyle: { color: color("muted") },
			pageIconColor: color("blue"),
			pageIconInactiveColor: color("line"),
		},
		tooltip: {
			...tooltipStyle(),
			trigger: "item",
			formatter: ({ data }: { data: { point: ParetoEntry } }) => tooltipFor(data.point),
		},
		xAxis: {
			...axisStyle(`size of the model, ${unit.name}`),
			type: "value",
			scale: true,
			nameLocation: "middle",
			nameGap: 28,
		},
		yAxis: {
			...axisStyle("SQNR, dB"),
			type: "value",
			scale: true,
			nameTextStyle: { color: color("muted"), align: "left" },
		},
		series: [
			...series,
			...(chosen === undefined
				? []
				: [
						{
							type: "scatter",
							name: CHOSEN,
							symbol: STAR,
							symbolSize: CHOSEN_SIZE,
							z: 10,
							itemStyle: { color: color("orange"), borderColor: color("card"), borderWidth: 2, opacity: 1 },
							data: [{ value: positionOf(chosen, unit.size), point: chosen }],
							markLine: {
								silent: true,
								// digits: two would move the lines beside the star
								precision: 12,
								symbol: "none",
								lineStyle: { color: color("orange"), type: "dotted", width: 1.5 },
								label: { show: false },
								data: [{ xAxis: chosen.bytes / unit.size }, { yAxis: figureOf(chosen) }],
							},
						},
					]),
		],
	};
}

const CHOSEN = "chosen";

/** A star of five points. */
const STAR = "path://M50 2 62 37 99 38 70 60 80 96 50 75 20 96 30 60 1 38 38 37Z";

function dataOf(point: ParetoEntry, size: number, paint: string) {
	const isMeasured = point.measuredSqnrDb !== null;
	if (point.kind === "base") {
		return {
			value: positionOf(point, size),
			point,
			itemStyle: { color: "transparent", borderColor: paint, borderWidth: 2 },
		};
	}
	return {
		value: positionOf(point, size),
		point,
		itemStyle: { color: isMeasured ? paint : color("card"), borderColor: paint, borderWidth: 2 },
	};
}

function tooltipFor(point: ParetoEntry): HTMLElement {
	return tooltipOf(point.label, [
		["size", bytes(point.bytes)],
		["bits a weight", decimal(point.bitsPerWeight, 2)],
		["predicted", decibels(point.predictedSqnrDb)],
		["measured", `${decibels(point.measuredSqnrDb)}${byChance(point.chanceDb)}`],
	]);
}
