import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { readModel } from "../../src/onnx/file.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import { normalizeWeights } from "../../src/passes/normalize-weights.js";
import { summarizeWeights } from "../../src/report/summary.js";
import { runPasses } from "../../src/run-passes.js";
import { constantOf } from "../../src/weights/constant.js";
import { numbersOf } from "../../src/weights/numbers.js";
import { findWeightSites, type WeightSite } from "../../src/weights/weight-site.js";
import { sharedAimet } from "../support/aimet.js";
import { readNpy } from "../support/npy.js";

/* AIMET's exported models, in the folder beside the checkout: weights as codes, and weights that are quantized when run. */

const SCHEMES = { pc: "per-channel", bq: "block", lpbq: "lpbq" } as const;

interface ExportedModel {
	readonly name: string;
	readonly mode: keyof typeof SCHEMES;
	readonly folder: string;
}

function exportedModels(): ExportedModel[] {
	if (!existsSync(sharedAimet)) return [];
	return readdirSync(sharedAimet).flatMap((folder) =>
		(["pc", "bq", "lpbq"] as const)
			.map((mode) => ({ name: `${folder} ${mode}`, mode, folder: path.join(sharedAimet, folder) }))
			.filter(({ mode, folder: at }) => existsSync(path.join(at, `${mode}_qdq.onnx`))),
	);
}

/** The name of the float weight, which AIMET's files have. */
function aimetName({ weightName }: WeightSite): string {
	return weightName.replace(/_q$/, "");
}

describe.skipIf(!existsSync(sharedAimet))("models exported by AIMET", () => {
	describe.each(exportedModels())("$name", ({ mode, folder }) => {
		const file = (name: string) => path.join(folder, name);

		test("is seen as what it is, folded or not", async () => {
			for (const suffix of ["_qdq.onnx", "_qdq_prequant.onnx"]) {
				if (!existsSync(file(mode + suffix))) continue;
				const weights = summarizeWeights(await readModel(file(mode + suffix)));
				expect(weights.length, suffix).toBeGreaterThan(0);
				// what blocks do not fit, AIMET leaves with one scale a channel
				const expected = /indivisible|depthwise/.test(folder) ? SCHEMES.pc : SCHEMES[mode];
				for (const { scheme, weight } of weights) expect(scheme, `${weight} in ${suffix}`).toBe(expected);
			}
		});

		test("has AIMET's own codes once it is folded", async () => {
			const model = await readModel(file(`${mode}_qdq.onnx`));
			const report = await runPasses(model, [normalizeWeights()]);
			expect(report.passes[0]?.changed).toBe(true);
			const sites = findWeightSites(model);
			expect(sites.length).toBeGreaterThan(0);
			for (const site of sites) {
				expect(site.indirect?.op.type).not.toBe("QuantizeLinear");
				const { shape, data } = readNpy(file(`${mode}_${aimetName(site)}_q.npy`), Int32Array);
				const isTurned = folder.includes("transposed");
				const codes = isTurned
					? data.map((_, i) => data[(i % shape[0]!) * shape[1]! + Math.floor(i / shape[0]!)]!)
					: data;
				expect(Array.from(numbersOf(site.stored.tensor))).toEqual(Array.from(codes));
			}
		});

		test.skipIf(mode !== "bq" || /_sb8|transposed/.test(folder))(
			"gets AIMET's LPBQ scales from the weights as they are",
			async () => {
				const model = await readModel(file("bq_qdq.onnx"));
				const report = await runPasses(model, [bqToLpbq({ fit: "max" })]);
				for (const { weight, status } of report.weights) {
					const ints = file(`lpbq_${weight.replace(/_q$/, "")}_int_scale.npy`);
					if (status !== "converted" || !existsSync(ints)) continue;
					const site = findWeightSites(model).find((found) => aimetName(found) === weight && found.scheme === "lpbq");
					if (site === undefined) continue;
					const [integers, channels] = site.dequantization!.scaleNode!.inputs.map(constantOf);
					expect(Array.from(numbersOf(integers!.tensor))).toEqual(Array.from(readNpy(ints, Uint32Array).data));
					const expected = readNpy(file(`lpbq_${weight}_channel_scale_f64.npy`), Float64Array).data;
					expect(Array.from(numbersOf(channels!.tensor))).toEqual(Array.from(Float32Array.from(expected)));
				}
			},
		);
	});
});
