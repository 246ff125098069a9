import type { Analysis, AnalyzedUnit } from "../../sensitivity/analysis.js";
import { element, nameOf, section } from "./dom.js";
import { count, counted, decimal } from "./format.js";
import { changeOf, type Selection } from "./units.js";

type Key = string | number | null;

interface Column {
	readonly title: string;
	readonly hint: string;
	/** Kept on narrow screens. */
	readonly isMain?: boolean;
	readonly isNumber?: boolean;
	keyOf(unit: AnalyzedUnit, index: number): Key;
	show(unit: AnalyzedUnit, index: number): string;
}

/** Rows that are shown before somebody asks for more. */
const PAGE = 100;

/** Every unit in a row: searched, sorted, clicked. */
export function tableSection({ units }: Analysis, selection: Selection): HTMLElement {
	const columns = columnsOf(units);
	const order = new Map(units.map((unit, index) => [unit, index] as const));
	const texts = new Map(units.map((unit) => [unit, searchText(unit)] as const));
	const state = { column: undefined as Column | undefined, isFalling: false, words: [] as string[], shown: PAGE };
	const search = element("input", {
		type: "search",
		placeholder: "Search by name, kind, role, operator or precision",
		"aria-label": "Search layers",
		autocomplete: "off",
		spellcheck: "false",
	});
	const found = element("p", { class: "note", role: "status" });
	const body = element("tbody");
	const more = element("button", { type: "button", class: "more" });
	const heads = columns.map((column) => headOf(column));

	const show = () => {
		const matching = units.filter((unit) => state.words.every((word) => texts.get(unit)!.includes(word)));
		if (state.column !== undefined) matching.sort(comparing(state.column, state.isFalling, order));
		body.replaceChildren(
			...matching.slice(0, state.shown).map((unit) => rowOf(unit, columns, order.get(unit)!, selection)),
		);
		found.textContent =
			state.words.length === 0
				? counted(units.length, "layer")
				: `${count(matching.length)} of ${counted(units.length, "layer")}`;
		more.hidden = matching.length <= state.shown;
		more.textContent = `Show ${count(Math.min(500, matching.length - state.shown))} more`;
		for (const [index, column] of columns.entries()) {
			const direction = column !== state.column ? "none" : state.isFalling ? "descending" : "ascending";
			heads[index]!.setAttribute("aria-sort", direction);
		}
	};
	search.addEventListener("input", () => {
		state.words = search.value
			.toLowerCase()
			.split(/\s+/)
			.filter((word) => word !== "");
		state.shown = PAGE;
		show();
	});
	more.addEventListener("click", () => {
		state.shown += 500;
		show();
	});
	for (const [index, column] of columns.entries()) {
		heads[index]!.firstElementChild!.addEventListener("click", () => {
			state.isFalling = state.column === column && !state.isFalling;
			state.column = column;
			show();
		});
	}
	selection.onChange((unit) => {
		const name = unit === undefined ? -1 : order.get(unit)!;
		for (const row of body.rows) row.classList.toggle("selected", Number(row.dataset.unit) === name);
	});
	show();
	const table = element("table", { class: "units" }, element("thead", {}, element("tr", {}, ...heads)), body);
	return section(
		"table",
		"All layers",
		"Click a heading to sort, a row for its weights and codes.",
		search,
		found,
		table,
		more,
	);
}

function headOf({ title, hint, isMain, isNumber }: Column): HTMLElement {
	const button = element("button", { type: "button", title: hint }, title);
	return element("th", { scope: "col", class: classOf(isMain, isNumber) }, button);
}

function classOf(isMain: boolean | undefined, isNumber: boolean | undefined): string {
	return [isMain === true ? "main" : "minor", ...(isNumber === true ? ["number"] : [])].join(" ");
}

