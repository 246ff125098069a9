import { CODES, type Severity } from "../../src/index.js";
import { markdownTable } from "./markdown.js";

const SECTIONS: Readonly<Record<Severity, string>> = {
	error: "The result would be wrong or unreadable: qgraph stops, writes nothing and exits with 1 (wrong usage: 2).",
	warning: "Done, with a loss that you should know of.",
	remark: "Looked at, and what came of it: above all, why a weight was left alone.",
};

/** docs/diagnostics.md. */
export function diagnosticsPage(): string {
	const parts = [
		"<!-- Made from src/diagnostics.ts by `npm run docs`. -->",
		"# Diagnostics",
		"Everything that qgraph has to say carries one of these codes: in the terminal, in the JSON report ([report.md](report.md)) and, for errors, as `code` of the `QGraphError`. Codes are stable; messages are for people and may change.",
	];
	for (const severity of Object.keys(SECTIONS) as Severity[]) {
		const rows = Object.entries(CODES)
			.filter(([, info]) => info.severity === severity)
			.map(([code, { explain }]) => [`\`${code}\``, explain]);
		const title = `${severity.charAt(0).toUpperCase()}${severity.slice(1)}s`;
		parts.push(`## ${title}`, SECTIONS[severity], markdownTable(["code", "meaning, and what to do"], rows));
	}
	return `${parts.join("\n\n")}\n`;
}
