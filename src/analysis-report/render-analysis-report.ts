import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Analysis } from "../sensitivity/analysis.js";

/**
 * An analysis as one HTML file that opens from disk: charts, the layers' histograms, a table. It fetches nothing, and what
 * the model's names hold is only ever text in it.
 */
export function renderAnalysisReport(analysis: Analysis): string {
	const title = `${analysis.model.file}: where the precision goes`;
	return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="qgraph">
<title>${escapeText(title)}</title>
<link rel="icon" href="data:,">
<style>${asset("page.css")}</style>
</head>
<body>
<noscript>This report is drawn by a script that stands in it; scripts are switched off here.</noscript>
<script type="application/json" id="analysis">${escapeScript(JSON.stringify(analysis))}</script>
<script type="text/plain" id="licenses">${escapeScript(asset("page-licenses.txt"))}</script>
<script>${asset("page.js")}</script>
</body>
</html>
`;
}

/** What the build made of the folder `page`; it lies two folders below the root, as the sources do. */
function asset(name: string): string {
	return readFileSync(fileURLToPath(new URL(`../../dist/bundle/report/${name}`, import.meta.url)), "utf8");
}

function escapeText(text: string): string {
	return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Nothing in a script of data can end it, or begin a comment. In strings of JSON this means the same. */
function escapeScript(text: string): string {
	return text.replaceAll("<", "\\u003c");
}
