import { inferTypes, type TypeTable } from "../inference/index.js";
import { statedType } from "../inference/stated.js";
import { intOf } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { isOnnxOp, isStandardDomain } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allNodes, allTensors, nodeLabel } from "../ir/walk.js";
import { definePass } from "./infra/pass.js";
import { type FloatReaders, makeFloats, TYPE_ATTRIBUTES } from "./support/float-types.js";

const LARGEST = Math.fround(3.4028234663852886e38);

const READERS: FloatReaders = { [DataType.DOUBLE]: { bytes: 8, decode: narrowed } };

/**
 * What is computed in DOUBLE -> the same in FLOAT, for targets that have no DOUBLE: constants, Casts, values and outputs.
 * Finite numbers beyond the range of FLOAT become its ends. A model stays where an input is DOUBLE, which callers give, or
 * where operators of other domains have DOUBLE.
 */
export const narrowDoubles = definePass<Record<never, never>>({
	name: "narrow-doubles",
	summary: "Compute in FLOAT what is computed in DOUBLE.",
	options: {},
	run(model, context) {
		if (!hasDoubles(model)) return false;
		const reason = whyKept(model, inferTypes(model));
		if (reason !== undefined) {
			context.report("doubles/kept", `DOUBLE stays: ${reason}`, { graph: model.graph.name });
			return false;
		}
		for (const value of model.graph.outputs) {
			if (!isDouble(value)) continue;
			const message = `output '${value.name}' was DOUBLE and is FLOAT`;
			context.report("doubles/output", message, { graph: model.graph.name, value: value.name });
		}
		makeFloats(model, READERS);
		removeCasts(model);
		context.count("models computed in FLOAT");
		return true;
	},
});

const isDouble = (value: Value) => {
	const type = statedType(value);
	return type?.kind === "tensor" && type.elementType === DataType.DOUBLE;
};

/** Nothing else than a constant, an input or an operator that is told to makes DOUBLE. */
function hasDoubles(model: Model): boolean {
	if (model.graph.inputs.some(isDouble)) return true;
	for (const { dtype } of allTensors(model)) if (dtype === DataType.DOUBLE) return true;
	for (const { node } of allNodes(model)) {
		if (isStandardDomain(node.op.domain) && TYPE_ATTRIBUTES.some((name) => intOf(node, name, 0) === DataType.DOUBLE))
			return true;
	}
	return false;
}

function whyKept(model: Model, types: TypeTable): string | undefined {
	const input = model.graph.inputs.find(isDouble);
	if (input !== undefined) return `input '${input.name}' is DOUBLE`;
	for (const { node } of allNodes(model)) {
		if (isStandardDomain(node.op.domain)) continue;
		const values = [...node.inputs, ...node.outputs].filter((value) => value !== undefined);
		if (values.some((value) => elementTypeOf(types, value) === DataType.DOUBLE))
			return `'${nodeLabel(node)}' of domain '${node.op.domain}' computes on it`;
	}
	return undefined;
}

function elementTypeOf(types: TypeTable, value: Value): DataType | undefined {
	const type = types.typeOf(value);
	return type?.kind === "tensor" ? type.elementType : undefined;
}

/** Casts from FLOAT to what is FLOAT now. */
function removeCasts(model: Model): void {
	const types = inferTypes(model);
	for (const { node } of [...allNodes(model)]) {
		const [[input], [output]] = [node.inputs, node.outputs];
		if (!isOnnxOp(node, "Cast") || input === undefined || output === undefined || output.isGraphOutput) continue;
		if ([input, output].some((value) => elementTypeOf(types, value) !== DataType.FLOAT)) continue;
		output.replaceUsesWith(input);
		node.remove();
	}
}

function narrowed(bytes: Uint8Array): Float32Array {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	return Float32Array.from({ length: bytes.byteLength / 8 }, (_, index) => {
		const value = view.getFloat64(index * 8, true);
		return Number.isFinite(value) ? Math.min(LARGEST, Math.max(-LARGEST, value)) : value;
	});
}
