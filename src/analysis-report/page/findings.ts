import type { Analysis } from "../../sensitivity/analysis.js";
import { element, section } from "./dom.js";
import { count, counted } from "./format.js";
import type { Selection } from "./units.js";

type Finding = Analysis["findings"][number];

const CONSEQUENCES = ["refused", "crash", "wrong", "slow"] as const;

const MEANINGS = {
	refused: "the compiler refuses it",
	crash: "the compiler crashes",
	wrong: "it compiles, but computes something else",
	slow: "it works, but is slower or less exact than it could be",
} as const;

/** What the target says of the model. */
export function findingsSection({ findings, options, units }: Analysis, selection: Selection): HTMLElement | undefined {
	if (options.target === null) return undefined;
	const title = `What ${options.target} says`;
	if (findings.length === 0) {
		return section("check", title, "The model as the base recipe makes it breaks none of the target's rules.");
	}
	const byNode = new Map(units.flatMap((unit) => unit.nodes.map((node) => [node, unit] as const)));
	const list = element("div", { class: "findings" });
	for (const consequence of CONSEQUENCES) {
		const own = findings.filter((finding) => finding.consequence === consequence);
		for (const rule of new Set(own.map((finding) => finding.rule))) {
			const places = own.filter((finding) => finding.rule === rule);
			list.append(ruleEntry(rule, consequence, places, byNode, selection));
		}
	}
	return section(
		"check",
		title,
		`Of the model as the base recipe makes it: ${counted(findings.length, "place")} where it breaks a rule.`,
		list,
	);
}

function ruleEntry(
	rule: string,
	consequence: Finding["consequence"],
	places: readonly Finding[],
	byNode: ReadonlyMap<string, Analysis["units"][number]>,
	selection: Selection,
): HTMLElement {
	const [{ remedy, appliedBy }] = places as [Finding];
	const rows = element("ul", { class: "places" });
	const show = (from: number, to: number) => {
		for (const { node, op, message } of places.slice(from, to)) {
			const unit = byNode.get(node);
			const label = element(unit === undefined ? "span" : "button", { class: "node" }, node || op);
			label.addEventListener("click", () => selection.select(unit ?? selection.unit));
			rows.append(element("li", {}, label, element("span", { class: "muted" }, ` ${op}: ${message}`)));
		}
	};
	const PAGE = 50;
	show(0, PAGE);
	if (places.length > PAGE) {
		const more = element("button", { type: "button", class: "more" }, `Show ${count(places.length - PAGE)} more`);
		more.addEventListener("click", () => {
			more.parentElement?.remove();
			show(PAGE, places.length);
		});
		rows.append(element("li", {}, more));
	}
	return element(
		"details",
		{ class: "finding" },
		element(
			"summary",
			{},
			element("span", { class: `consequence ${consequence}`, title: MEANINGS[consequence] }, consequence),
			element("code", {}, rule),
			element("span", { class: "muted" }, counted(places.length, "place")),
		),
		element(
			"p",
			{},
			`${MEANINGS[consequence]}. What helps: ${remedy}${appliedBy === undefined ? "" : ` (pass ${appliedBy})`}`,
		),
		rows,
	);
}

/** What was noticed while measuring. */
export function remarksSection({ diagnostics }: Analysis): HTMLElement | undefined {
	if (diagnostics.length === 0) return undefined;
	const list = element("ul", { class: "remarks" });
	for (const { severity, code, message } of diagnostics) {
		list.append(
			element(
				"li",
				{},
				element("span", { class: `severity ${severity}` }, severity),
				element("code", {}, code),
				` ${message}`,
			),
		);
	}
	return section("remarks", "Remarks", "What was noticed while measuring.", list);
}
