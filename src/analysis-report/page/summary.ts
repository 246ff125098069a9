import type { Analysis, SuggestedRecipe } from "../../sensitivity/analysis.js";
import { element, nameOf, section } from "./dom.js";
import { byChance, bytes, count, counted, decibels, decimal } from "./format.js";

/** What the page is about, and the figures that matter most. */
export function header({ model, options, suggestions, isPartial, units }: Analysis, button: HTMLElement): HTMLElement {
	const [first] = suggestions;
	const measured = options.samples === 0 ? "from weights alone" : `on ${counted(options.samples, "sample")}`;
	const goal =
		options.mode.kind === "threshold"
			? `layers below ${options.mode.thresholdDb} dB promoted`
			: `within ${options.mode.budget}`;
	const top = element(
		"header",
		{},
		element(
			"div",
			{ class: "title" },
			element("h1", {}, "Where does the precision go?"),
			element(
				"p",
				{},
				element("strong", {}, model.file),
				` ${counted(units.length, "layer")}, measured ${measured}, ${goal}, from the recipe ${options.recipe}${options.target === null ? "" : `, for ${options.target}`}`,
			),
		),
		button,
	);
	if (isPartial) {
		top.append(
			element(
				"p",
				{ class: "banner", role: "alert" },
				"The analysis was interrupted: what was not measured is missing here.",
			),
		);
	}
	const tiles = element("div", { class: "tiles" });
	const tile = (name: string, value: string, note: string) =>
		tiles.append(
			element("div", { class: "tile" }, element("span", {}, name), element("b", {}, value), element("small", {}, note)),
		);
	tile("Float model", bytes(model.bytes), `${count(model.parameters)} weights in layers`);
	if (first !== undefined) {
		const share = (100 * first.bytes) / model.bytes;
		tile(
			"Suggested",
			bytes(first.bytes),
			`${share.toFixed(0)} % of it, ${decimal(first.bitsPerWeight, 2)} bits a weight`,
		);
		const figure = first.measuredSqnrDb ?? first.predictedSqnrDb;
		tile(
			"Its SQNR",
			decibels(figure),
			first.measuredSqnrDb === null
				? "predicted"
				: `${measuredOn(options)}; predicted ${decibels(first.predictedSqnrDb)}${byChance(first.chanceDb)}`,
		);
		tile(
			"Changed",
			count(first.promoted + first.demoted),
			`${count(first.promoted)} promoted, ${count(first.demoted)} demoted`,
		);
	}
	return element("div", {}, top, tiles);
}

function measuredOn({ heldOut }: Analysis["options"]): string {
	return heldOut === 0 ? "measured" : `measured on ${counted(heldOut, "sample")} held out`;
}

/** The recipes that are suggested, with the command that takes the first. */
export function suggestionsSection({ suggestions, model, options, perplexity }: Analysis): HTMLElement | undefined {
	if (suggestions.length === 0) return undefined;
	const list = element("div", { class: "suggestions" });
	for (const [index, suggestion] of suggestions.entries()) {
		list.append(suggestionEntry(suggestion, index === 0, model.file, options, perplexity));
	}
	return section(
		"suggestions",
		"Suggested recipes",
		"Each is a file beside this report; the reason of every promotion stands in it.",
		list,
	);
}

function suggestionEntry(
	suggestion: SuggestedRecipe,
	isFirst: boolean,
	file: string,
	{ data, target }: Analysis["options"],
	perplexity: Analysis["perplexity"],
): HTMLElement {
	const output = file.replace(/(\.onnx)?$/, "-quantized.onnx");
	const samples = data.length > 0 && data.length <= MOST_NAMED ? data : ["samples.npz"];
	const command = [
		`npx qgraph quantize ${quoted(file)} ${quoted(output)} --recipe ${quoted(suggestion.file)}`,
		...samples.map((place) => `--data ${quoted(place)}`),
		...(target === null ? [] : [`--target ${quoted(target)}`]),
	].join(" ");
	const scored = perplexity?.find(({ recipe }) => recipe === suggestion.name);
	const figures = [
		bytes(suggestion.bytes),
		`${decimal(suggestion.bitsPerWeight, 2)} bits a weight`,
		suggestion.measuredSqnrDb === null
			? `${decibels(suggestion.predictedSqnrDb)} predicted`
			: `${decibels(suggestion.measuredSqnrDb)} measured (${decibels(suggestion.predictedSqnrDb)}${byChance(suggestion.chanceDb)} predicted)`,
		`${count(suggestion.promoted)} promoted, ${count(suggestion.demoted)} demoted`,
		...(scored === undefined || scored.perplexity === null ? [] : [`perplexity ${scored.perplexity.toPrecision(5)}`]),
	];
	return element(
		"div",
		{ class: `recipe${isFirst ? " first" : ""}` },
		element("h3", {}, suggestion.name, ...(isFirst ? [element("small", {}, "take this one")] : [])),
		element("p", {}, suggestion.description),
		element("p", { class: "figures" }, figures.join(" · ")),
		element("pre", {}, command),
	);
}

