import type { Analysis, AnalyzedUnit } from "../../sensitivity/analysis.js";
import { axisStyle, Chart, type CustomApi, type Option, tooltipOf, tooltipStyle } from "./chart.js";
import { choice, element, section } from "./dom.js";
import { count, decibels, shortened } from "./format.js";
import { color } from "./theme.js";
import {
	CHANGES,
	changeOf,
	MEASURES,
	type Measure,
	measuresOf,
	Names,
	paintOf,
	type Selection,
	unitRows,
} from "./units.js";

type Order = "worst" | "graph";

const ROW = 22;
const [TOP, BOTTOM] = [8, 26];
/** Of the numbers along the axis. */
const NUMBERS = 20;
/** Bars end here: what is above is as good as exact, and the others must still differ. */
const LONGEST_DB = 60;
/** Rows that are seen at once. */
const VISIBLE = 24;

/** A bar for every unit: an overview of all of them and, below, as many as can be read. */
export function barsSection(analysis: Analysis, selection: Selection): HTMLElement | undefined {
	const measures = measuresOf(analysis);
	if (measures.length === 0) return undefined;
	const state: { measure: Measure; order: Order } = { measure: measures[0]![0], order: "worst" };
	const bars = new Bars(analysis, selection, () => state);
	const explained = element("p", { class: "note" });
	const show = () => {
		const [, name, what] = MEASURES.find(([measure]) => measure === state.measure)!;
		explained.textContent = `${name}: ${what}.`;
		bars.draw();
	};
	const controls = element("div", { class: "controls" });
	if (measures.length > 1) {
		controls.append(
			choice(
				"Measure",
				measures.map(([value, name]) => [value, name] as const),
				state.measure,
				(measure) => {
					state.measure = measure;
					show();
				},
			),
		);
	}
	controls.append(
		choice<Order>(
			"Order",
			[
				["worst", "Worst first"],
				["graph", "Graph order"],
			],
			state.order,
			(order) => {
				state.order = order;
				show();
			},
		),
	);
	const legend = element("ul", { class: "legend" });
	for (const [change, text] of CHANGES) {
		if (!analysis.units.some((unit) => changeOf(unit) === change)) continue;
		legend.append(element("li", { class: `change ${change}` }, text));
	}
	show();
	return section(
		"layers",
		"Layers",
		"The shorter the bar, the more precision is lost there. Click a layer for its weights and codes.",
		controls,
		explained,
		legend,
		...bars.places,
	);
}

class Bars {
	readonly #units: readonly AnalyzedUnit[];
	readonly #names: Names;
	readonly #selection: Selection;
	readonly #stateOf: () => { readonly measure: Measure; readonly order: Order };
	readonly #thresholdDb: number | undefined;
	readonly #overview: Chart;
	readonly #detail: Chart;
	readonly #range = element("p", { class: "note range" });
	#shown: readonly AnalyzedUnit[] = [];
	/** The first row that is seen. */
	#first = 0;

	constructor({ units, options }: Analysis, selection: Selection, stateOf: Bars["stateOf"]) {
		this.#units = units;
		this.#names = new Names(units);
		this.#selection = selection;
		this.#stateOf = stateOf;
		this.#thresholdDb = options.mode.kind === "threshold" ? options.mode.thresholdDb : undefined;
		this.#overview = new Chart(
			"All layers at a glance",
			() => 96,
			() => this.#overviewOption(),
		);
		this.#detail = new Chart(
			"Signal to noise of every layer",
			() => TOP + NUMBERS + BOTTOM + ROW * Math.min(VISIBLE, this.#units.length),
			(width) => this.#detailOption(width),
		);
		this.#overview.onClick((value) => this.#moveTo(Math.round(value) - VISIBLE / 2), "x");
		this.#detail.onClick((value) => selection.select(this.#shown[Math.round(value)]), "y");
		this.#detail.onZoom(() => this.#readWindow());
		selection.onChange((unit) => this.#reveal(unit));
	}

	get stateOf() {
		return this.#stateOf;
	}

	get places(): HTMLElement[] {
		if (this.#units.length <= VISIBLE) return [this.#detail.place];
		return [this.#overview.place, this.#range, this.#detail.place];
	}

	draw(): void {
		const { measure, order } = this.#stateOf();
		const value = (unit: AnalyzedUnit) => unit[measure] ?? Number.POSITIVE_INFINITY;
		this.#shown = order === "graph" ? this.#units : [...this.#units].sort((a, b) => compare(value(a), value(b)));
		this.#first = 0;
		this.#detail.draw();
		this.#drawWindow();
	}

	#drawWindow(): void {
		this.#overview.draw();
		const last = Math.min(this.#shown.length, this.#first + VISIBLE);
		this.#range.textContent = `${count(this.#first + 1)} to ${count(last)} of ${count(this.#shown.length)}; click above or drag the handle to see others`;
	}

	#moveTo(first: number): void {
		this.#first = Math.max(0, Math.min(this.#shown.length - VISIBLE, Math.round(first)));
		this.#detail.zoomTo(this.#first, this.#first + VISIBLE - 1);
	}

	#readWindow(): void {
		const first = this.#detail.zoomStart();
		if (first === undefined) return;
		this.#first = first;
		this.#drawWindow();
	}

