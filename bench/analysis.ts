/*
 * Recipes that `qgraph analyze` suggests within a budget against recipes of one precision and of the same size, and against
 * greedy orders: SQNR at the outputs on samples that nothing was measured or calibrated with, dB. All of these are run in the
 * same way, with the noise of 16-bit activations added; "quantized" is the suggested recipe quantized and run whole.
 *
 *   npm run build && npx tsc -p bench && node .cache/bench/analysis.js model.onnx samples.npz [held-out samples]
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { analyzeSensitivity, type ParetoEntry } from "qgraph";

const [model, data, holdOut] = process.argv.slice(2);
if (model === undefined || data === undefined) throw new Error("name a model and samples");

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-bench-analysis-"));
try {
	await compare(model, data);
} finally {
	rmSync(folder, { recursive: true, force: true });
}

async function compare(file: string, samples: string): Promise<void> {
	const analyzed = (budget: string, resume: boolean) =>
		analyzeSensitivity(file, {
			data: samples.split(","),
			budget,
			workFolder: folder,
			resume,
			...(holdOut === undefined ? {} : { holdOut: Number(holdOut) }),
		});
	const first = await analyzed("16bpw", false);
	const singles = first.analysis.points.filter(({ kind }) => kind === "single");
	console.log(
		`| ${path.basename(file)} | bits a weight | it | budget | predicted | quantized | best greedy | worst greedy |`,
	);
	console.log("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
	for (const single of singles) {
		const budget = `${(single.bitsPerWeight + 5e-5).toFixed(4)}bpw`;
		const { analysis } = await analyzed(budget, true);
		const [suggested] = analysis.suggestions;
		const greedy = analysis.points.filter(({ kind }) => kind === "greedy").map(measured);
		const figures = [
			single.bitsPerWeight,
			measured(single),
			measured(analysis.points.find(({ isChosen }) => isChosen)!),
			suggested!.predictedSqnrDb!,
			suggested!.measuredSqnrDb!,
			Math.max(...greedy),
			Math.min(...greedy),
		];
		console.log(`| ${[single.label, ...figures.map((figure) => figure.toFixed(2))].join(" | ")} |`);
	}
}

function measured({ measuredSqnrDb }: ParetoEntry): number {
	return measuredSqnrDb ?? Number.NaN;
}