/** Files of samples that a command names; of more, an example stands for all. */
const MOST_NAMED = 3;

/** A word of a command line, in quotes where it needs them. */
function quoted(word: string): string {
	return /^[\w./:@%+=-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** How well a language model predicts, before and after. */
export function perplexitySection({ perplexity }: Analysis): HTMLElement | undefined {
	const [first] = perplexity ?? [];
	if (perplexity === null || first === undefined) return undefined;
	const float = perplexity.find(({ recipe }) => recipe === "float") ?? first;
	const isCompared = perplexity.some(({ klDivergence }) => klDivergence !== undefined);
	const heads = ["Recipe", "Perplexity", "More", ...(isCompared ? ["KL, nats", "Same best guess"] : [])];
	const body = element("tbody");
	for (const entry of perplexity) {
		const more = entry === float ? undefined : increase(entry.perplexity, float.perplexity);
		const cells = [
			entry.perplexity === null ? "not finite" : entry.perplexity.toPrecision(5),
			more ?? "",
			...(isCompared ? [entry.klDivergence?.toPrecision(3) ?? "", percent(entry.topAgreement)] : []),
		];
		body.append(
			element(
				"tr",
				{},
				element("th", { scope: "row" }, nameOf(entry.recipe)),
				...cells.map((text) => element("td", { class: "number" }, text)),
			),
		);
	}
	const head = heads.map((text, index) => element("th", { scope: "col", class: index === 0 ? "" : "number" }, text));
	return section(
		"perplexity",
		"Perplexity",
		`Over ${counted(first.tokens, "token")}; lower is better.${isCompared ? " KL divergence and best guess are against the float model." : ""}`,
		element("table", { class: "perplexity" }, element("thead", {}, element("tr", {}, ...head)), body),
	);
}

/** `+2.7 %`. */
function increase(value: number | null, from: number | null): string {
	if (value === null || from === null) return "";
	const more = 100 * (value / from - 1);
	return `${more < 0 ? "−" : "+"}${Math.abs(more) < 10 ? Math.abs(more).toFixed(2) : count(Math.round(Math.abs(more)))} %`;
}

function percent(share: number | null | undefined): string {
	return share === null || share === undefined ? "" : `${(100 * share).toFixed(1)} %`;
}

/** Groups of layers as ExecuTorch's analyzer reports them. */
export function groupsSection({ groups, options }: Analysis): HTMLElement | undefined {
	if (groups.length === 0) return undefined;
	const body = element("tbody");
	for (const { name, count: number, avgDb, medianDb, minDb, maxDb, isSensitive } of groups) {
		const mark = element("small", { class: "change promoted" }, "sensitive");
		const cells = [minDb, medianDb, avgDb, maxDb].map((value) => element("td", { class: "number" }, decimal(value)));
		body.append(
			element(
				"tr",
				{},
				element("th", { scope: "row" }, name, ...(isSensitive ? [" ", mark] : [])),
				element("td", { class: "number" }, count(number)),
				...cells,
			),
		);
	}
	const heads = ["Group", "Layers", "Least", "Median", "Mean", "Most"].map((text, index) =>
		element("th", { scope: "col", class: index === 0 ? "" : "number" }, text),
	);
	const threshold =
		options.mode.kind === "threshold" ? ` Below ${options.mode.thresholdDb} dB a group is sensitive.` : "";
	return section(
		"groups",
		"Groups of layers",
		`As ExecuTorch's analyzer groups and averages them, in dB, everything quantized.${threshold}`,
		element(
			"div",
			{ class: "scroll" },
			element("table", { class: "groups" }, element("thead", {}, element("tr", {}, ...heads)), body),
		),
	);
}
