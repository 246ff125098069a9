import type { Diagnostic } from "../diagnostics.js";
import type { Model } from "../ir/model.js";
import { embedSmallTensors } from "../onnx/embed-small-tensors.js";
import { readModel } from "../onnx/file.js";
import { fixInputs } from "../passes/fix-inputs.js";
import { fixShapes } from "../passes/fix-shapes.js";
import type { Pass } from "../passes/infra/pass.js";
import { passesAround } from "../quantize/passes-around.js";
import { runPasses } from "../run-passes.js";
import type { MeasureOptions } from "./measure-options.js";

/** The float model as quantizing it begins: lengths and inputs fixed, operators fused. */
export async function prepared(options: MeasureOptions): Promise<{ model: Model; diagnostics: readonly Diagnostic[] }> {
	const model = await readModel(options.input);
	embedSmallTensors(model);
	const { dim, inputValues, target } = options;
	if (dim.length > 0) await runOn(model, [fixShapes({ dim })], options);
	if (inputValues.length > 0) await runOn(model, [fixInputs({ inputValue: inputValues })], options);
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
