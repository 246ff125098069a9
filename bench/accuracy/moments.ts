import path from "node:path";
import {
	calibrate,
	foldWeightTranspose,
	readModel,
	runPasses,
	type SampleSource,
	upgradeOpset,
	writeImportance,
} from "qgraph";
import type { Feeds } from "./inputs.js";

/** The file of mean squares beside the moments. */
export const IMPORTANCE_FILE = "importance.json";

/** Runs a model on calibration inputs and writes what importance and GPTQ need, under the names that recipes find weights by. */
export async function writeMoments(file: string, samples: readonly Feeds[], folder: string): Promise<void> {
	const model = await readModel(file);
	await runPasses(model, [upgradeOpset(), foldWeightTranspose()]);
	const source: SampleSource = {
		name: "paragraphs",
		count: samples.length,
		isRandom: false,
		async *samples(first) {
			for (const feeds of samples.slice(first)) {
				const arrays = Object.entries(feeds).map(([name, { data, dims }]) => {
					const bytes = new Uint8Array((data as BigInt64Array).buffer);
					return [name, { type: "int64", shape: [...dims], bytes }] as const;
				});
				yield { origin: "a paragraph", arrays: new Map(arrays) };
			}
		},
	};
	const { meanSquares } = await calibrate(model, source, { meanSquares: true, hessian: folder });
	writeImportance(meanSquares, path.join(folder, IMPORTANCE_FILE));
}
