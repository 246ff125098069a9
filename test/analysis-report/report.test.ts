import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { renderAnalysisReport } from "../../src/analysis-report/render-analysis-report.js";
import type { Analysis } from "../../src/sensitivity/analysis.js";
import { findChromium } from "../support/chromium.js";
import { sampleAnalysis } from "../support/sample-analysis.js";
import { drawn, inkOf, ReportBrowser } from "./browser.js";
import { largeAnalysis } from "./large-analysis.js";

const HOSTILE = [
	"</script><script>window.hacked = 1</script>",
	"<img src=x onerror='window.hacked = 2'>",
	"<!--<script>",
	// biome-ignore lint/suspicious/noTemplateCurlyInString: it must stay text
	"]]>&lt;b&gt;&amp;\"'`${window.hacked = 3}",
	"{a|b} %s {b}: {c}",
	"\u2028line\u2029 ends\nand\ttabs\0",
	`${"x".repeat(300)}`,
	"层.权重.\u202eevil",
	"constructor",
	"__proto__",
];

/** The sample with names that try to break out of wherever they are put. */
function hostileAnalysis(): Analysis {
	const analysis = sampleAnalysis();
	const units = analysis.units.map((unit, index) => {
		const name = HOSTILE[index] ?? unit.name;
		return {
			...unit,
			name,
			nodes: [name],
			weights: unit.weights.map((weight) => ({ ...weight, name })),
			causes: [name],
		};
	});
	const [name] = HOSTILE as [string];
	return {
		...analysis,
		model: { ...analysis.model, file: `${name}.onnx` },
		units,
		groups: analysis.groups.map((group) => ({ ...group, name })),
		points: analysis.points.map((point) => ({ ...point, label: name })),
		suggestions: analysis.suggestions.map((suggestion) => ({ ...suggestion, name, file: name, description: name })),
		findings: analysis.findings.map((finding) => ({
			...finding,
			node: name,
			message: HOSTILE[1]!,
			remedy: HOSTILE[2]!,
		})),
	};
}

describe("the text of a report", () => {
	const text = renderAnalysisReport(hostileAnalysis());

	test("has the analysis in it, and three scripts that nothing ends early", () => {
		const [, data] = /<script type="application\/json" id="analysis">(.*?)<\/script>/s.exec(text)!;
		expect(JSON.parse(data!)).toEqual(hostileAnalysis());
		expect(text.match(/<\/script/gi)).toHaveLength(3);
		expect(text.match(/<script/gi)).toHaveLength(3);
		expect(text).not.toContain("<!--");
	});

	test("names the licences of what was bundled", () => {
		expect(text).toMatch(/Apache ECharts\nCopyright .* The Apache Software Foundation/);
		expect(text).toContain("Apache License");
		expect(text).toMatch(/zrender \S+ \(BSD-3-Clause\)/);
		expect(text).toContain("Redistributions in binary form must reproduce");
	});

	test("is the same each time", () => {
		expect(renderAnalysisReport(hostileAnalysis())).toBe(text);
	});
});

const chromium = await findChromium();

