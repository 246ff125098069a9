import type { Finding } from "../index.js";
import { table } from "./terminal.js";

/** So many places of one rule are shown on a terminal; JSON has all. */
export const PLACES_SHOWN = 5;

/** A paragraph for each rule that is broken. */
export function renderFindings(findings: readonly Finding[], shown: number = PLACES_SHOWN): string[] {
	const byRule = new Map<string, Finding[]>();
	for (const finding of findings) byRule.set(finding.rule, [...(byRule.get(finding.rule) ?? []), finding]);
	return [...byRule.values()].map((places) => renderRule(places, shown));
}

function renderRule(places: readonly Finding[], shown: number): string {
	const { rule, consequence, remedy, appliedBy } = places[0]!;
	const rows = places.slice(0, shown).map(({ node, op, message }) => [node, op, message]);
	const lines = [
		`${consequence}: ${rule} (${places.length === 1 ? "1 place" : `${places.length} places`})`,
		table(["node", "operator", "what"], rows).replace(/^/gm, "  "),
	];
	if (places.length > shown) lines.push(`  and ${places.length - shown} more; \`qgraph check --all\` lists them`);
	const by = appliedBy === undefined ? "by hand" : `\`convert --target\` does it with --${appliedBy}`;
	lines.push(`  remedy: ${remedy} (${by})`);
	return lines.join("\n");
}
