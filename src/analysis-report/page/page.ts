import type { Analysis } from "../../sensitivity/analysis.js";
import { barsSection } from "./bars.js";
import { element } from "./dom.js";
import { findingsSection, remarksSection } from "./findings.js";
import { heatMapSection } from "./heat-map.js";
import { paretoSection } from "./pareto.js";
import { groupsSection, header, perplexitySection, suggestionsSection } from "./summary.js";
import { startTheme } from "./theme.js";
import { unitPanel } from "./unit-panel.js";
import { tableSection } from "./unit-table.js";
import { Selection } from "./units.js";

/** Fills the page with the analysis that stands in it. */
function build(): void {
	const analysis = JSON.parse(document.getElementById("analysis")!.textContent!) as Analysis;
	const button = element("button", { type: "button", id: "theme" });
	startTheme(button);
	const selection = new Selection();
	const parts = [
		header(analysis, button),
		suggestionsSection(analysis),
		paretoSection(analysis),
		barsSection(analysis, selection),
		heatMapSection(analysis, selection),
		perplexitySection(analysis),
		findingsSection(analysis, selection),
		groupsSection(analysis),
		tableSection(analysis, selection),
		remarksSection(analysis),
	];
	const main = element("main", {}, ...parts.filter((part) => part !== undefined));
	const licenses = document.getElementById("licenses")!;
	const footer = element(
		"footer",
		{},
		`Made by qgraph ${analysis.version}. `,
		element(
			"details",
			{},
			element("summary", {}, "Licences of what is in this page"),
			element("pre", {}, licenses.textContent!.trim()),
		),
	);
	document.body.append(main, footer, unitPanel(analysis, selection));
}

build();
