import type { Analysis, AnalyzedUnit, CodeHistogram, Histogram } from "../../sensitivity/analysis.js";
import { axisStyle, Chart, type CustomApi, type Option, tooltipOf, tooltipStyle } from "./chart.js";
import { choice, element, facts, nameOf } from "./dom.js";
import { bytes, count, decibels, decimal } from "./format.js";
import { color } from "./theme.js";
import { changeOf, origin, type Selection } from "./units.js";

/** What there is to know of the unit that was clicked. */
export function unitPanel(analysis: Analysis, selection: Selection): HTMLElement {
	const panel = element("aside", { id: "unit", "aria-label": "Layer", hidden: "", tabindex: "-1" });
	const close = () => selection.select(undefined);
	selection.onChange((unit) => {
		panel.hidden = unit === undefined;
		document.body.classList.toggle("has-panel", unit !== undefined);
		panel.replaceChildren(...(unit === undefined ? [] : contentOf(analysis, unit, selection, close)));
		panel.scrollTop = 0;
	});
	document.addEventListener("keydown", ({ key }) => {
		if (key === "Escape") close();
	});
	return panel;
}

function contentOf(
	{ units, candidates }: Analysis,
	unit: AnalyzedUnit,
	selection: Selection,
	onClose: () => void,
): Node[] {
	const close = element("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
	close.addEventListener("click", onClose);
	const at = units.indexOf(unit);
	const step = (text: string, label: string, index: number) => {
		const button = element("button", { type: "button", "aria-label": label }, text);
		button.disabled = units[index] === undefined;
		button.addEventListener("click", () => selection.select(units[index]));
		return button;
	};
	const bar = element(
		"div",
		{ class: "panel-bar" },
		step("‹", "Layer before", at - 1),
		element("span", {}, `${count(at + 1)} of ${count(units.length)}`),
		step("›", "Next layer", at + 1),
		close,
	);
	return [
		bar,
		element("h2", {}, nameOf(unit.name)),
		...suggestionOf(unit),
		...unit.causes.map((cause) => element("p", { class: "cause" }, cause)),
		...(unit.notFiniteSamples === 0
			? []
			: [
					element(
						"p",
						{ class: "cause" },
						`${count(unit.notFiniteSamples)} samples gave infinite values or no numbers and count nowhere`,
					),
				]),
		facts(factsOf(unit)),
		candidateTable(unit, candidates),
		...histograms(unit),
	];
}

function suggestionOf(unit: AnalyzedUnit): Node[] {
	if (unit.suggestion === null) return [];
	const { name, reason } = unit.suggestion;
	const change = changeOf(unit);
	const title = { promoted: `Promote to ${name}`, demoted: `${name} is enough`, same: `Stay with ${name}` }[change];
	return [element("p", { class: `suggestion change ${change}` }, element("strong", {}, title), element("br"), reason)];
}

function factsOf(unit: AnalyzedUnit): (readonly [string, string | Node])[] {
	const { kind, role, layer, ops, weights, elements, floatBytes, nodes } = unit;
	const endToEnd = origin(unit);
	return [
		["Isolated", decibels(unit.isolatedSqnrDb)],
		["Cumulative", decibels(unit.cumulativeSqnrDb)],
		[`End to end${endToEnd === "" ? "" : `, ${endToEnd}`}`, decibels(unit.endToEndSqnrDb)],
		...(unit.klDivergence === null ? [] : [["KL divergence", `${unit.klDivergence.toPrecision(3)} nats`] as const]),
		[
			"Kind",
			[kind.replace("-", " "), ...(role === null ? [] : [role]), ...(layer === null ? [] : [`layer ${layer}`])].join(
				", ",
			),
		],
		["Base recipe", unit.base ?? "kept as it is"],
		...(elements === 0 ? [] : [["Weights", `${count(elements)}, ${bytes(floatBytes)} as they are`] as const]),
		...(unit.lossWeight === 1 ? [] : [["Noise counts", `${unit.lossWeight} times`] as const]),
		...weights.map(
			({ name, shape }) =>
				[weights.length === 1 ? "Weight" : "One weight", nameOf(`${name} [${shape.join(" × ")}]`)] as const,
		),
		[
			"Operators",
			nameOf(
				`${ops.join(", ")}: ${nodes.slice(0, 6).join(", ")}${nodes.length > 6 ? ` and ${nodes.length - 6} more` : ""}`,
			),
		],
	];
}

function candidateTable(unit: AnalyzedUnit, order: readonly string[]): HTMLElement {
	const body = element("tbody");
	const sorted = [...unit.candidates].sort((a, b) => place(order, a.name) - place(order, b.name));
	for (const candidate of sorted) {
		const marks = [
			...(candidate.name === unit.base ? ["base"] : []),
			...(candidate.name === unit.suggestion?.name ? ["suggested"] : []),
		];
		body.append(
			element(
				"tr",
				{ class: marks.join(" ") },
				element("th", { scope: "row" }, `${candidate.name} `, ...marks.map((mark) => element("small", {}, mark))),
				element("td", {}, unit.elements === 0 ? "" : bytes(candidate.bytes)),
				element("td", {}, figure(candidate.weightSqnrDb)),
				element("td", {}, figure(candidate.isolatedSqnrDb)),
				element(
					"td",
					{},
					`${candidate.endToEndSqnrDb !== null && !candidate.endToEndMeasured ? "≈" : ""}${figure(candidate.endToEndSqnrDb)}`,
				),
			),
		);
	}
	const head = ["Precision", "Size", "Weights", "Output", "Model"].map((text) => element("th", { scope: "col" }, text));
	return element(
		"table",
		{ class: "candidates" },
		element("caption", {}, "SQNR in dB of its weights, at its output and at the model's; ≈ is predicted"),
		element("thead", {}, element("tr", {}, ...head)),
		body,
	);
}

function place(order: readonly string[], name: string): number {
	const index = order.indexOf(name);
	return index < 0 ? order.length : index;
}

function figure(value: number | null): string {
	if (value === null) return "–";
	return value >= 200 ? "exact" : decimal(value);
}

function histograms(unit: AnalyzedUnit): Node[] {
	const { weightHistogram, codeHistograms } = unit;
	if (weightHistogram === null && codeHistograms.length === 0) {
		return [
			element(
				"p",
				{ class: "note" },
				unit.elements === 0 ? "It has no weights: its inputs are activations." : "There are no histograms of it.",
			),
		];
	}
	let isLogarithmic = false;
	const charts: Chart[] = [];
	const parts: Node[] = [];
	const add = (title: string, label: string, option: () => Option) => {
		const chart = new Chart(label, () => 190, option);
		charts.push(chart);
		parts.push(element("h3", {}, title), chart.place);
	};
	if (weightHistogram !== null) {
		add("Weights", "Histogram of the weights", () =>
			histogramOption(weightBins(weightHistogram), "value of the weight", "blue", isLogarithmic),
		);
	}
	for (const codes of codeHistograms) {
		add(`Codes of ${codes.candidate}`, `Histogram of the codes of ${codes.candidate}`, () =>
			histogramOption(codeBins(codes), "code", "green", isLogarithmic),
		);
	}
	const scale = choice(
		"Scale of the counts",
		[
			["linear", "Linear"],
			["log", "Logarithmic"],
		],
		"linear",
		(value) => {
			isLogarithmic = value === "log";
			for (const chart of charts) chart.draw();
		},
	);
	return [element("div", { class: "controls" }, scale), ...parts];
}

interface Bin {
	readonly from: number;
	readonly to: number;
	readonly count: number;
	readonly name: string;
}

function weightBins({ min, max, counts }: Histogram): Bin[] {
	const step = (max - min) / counts.length;
	return counts.map((found, index) => {
		const [from, to] = [min + index * step, min + (index + 1) * step];
		return { from, to, count: found, name: `${from.toPrecision(3)} to ${to.toPrecision(3)}` };
	});
}

function codeBins({ first, step, counts }: CodeHistogram): Bin[] {
	return counts.map((found, index) => {
		const from = first + index * step;
		const name = step === 1 ? `code ${from}` : `codes ${from} to ${from + step - 1}`;
		return { from: from - 0.5, to: from + step - 0.5, count: found, name };
	});
}

function histogramOption(bins: readonly Bin[], name: string, paint: "blue" | "green", isLogarithmic: boolean): Option {
	const total = bins.reduce((sum, bin) => sum + bin.count, 0);
	const least = isLogarithmic ? 0.8 : 0;
	return {
		grid: { left: 4, right: 14, top: 12, bottom: 40, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
		tooltip: {
			...tooltipStyle(),
			formatter: ({ dataIndex }: { dataIndex: number }) => {
				const bin = bins[dataIndex]!;
				return tooltipOf(bin.name, [
					["weights", count(bin.count)],
					["share", `${((100 * bin.count) / Math.max(1, total)).toPrecision(3)} %`],
				]);
			},
		},
		xAxis: {
			...axisStyle(name),
			type: "value",
			min: bins[0]?.from ?? 0,
			max: bins.at(-1)?.to ?? 1,
			nameLocation: "middle",
			nameGap: 24,
			splitLine: { show: false },
			axisLabel: {
				color: color("muted"),
				fontSize: 12,
				hideOverlap: true,
				showMinLabel: false,
				showMaxLabel: false,
				formatter: (value: number) => String(Number(value.toPrecision(3))).replace("-", "−"),
			},
		},
		yAxis: {
			...axisStyle(""),
			type: isLogarithmic ? "log" : "value",
			min: least,
			splitNumber: 3,
			axisLabel: { color: color("muted"), fontSize: 12, formatter: compact },
		},
		series: [
			{
				type: "custom",
				itemStyle: { color: color(paint) },
				data: bins.map((bin) => [bin.from, bin.to, bin.count]),
				encode: { x: [0, 1], y: 2 },
				renderItem: (_: unknown, api: CustomApi) => {
					const [left, top] = api.coord([api.value(0), Math.max(least, api.value(2))]);
					const [right, bottom] = api.coord([api.value(1), least]);
					const gap = right - left > 5 ? 1 : 0;
					return {
						type: "rect",
						shape: {
							x: left,
							y: top,
							width: Math.max(0.5, right - left - gap),
							height: api.value(2) === 0 ? 0 : bottom - top,
						},
						style: { fill: color(paint) },
					};
				},
			},
		],
	};
}

/** `12k`. */
function compact(value: number): string {
	if (value < 1) return "";
	const units = ["", "k", "M", "G"];
	const step = Math.min(units.length - 1, Math.floor(Math.log10(value) / 3));
	return `${Number((value / 1000 ** step).toPrecision(3))}${units[step]}`;
}
