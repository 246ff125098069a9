import { inferTypes } from "../../inference/index.js";
import type { Model } from "../../ir/model.js";
import type { ValueType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { allGraphs } from "../../ir/walk.js";

/** Writes what follows over what was stated of values that nodes compute. */
export function restateTypes(model: Model): void {
	const types = inferTypes(model);
	for (const value of statedValues(model)) {
		if (value.producer === undefined || value.type === undefined) continue;
		const type = types.typeOf(value);
		if (type !== undefined && !isSame(type, value.type)) value.type = type;
	}
}

/** The values whose types a file states; function bodies have names of their own and are left out. */
export function* statedValues(model: Model): Generator<Value> {
	for (const { graph, function: definition } of allGraphs(model)) {
		if (definition !== undefined) continue;
		yield* new Set([...graph.inputs, ...graph.outputs, ...graph.valueInfo]);
	}
}

function isSame(a: ValueType, b: ValueType): boolean {
	return JSON.stringify(a) === JSON.stringify(b);
}
