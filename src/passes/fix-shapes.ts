import { statedType } from "../inference/stated.js";
import type { Model } from "../ir/model.js";
import { definePass } from "./infra/pass.js";
import { type FixedDimensions, fixedDimensions, withLengths } from "./support/fixed-dimensions.js";
import { restateTypes, statedValues } from "./support/restate-types.js";

/** Options of {@link fixShapes}. */
export interface FixShapesOptions {
	readonly dim: readonly string[];
}

/**
 * `x: FLOAT[batch,seq,384]` -> `x: FLOAT[1,128,384]`: dimensions of inputs get fixed lengths, and so does every stated type
 * that follows from them. Shapes that the model computes stay computed: `fold-shapes` makes constants of them.
 */
export const fixShapes = definePass<FixShapesOptions>({
	name: "fix-shapes",
	summary: "Give the dynamic dimensions of the inputs fixed lengths, with all shapes that follow.",
	options: {
		dim: {
			default: [] as readonly string[],
			describe: "length of a dynamic dimension: 'batch=1' by its name, 'input_ids:0=1' by input and axis",
		},
	},
	run(model, context) {
		const fixed = fixedDimensions(model, context.options.dim);
		const changed = applyLengths(model, fixed);
		if (changed) {
			restateTypes(model);
			context.count(
				"dimensions fixed",
				fixed.byName.size + [...fixed.byInput.values()].reduce((n, axes) => n + axes.size, 0),
			);
		}
		for (const input of model.graph.inputs) {
			const type = statedType(input);
			if (type?.kind !== "tensor" || input.initializer !== undefined) continue;
			if (type.shape?.every((dimension) => typeof dimension === "number")) continue;
			const shape = type.shape?.map((dimension) => dimension ?? "?").join(", ") ?? "of unknown rank";
			const message = `input '${input.name}' is still dynamic: [${shape}]; fix it with --dim`;
			context.report("shapes/dynamic-input", message, { graph: model.graph.name, value: input.name });
		}
		return changed;
	},
});

/** Puts the lengths into every stated type. */
function applyLengths(model: Model, { byName, byInput }: FixedDimensions): boolean {
	let changed = false;
	for (const value of statedValues(model)) {
		let type = withLengths(value.type, byName);
		const axes = byInput.get(value);
		if (axes !== undefined && type?.kind === "tensor") {
			type = { ...type, shape: type.shape?.map((dimension, axis) => axes.get(axis) ?? dimension) };
		}
		if (type === value.type) continue;
		value.type = type;
		changed = true;
	}
	return changed;
}
