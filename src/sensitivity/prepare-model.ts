import type { Diagnostic } from "../diagnostics.js";
import type { Model } from "../ir/model.js";
import { readModel } from "../onnx/file.js";
import { fixShapes } from "../passes/fix-shapes.js";
import type { Pass } from "../passes/infra/pass.js";
import { passesAround } from "../quantize/passes-around.js";
import { runPasses } from "../run-passes.js";
import type { MeasureOptions } from "./measure-options.js";

/** The float model as quantizing it begins: lengths fixed, operators fused. */
export async function prepared(options: MeasureOptions): Promise<{ model: Model; diagnostics: readonly Diagnostic[] }> {
	const model = await readModel(options.input);
	const { dim, target } = options;
	if (dim.length > 0) await runOn(model, [fixShapes({ dim })], options);
	const [before] = passesAround(target);
	return {
		model,
		diagnostics: await runOn(
			model,
			before.map((pass) => pass()),
			options,
		),
	};
}

/** Runs passes for what the analysis is made for. */
export async function runOn(
	model: Model,
	passes: readonly Pass[],
	{ target, signal }: MeasureOptions,
): Promise<readonly Diagnostic[]> {
	const report = await runPasses(model, passes, {
		...(target === undefined ? {} : { target }),
		...(signal === undefined ? {} : { signal }),
	});
	return report.diagnostics;
}
