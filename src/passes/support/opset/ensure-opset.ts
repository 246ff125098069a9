import { type FunctionDefinition, type Model, onnxOpset } from "../../../ir/model.js";
import { raiseOpset } from "./raise-opset.js";

/**
 * Sees to it that `scopes`, the model or functions of it, import version `version` of the standard operators or a later
 * one, those that import none too; returns what stands in the way, and leaves the model as it was then.
 */
export function ensureOpset(
	model: Model,
	scopes: readonly (Model | FunctionDefinition)[],
	version: number,
): string | undefined {
	const lacks = (scope: Model | FunctionDefinition) => (onnxOpset(scope) ?? 0) < version;
	if (!scopes.some(lacks)) return undefined;
	const result = raiseOpset(model, version);
	if ("obstacles" in result) return result.obstacles[0]!.message;
	for (const scope of scopes.filter(lacks)) scope.opsetImports.set("", version);
	return undefined;
}
