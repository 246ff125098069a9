import { BarChart, CustomChart, HeatmapChart, LineChart, ScatterChart } from "echarts/charts";
import {
	DataZoomComponent,
	GridComponent,
	LegendComponent,
	MarkAreaComponent,
	MarkLineComponent,
	TooltipComponent,
	VisualMapComponent,
} from "echarts/components";
import { type EChartsCoreOption, type EChartsType, init, use } from "echarts/core";
import { LabelLayout } from "echarts/features";
import { CanvasRenderer } from "echarts/renderers";
import { element } from "./dom.js";
import { color, fontOf, onThemeChange } from "./theme.js";

use([
	BarChart,
	CustomChart,
	HeatmapChart,
	LineChart,
	ScatterChart,
	DataZoomComponent,
	GridComponent,
	LegendComponent,
	MarkAreaComponent,
	MarkLineComponent,
	TooltipComponent,
	VisualMapComponent,
	LabelLayout,
	CanvasRenderer,
]);

export type Option = EChartsCoreOption;

/** What is used of what the library hands to a custom series. */
export interface CustomApi {
	value(dimension: number): number;
	coord(point: readonly [number, number]): [number, number];
	size(extent: readonly [number, number]): [number, number];
	visual(name: "color" | "opacity"): string | number;
}

/** Where a point of the axes is drawn; known once the chart is laid out. */
export type PixelOf = (point: readonly [number, number]) => readonly [number, number];

/** A chart that fits its place, and is drawn anew when its width or the theme changes. */
export class Chart {
	readonly place: HTMLElement;
	readonly #optionOf: (width: number, pixelOf: PixelOf) => Option;
	readonly #heightOf: (width: number) => number;
	#chart: EChartsType | undefined;

	/** @param label what the chart shows, for those who do not see it. */
	constructor(
		label: string,
		heightOf: (width: number) => number,
		optionOf: (width: number, pixelOf: PixelOf) => Option,
	) {
		this.place = element("div", { class: "chart", role: "img", "aria-label": label });
		this.#optionOf = optionOf;
		this.#heightOf = heightOf;
		let width = 0;
		new ResizeObserver(() => {
			if (this.place.clientWidth === width || this.place.clientWidth === 0) return;
			width = this.place.clientWidth;
			this.draw();
		}).observe(this.place);
		onThemeChange(() => this.draw());
	}

	/** Of the chart, in pixels; 0 before it is shown. */
	get width(): number {
		return this.place.clientWidth;
	}

	draw(): void {
		if (this.width === 0) return;
		const height = this.#heightOf(this.width);
		this.place.style.height = `${height}px`;
		this.#chart ??= this.#open();
		const chart = this.#chart;
		chart.clear();
		chart.resize({ width: this.width, height });
		chart.setOption(
			{
				animation: false,
				textStyle: { fontFamily: fontOf(), color: color("ink") },
				...this.#optionOf(this.width, (point) => chart.convertToPixel("grid", [...point]) as [number, number]),
			},
			{ notMerge: true },
		);
	}

	zoomTo(startValue: number, endValue: number): void {
		this.#chart?.dispatchAction({ type: "dataZoom", startValue, endValue });
	}

	/** The first of the rows that are seen; undefined before the chart is drawn. */
	zoomStart(): number | undefined {
		const zoom = (
			this.#chart?.getOption() as { readonly dataZoom?: readonly { readonly startValue?: number }[] } | undefined
		)?.dataZoom;
		return zoom?.[0]?.startValue;
	}

	onZoom(listener: () => void): void {
		this.#onZoom = listener;
	}

	onClick(listener: (value: number) => void, axis: "x" | "y"): void {
		this.#onClick = { listener, axis };
	}

	#onZoom: (() => void) | undefined;
	#onClick: { readonly listener: (value: number) => void; readonly axis: "x" | "y" } | undefined;

	#open(): EChartsType {
		const chart = init(this.place, undefined, { renderer: "canvas" });
		chart.on("datazoom", () => this.#onZoom?.());
		chart.getZr().on("click", ({ offsetX, offsetY }) => {
			if (this.#onClick === undefined) return;
			const { axis, listener } = this.#onClick;
			const pixel = axis === "x" ? offsetX : offsetY;
			const value = chart.convertFromPixel(axis === "x" ? { xAxisIndex: 0 } : { yAxisIndex: 0 }, pixel);
			if (typeof value === "number" && Number.isFinite(value)) listener(value);
		});
		return chart;
	}
}

/** Lines, names and numbers of an axis. */
export function axisStyle(name: string): Option {
	return {
		name,
		nameTextStyle: { color: color("muted"), fontSize: 12 },
		axisLine: { lineStyle: { color: color("line") } },
		axisTick: { lineStyle: { color: color("line") } },
		axisLabel: { color: color("muted"), fontSize: 12 },
		splitLine: { lineStyle: { color: color("line"), opacity: 0.6 } },
	};
}

/** A box at the pointer; `rows` are a name and a figure each. */
export function tooltipOf(title: string, rows: readonly (readonly [string, string])[]): HTMLElement {
	const box = element("div", { class: "tooltip" }, element("strong", {}, title));
	for (const [name, value] of rows) {
		box.append(element("div", {}, element("span", {}, name), element("b", {}, value)));
	}
	return box;
}

export function tooltipStyle(): Option {
	return {
		confine: true,
		backgroundColor: color("card"),
		borderColor: color("line"),
		textStyle: { color: color("ink"), fontSize: 13, fontFamily: fontOf() },
		extraCssText: "max-width:min(340px,90vw);white-space:normal;overflow-wrap:anywhere;",
	};
}
