import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import puppeteer, { type Browser, type Page } from "puppeteer-core";
import { renderAnalysisReport } from "../../src/analysis-report/render-analysis-report.js";
import type { Analysis } from "../../src/sensitivity/analysis.js";

export interface View {
	readonly width?: number;
	readonly height?: number;
	readonly theme?: "light" | "dark";
}

/** A report that is open, and what went wrong in it. */
export interface OpenReport {
	readonly page: Page;
	/** Errors and warnings of the console, exceptions, and requests for anything but the file itself. */
	readonly problems: readonly string[];
	/** From the request until everything is drawn. */
	readonly milliseconds: number;
}

/** Writes reports into a folder of its own and opens them from disk. */
export class ReportBrowser {
	readonly #folder = mkdtempSync(path.join(tmpdir(), "qgraph-report-"));
	readonly #browser: Browser;
	#count = 0;

	private constructor(browser: Browser) {
		this.#browser = browser;
	}

	static async launch(executablePath: string): Promise<ReportBrowser> {
		return new ReportBrowser(await puppeteer.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] }));
	}

	async open(analysis: Analysis, { width = 1280, height = 900, theme = "light" }: View = {}): Promise<OpenReport> {
		const file = path.join(this.#folder, `report-${this.#count++}.html`);
		writeFileSync(file, renderAnalysisReport(analysis));
		const page = await this.#browser.newPage();
		const problems: string[] = [];
		const url = pathToFileURL(file).href;
		page.on("console", (message) => problems.push(`${message.type()}: ${message.text()}`));
		page.on("pageerror", (error) => problems.push(String(error)));
		page.on("dialog", (dialog) => {
			problems.push(`dialog: ${dialog.message()}`);
			void dialog.dismiss();
		});
		page.on("request", (request) => {
			if (request.url() !== url && !request.url().startsWith("data:")) problems.push(`request: ${request.url()}`);
		});
		await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
		await page.setViewport({ width, height });
		const start = performance.now();
		await page.goto(url);
		await drawn(page);
		return { page, problems, milliseconds: performance.now() - start };
	}

	async close(): Promise<void> {
		await this.#browser.close();
		rmSync(this.#folder, { recursive: true });
	}
}

/** Waits until two frames have passed: what observers of sizes draw is there then. */
export async function drawn(page: Page): Promise<void> {
	await page.evaluate(
		() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve(undefined)))),
	);
}

/** For every chart below `place`, the share of its pixels that something is drawn on. */
export function inkOf(page: Page, place: string): Promise<number[]> {
	return page.$$eval(`${place} .chart canvas`, (found) =>
		found.map((node) => {
			const canvas = node as HTMLCanvasElement;
			const context = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true })!;
			context.drawImage(canvas, 0, 0);
			const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
			let painted = 0;
			for (let at = 3; at < data.length; at += 4) if (data[at]! > 0) painted++;
			return (4 * painted) / data.length;
		}),
	);
}
