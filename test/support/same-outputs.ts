import { expect } from "vitest";
import type { Model } from "../../src/ir/model.js";
import { serializeModel } from "../../src/onnx/file.js";
import type { Pass } from "../../src/passes/infra/pass.js";
import type { PipelineOptions } from "../../src/passes/infra/pipeline.js";
import type { PipelineReport } from "../../src/passes/infra/report.js";
import { runPasses } from "../../src/run-passes.js";
import { floatsOf, run, type Tensors } from "./ort.js";

/**
 * Runs `pass` and asks that no output of the model differs by more than `tolerance` times its range afterwards, in ONNX
 * Runtime on the CPU.
 */
export async function expectSameOutputs(
	model: Model,
	pass: Pass,
	feeds: Tensors,
	{ tolerance = 1e-5, ...options }: PipelineOptions & { readonly tolerance?: number } = {},
): Promise<PipelineReport> {
	const before = await run(serializeModel(model), feeds);
	const report = await runPasses(model, [pass], options);
	const after = await run(serializeModel(model), feeds);
	for (const name of Object.keys(before)) {
		expect(differenceInRanges(floatsOf(before[name]), floatsOf(after[name])), name).toBeLessThan(tolerance);
	}
	return report;
}

/** The largest difference, as part of the range of `reference`. */
export function differenceInRanges(reference: Float32Array, actual: Float32Array): number {
	let [lo, hi, difference] = [Infinity, -Infinity, 0];
	for (const [index, value] of reference.entries()) {
		lo = Math.min(lo, value);
		hi = Math.max(hi, value);
		difference = Math.max(difference, Math.abs(value - actual[index]!));
	}
	return difference / (hi - lo);
}
