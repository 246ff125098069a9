import type { Model } from "../ir/model.js";
import { isOnnxOp } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { constantOf } from "../weights/constant.js";
import type { GenaiConfig } from "./genai-config.js";
import { NAMES } from "./layer-graph.js";

/**
 * Makes what the layers' projections of values read, which is the state in front of each layer, outputs of a layer graph, and
 * returns their names; shorter where operators are not found.
 */
export function tapLayers(model: Model, { layers }: GenaiConfig): string[] {
	const { graph } = model;
	const names: string[] = [];
	for (let layer = 0; layer < layers; layer++) {
		const output = graph.outputs.find(({ name }) => name === NAMES.newValue(layer));
		const state = output && projected(output);
		if (state === undefined || state.isGraphInput) continue;
		if (!state.isGraphOutput) graph.addOutput(state);
		names.push(state.name);
	}
	return names;
}

/** Makes values of these names outputs, too; returns those that are there. */
export function tapNamed({ graph }: Model, names: readonly string[]): string[] {
	const values = new Map(
		[...graph.nodes].flatMap(({ outputs }) => outputs).map((value) => [value.name, value] as const),
	);
	return names.filter((name) => {
		const value = values.get(name);
		if (value !== undefined && !value.isGraphOutput) graph.addOutput(value);
		return value !== undefined;
	});
}

/** What the matrix product that `value` comes out of, by operators without weights, is made of. */
function projected(value: Value): Value | undefined {
	for (let at: Value | undefined = value; at?.producer !== undefined; ) {
		const { producer }: Value = at;
		if (producer === undefined || isOnnxOp(producer, "MatMul", "Gemm")) return producer?.inputs[0];
		at = producer.inputs.find((input) => input !== undefined && constantOf(input) === undefined);
	}
	return undefined;
}
