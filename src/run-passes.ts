import type { Model } from "./ir/model.js";
import { readModel } from "./onnx/file.js";
import type { Pass } from "./passes/infra/pass.js";
import { type PipelineOptions, runPasses as runPipeline } from "./passes/infra/pipeline.js";
import type { PipelineReport } from "./passes/infra/report.js";
import { runWithoutInputs } from "./runtime/run-without-inputs.js";

/**
 * Runs passes over a model, in place and in order; the model is verified at the start and after every pass that changed
 * it. Rejects with a PipelineError, which carries the report up to there. Passes that take other models read them from
 * files unless `readModel` says otherwise, and compute constants with ONNX Runtime unless `runModel` does.
 */
export function runPasses(
	model: Model,
	passes: readonly Pass[],
	options: PipelineOptions = {},
): Promise<PipelineReport> {
	return runPipeline(model, passes, { readModel, runModel: runWithoutInputs, ...options });
}