describe.skipIf(chromium === undefined)("a report in Chromium", () => {
	let browser: ReportBrowser;
	beforeAll(async () => {
		browser = await ReportBrowser.launch(chromium!);
	});
	afterAll(() => browser.close());

	const rowsOf = (page: Awaited<ReturnType<ReportBrowser["open"]>>["page"]) =>
		page.$$eval(".units tbody tr", (rows) => rows.map((row) => row.querySelector("th")!.textContent!));

	test("opens from disk without errors or requests, and shows everything", async () => {
		const { page, problems } = await browser.open(sampleAnalysis());
		expect(await page.title()).toBe("model.onnx: where the precision goes");
		expect(await page.$$eval("h2", (titles) => titles.map(({ textContent }) => textContent))).toEqual([
			"Suggested recipes",
			"Size against error",
			"Layers",
			"Every layer at every precision",
			"Perplexity",
			"What qnn-htp:v79 says",
			"Groups of layers",
			"All layers",
			"Remarks",
		]);
		for (const place of ["#pareto", "#layers", "#precisions"]) {
			const ink = await inkOf(page, place);
			expect(Math.min(...ink), place).toBeGreaterThan(0.005);
		}
		const text = await page.$eval("main", ({ innerText }) => innerText);
		expect(text).toContain("20.4 dB");
		expect(text).toContain("npx qgraph quantize model.onnx model-quantized.onnx --recipe recipe.yaml");
		expect(text).toContain("htp/block-size");
		expect(text).toContain("ranges of random inputs are not those of real ones");
		expect(text).toContain("12.640");
		expect(problems).toEqual([]);
		await page.close();
	});

	test("shows the layer whose bar is clicked, with histograms of weights and codes", async () => {
		const { page, problems } = await browser.open(sampleAnalysis());
		const detail = (await page.$$("#layers .chart")).at(-1)!;
		const clickRow = async (row: number) => {
			await detail.scrollIntoView();
			const box = (await detail.boundingBox())!;
			await page.mouse.click(box.x + 250, box.y + 8 + 22 * (row + 0.5));
			await drawn(page);
		};
		await clickRow(0);
		const panel = () => page.$eval("aside#unit", ({ innerText }) => innerText);
		expect(await panel()).toContain("model.layers.1.mlp.down_proj.weight");
		expect(await panel()).toContain("Promote to 16a8w");
		expect(await panel()).toContain("input channel 17 is 41 times as large as the median one");
		const linear = await inkOf(page, "#unit");
		expect(linear).toHaveLength(2);
		expect(Math.min(...linear)).toBeGreaterThan(0.02);
		await page.click('#unit [data-value="log"]');
		await drawn(page);
		const [weights] = await inkOf(page, "#unit");
		expect(weights).toBeGreaterThan(linear[0]! * 1.2);
		await page.click('#layers [data-value="graph"]');
		await clickRow(1);
		expect(await panel()).toContain("model.layers.0.self_attn.qkv");
		await page.click("#unit [aria-label='Next layer']");
		expect(await panel()).toContain("It has no weights");
		await page.keyboard.press("Escape");
		expect(await page.$eval("aside#unit", ({ hidden }) => hidden)).toBe(true);
		await page.click("#precisions .chart");
		await drawn(page);
		expect(await page.$eval("aside#unit", ({ hidden }) => hidden)).toBe(false);
		expect(problems).toEqual([]);
		await page.close();
	});

	test("searches and sorts the table", async () => {
		const { page, problems } = await browser.open(sampleAnalysis());
		expect(await rowsOf(page)).toHaveLength(20);
		await page.type("#table input", "DOWN_proj layer ");
		expect(await rowsOf(page)).toHaveLength(6);
		expect(await page.$eval("#table [role=status]", ({ textContent }) => textContent)).toBe("6 of 20 layers");
		const head = await page.waitForSelector("xpath///th/button[text()='Isolated']");
		await head!.click();
		expect((await rowsOf(page))[0]).toBe("model.layers.1.mlp.down_proj.weight");
		await head!.click();
		expect((await rowsOf(page))[0]).toBe("model.layers.5.mlp.down_proj.weight");
		expect(await page.$$eval("th[aria-sort=descending]", (heads) => heads.length)).toBe(1);
		await page.$eval("#table input", (input) => {
			input.value = "nothing of that name";
			input.dispatchEvent(new Event("input"));
		});
		expect(await rowsOf(page)).toEqual([]);
		expect(problems).toEqual([]);
		await page.close();
	});

	test("is dark where the system is, and where somebody switches", async () => {
		const background = () => getComputedStyle(document.querySelector(".card")!).backgroundColor;
		const { page } = await browser.open(sampleAnalysis());
		const light = await page.evaluate(background);
		await page.click("#theme");
		const dark = await page.evaluate(background);
		expect(dark).not.toBe(light);
		expect(await page.$eval("#theme", ({ textContent }) => textContent)).toBe("Light");
		await page.close();
		const system = await browser.open(sampleAnalysis(), { theme: "dark" });
		expect(await system.page.evaluate(background)).toBe(dark);
		await system.page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
		await drawn(system.page);
		expect(await system.page.evaluate(background)).toBe(light);
		expect(system.problems).toEqual([]);
		await system.page.close();
	});

	test.each([380, 320])("fits a screen of %i px", async (width) => {
		for (const analysis of [largeAnalysis(2), hostileAnalysis()]) {
			const { page, problems } = await browser.open(analysis, { width, height: 800 });
			const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
			expect(await overflow()).toBeLessThanOrEqual(0);
			await page.$eval(".units tbody tr:nth-child(2)", (row) => (row as HTMLElement).click());
			await drawn(page);
			expect(await overflow()).toBeLessThanOrEqual(0);
			const panel = await page.$eval("#unit", ({ scrollWidth, clientWidth }) => [scrollWidth, clientWidth]);
			expect(panel[0]).toBe(panel[1]);
			expect(problems).toEqual([]);
			await page.close();
		}
	});

	test("shows names as text, whatever is in them", async () => {
		const analysis = hostileAnalysis();
		const { page, problems } = await browser.open(analysis);
		expect((await rowsOf(page)).slice(0, HOSTILE.length)).toEqual(HOSTILE);
		for (let row = 1; row <= HOSTILE.length; row++) {
			await page.$eval(`.units tbody tr:nth-child(${row})`, (found) => (found as HTMLElement).click());
			expect(await page.$eval("#unit h2", ({ textContent }) => textContent)).toBe(HOSTILE[row - 1]);
		}
		await page.$eval(".finding", (finding) => finding.setAttribute("open", ""));
		const bars = (await page.$$("#layers .chart")).at(-1)!;
		await bars.scrollIntoView();
		const box = (await bars.boundingBox())!;
		for (let row = 0; row < analysis.units.length; row++) await page.mouse.move(box.x + 300, box.y + 19 + 22 * row);
		await drawn(page);
		expect(await page.evaluate(() => "hacked" in window)).toBe(false);
		expect(await page.$$eval("img, main script", (found) => found.length)).toBe(0);
		expect(problems).toEqual([]);
		await page.close();
	});

	test("of a thousand units opens fast", async () => {
		const { page, problems, milliseconds } = await browser.open(largeAnalysis(125));
		expect(milliseconds).toBeLessThan(8000);
		expect(await rowsOf(page)).toHaveLength(100);
		await page.$eval("#table .more", (more) => (more as HTMLElement).click());
		expect(await rowsOf(page)).toHaveLength(600);
		await page.type("#table input", "layers.77.");
		expect(await rowsOf(page)).toHaveLength(8);
		expect(await page.$eval("#layers .range", ({ textContent }) => textContent)).toMatch(/^1 to 24 of 1,002;/);
		const overview = (await page.$("#layers .chart"))!;
		await overview.scrollIntoView();
		await overview.click();
		await drawn(page);
		expect(await page.$eval("#layers .range", ({ textContent }) => textContent)).toMatch(
			/^(48|49)\d to 5[12]\d of 1,002;/,
		);
		expect(problems).toEqual([]);
		await page.close();
	});

	test("shows what there is of analyses that were interrupted, or of weights alone", async () => {
		const whole = sampleAnalysis();
		const unmeasured = { isolatedSqnrDb: null, cumulativeSqnrDb: null, endToEndSqnrDb: null };
		const partial: Analysis = {
			...whole,
			isPartial: true,
			options: {
				...whole.options,
				target: null,
				samples: 0,
				data: [],
				heldOut: 0,
				mode: { kind: "threshold", thresholdDb: 10, grouping: "unit" },
			},
			units: whole.units.map((unit, index) => ({
				...unit,
				...unmeasured,
				...(index < 3 ? { isolatedSqnrDb: index === 0 ? 200 : 7 } : {}),
				candidates: index < 3 ? unit.candidates : [],
				suggestion: null,
				weightHistogram: null,
				codeHistograms: [],
			})),
			groups: [],
			points: [],
			suggestions: [],
			findings: [],
			diagnostics: [],
			perplexity: null,
		};
		const { page, problems } = await browser.open(partial);
		expect(await page.$eval(".banner", ({ textContent }) => textContent)).toContain("interrupted");
		expect(await page.$$eval("h2", (titles) => titles.map(({ textContent }) => textContent))).toEqual([
			"Layers",
			"Every layer at every precision",
			"All layers",
		]);
		await page.$eval(".units tbody tr", (row) => (row as HTMLElement).click());
		expect(await page.$eval("aside#unit", ({ innerText }) => innerText)).toContain("exact");
		const empty = await browser.open({ ...partial, units: [], candidates: [] });
		expect(await rowsOf(empty.page)).toEqual([]);
		expect([...problems, ...empty.problems]).toEqual([]);
		await page.close();
		await empty.page.close();
	});
});
