import { inferTypes } from "../inference/index.js";
import { statedType } from "../inference/stated.js";
import type { Model } from "../ir/model.js";
import type { ValueType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allGraphs } from "../ir/walk.js";
import { definePass } from "./infra/pass.js";
import { type FixedDimensions, fixedDimensions, withLengths } from "./support/fixed-dimensions.js";

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
			restate(model);
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

/** Puts the lengths into every stated type; function bodies have names of their own and stay. */
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

/** Writes what follows over what was stated of values that nodes compute. */
function restate(model: Model): void {
	const types = inferTypes(model);
	for (const value of statedValues(model)) {
		if (value.producer === undefined || value.type === undefined) continue;
		const type = types.typeOf(value);
		if (type !== undefined && !isSame(type, value.type)) value.type = type;
	}
}

function* statedValues(model: Model): Generator<Value> {
	for (const { graph, function: definition } of allGraphs(model)) {
		if (definition !== undefined) continue;
		yield* new Set([...graph.inputs, ...graph.outputs, ...graph.valueInfo]);
	}
}

function isSame(a: ValueType, b: ValueType): boolean {
	return JSON.stringify(a) === JSON.stringify(b);
}