	#reveal(unit: AnalyzedUnit | undefined): void {
		const row = unit === undefined ? -1 : this.#shown.indexOf(unit);
		if (row >= 0 && (row < this.#first || row >= this.#first + VISIBLE)) this.#first = Math.max(0, row - VISIBLE / 2);
		this.#first = Math.max(0, Math.min(this.#shown.length - VISIBLE, Math.round(this.#first)));
		this.#detail.draw();
		this.#drawWindow();
	}

	/** The end of the axis: of all that is not exact. */
	#most(): number {
		const { measure } = this.#stateOf();
		const values = this.#units.map((unit) => unit[measure]).filter((value) => value !== null && value < 200);
		return Math.min(LONGEST_DB, Math.ceil(Math.max(10, ...(values as number[])) / 10) * 10);
	}

	#dataOf(most: number) {
		const { measure } = this.#stateOf();
		return this.#shown.map((unit) => {
			const value = unit[measure];
			return {
				value: value === null ? 0 : Math.max(0, Math.min(value, most)),
				itemStyle: { color: paintOf(changeOf(unit)), opacity: this.#isFaint(unit) ? 0.55 : 1 },
			};
		});
	}

	#isFaint(unit: AnalyzedUnit): boolean {
		return this.#selection.unit !== undefined && this.#selection.unit !== unit;
	}

	#overviewOption(): Option {
		const most = this.#most();
		return {
			grid: { left: 4, right: 4, top: 6, bottom: 6 },
			xAxis: { type: "category", show: false, data: this.#shown.map((_, index) => index) },
			yAxis: { type: "value", show: false, max: most },
			series: [
				{
					type: "custom",
					cursor: "pointer",
					data: this.#dataOf(most).map(({ value, itemStyle }, index) => ({ value: [index, value], itemStyle })),
					renderItem: (_: unknown, api: CustomApi) => barAt(api, this.#shown.length),
					markArea: {
						silent: true,
						itemStyle: { color: color("muted"), opacity: 0.22 },
						data: [[{ xAxis: this.#first }, { xAxis: Math.min(this.#shown.length, this.#first + VISIBLE) - 1 }]],
					},
				},
			],
		};
	}

	#detailOption(width: number): Option {
		const most = this.#most();
		const { measure } = this.#stateOf();
		const isNarrow = width < 560;
		const characters = Math.floor(Math.min(width * (isNarrow ? 0.4 : 0.36), 380) / 6.9);
		const isLong = this.#shown.length > VISIBLE;
		return {
			grid: {
				left: 4,
				right: (isLong ? 30 : 4) + 38,
				top: TOP,
				bottom: BOTTOM,
				outerBoundsMode: "same",
				outerBoundsContain: "axisLabel",
			},
			tooltip: {
				...tooltipStyle(),
				trigger: "axis",
				axisPointer: { type: "shadow", shadowStyle: { color: color("muted"), opacity: 0.12 } },
				formatter: ([{ dataIndex }]: [{ dataIndex: number }]) => {
					const unit = this.#shown[dataIndex]!;
					return tooltipOf(unit.name, unitRows(unit));
				},
			},
			xAxis: {
				...axisStyle("SQNR, dB"),
				type: "value",
				min: 0,
				max: most,
				nameLocation: "middle",
				nameGap: 26,
			},
			yAxis: {
				...axisStyle(""),
				type: "category",
				inverse: true,
				axisTick: { show: false },
				data: this.#shown.map((unit) => this.#names.short(unit)),
				axisLabel: {
					color: color("ink"),
					fontSize: 12,
					interval: 0,
					formatter: (name: string) => shortened(name, characters),
				},
			},
			dataZoom: isLong
				? [
						{
							type: "slider",
							yAxisIndex: 0,
							right: 6,
							width: 16,
							startValue: this.#first,
							endValue: this.#first + VISIBLE - 1,
							zoomLock: true,
							brushSelect: false,
							showDetail: false,
							showDataShadow: false,
							borderColor: color("line"),
							fillerColor: color("line"),
							handleSize: 0,
							moveHandleSize: 0,
						},
					]
				: [],
			series: [
				{
					type: "bar",
					barMaxWidth: 15,
					itemStyle: { borderRadius: [0, 3, 3, 0] },
					cursor: "pointer",
					data: this.#dataOf(most),
					label: {
						show: true,
						position: "right",
						color: color("ink"),
						fontSize: 12,
						formatter: ({ dataIndex }: { dataIndex: number }) => {
							const unit = this.#shown[dataIndex]!;
							const value = unit[measure];
							const mark = { promoted: " ▲", demoted: " ▼", same: "" }[changeOf(unit)];
							return value === null ? "not measured" : `${decibels(value).replace(" dB", "")}${mark}`;
						},
					},
					...(this.#thresholdDb === undefined
						? {}
						: {
								markLine: {
									silent: true,
									symbol: "none",
									lineStyle: { color: color("ink"), type: "dashed" },
									label: { formatter: `${this.#thresholdDb} dB`, color: color("ink"), position: "start", distance: 2 },
									data: [{ xAxis: this.#thresholdDb }],
								},
							}),
				},
			],
		};
	}
}

/** A bar on whole pixels: thousands side by side would flicker otherwise. */
function barAt(api: CustomApi, total: number) {
	const [middle, top] = api.coord([api.value(0), api.value(1)]);
	const [, bottom] = api.coord([api.value(0), 0]);
	const width = api.size([1, 0])[0];
	const left = Math.floor(middle - width / 2);
	const right = Math.ceil(middle + width / 2);
	const gap = total > 200 ? 0 : Math.max(1, Math.round(width * 0.15));
	const shape = { x: left, y: top, width: right - left - gap, height: bottom - top };
	return { type: "rect", shape, style: { fill: api.visual("color"), opacity: api.visual("opacity") } };
}

function compare(a: number, b: number): number {
	return a === b ? 0 : a < b ? -1 : 1;
}