function rowOf(unit: AnalyzedUnit, columns: readonly Column[], index: number, selection: Selection): HTMLElement {
	const isSelected = selection.unit === unit;
	const row = element("tr", { "data-unit": String(index), ...(isSelected ? { class: "selected" } : {}) });
	for (const [place, column] of columns.entries()) {
		const text = column.show(unit, index);
		const attributes = { class: classOf(column.isMain, column.isNumber) };
		if (place === 1) {
			const button = element("button", { type: "button" }, nameOf(text));
			row.append(element("th", { ...attributes, scope: "row" }, button));
		} else if (column.title === "Suggested") {
			row.append(element("td", attributes, element("span", { class: `change ${changeOf(unit)}` }, text)));
		} else row.append(element("td", attributes, text));
	}
	row.addEventListener("click", () => selection.select(unit));
	return row;
}

function columnsOf(units: readonly AnalyzedUnit[]): Column[] {
	const figure = (
		title: string,
		hint: string,
		isMain: boolean,
		keyOf: (unit: AnalyzedUnit) => number | null,
	): Column => ({
		title,
		hint,
		isMain,
		isNumber: true,
		keyOf,
		show: (unit) => {
			const value = keyOf(unit);
			return value === null ? "–" : value >= 200 ? "exact" : decimal(value);
		},
	});
	const columns: Column[] = [
		{
			title: "#",
			hint: "Place in the graph",
			isNumber: true,
			keyOf: (_, index) => index,
			show: (_, index) => count(index + 1),
		},
		{ title: "Layer", hint: "Name", isMain: true, keyOf: ({ name }) => name, show: ({ name }) => name },
		{ title: "Kind", hint: "What it is", keyOf: kindOf, show: kindOf },
		{
			title: "Weights",
			hint: "How many weights it has",
			isNumber: true,
			keyOf: ({ elements }) => elements,
			show: ({ elements }) => (elements === 0 ? "–" : count(elements)),
		},
		{
			title: "Base",
			hint: "What the base recipe makes of it",
			keyOf: ({ base }) => base,
			show: ({ base }) => base ?? "kept",
		},
		figure("Isolated", "SQNR in dB at its own output, it alone quantized", true, (unit) => unit.isolatedSqnrDb),
		figure("Cumulative", "SQNR in dB at its own output, everything quantized", false, (unit) => unit.cumulativeSqnrDb),
		figure("End to end", "SQNR in dB at the model's outputs, it alone quantized", false, (unit) => unit.endToEndSqnrDb),
	];
	if (units.some(({ klDivergence }) => klDivergence !== null)) {
		columns.push({
			title: "KL",
			hint: "KL divergence of the logits in nats, it alone quantized",
			isNumber: true,
			keyOf: ({ klDivergence }) => klDivergence,
			show: ({ klDivergence }) => (klDivergence === null ? "–" : klDivergence.toPrecision(2)),
		});
	}
	columns.push({
		title: "Suggested",
		hint: "What it should become",
		isMain: true,
		keyOf: (unit) => unit.suggestion?.name ?? null,
		show: (unit) => unit.suggestion?.name ?? "–",
	});
	return columns;
}

function kindOf({ kind, role }: AnalyzedUnit): string {
	return role === null || role === kind ? kind.replace("-", " ") : role.replace("_", " ");
}

function searchText({ name, kind, role, layer, ops, nodes, weights, base, suggestion, causes }: AnalyzedUnit): string {
	const change = suggestion?.change ?? "";
	const place = layer === null ? "" : `layer ${layer}`;
	const parts = [name, kind, role ?? "", place, ...ops, ...nodes, ...weights.map((weight) => weight.name)];
	return [...parts, base ?? "kept", suggestion?.name ?? "", change, ...causes].join("\n").toLowerCase();
}

/** What is not known stands last; equals stay in graph order. */
function comparing(column: Column, isFalling: boolean, order: ReadonlyMap<AnalyzedUnit, number>) {
	return (a: AnalyzedUnit, b: AnalyzedUnit): number => {
		const [atA, atB] = [order.get(a)!, order.get(b)!];
		const [x, y] = [column.keyOf(a, atA), column.keyOf(b, atB)];
		if (x === null || y === null) return x === y ? atA - atB : x === null ? 1 : -1;
		if (x === y) return atA - atB;
		const isBefore =
			typeof x === "string" && typeof y === "string" ? x.localeCompare(y, "en", { numeric: true }) < 0 : x < y;
		return isBefore === isFalling ? 1 : -1;
	};
}
