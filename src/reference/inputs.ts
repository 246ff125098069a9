import { float16ToFloat32, float32ToFloat16 } from "../quant/float16.js";
import { expectLength } from "../quant/layout.js";
import { Random } from "../quant/random.js";
import type { DataKind } from "./kernel.js";
import {
	ARRAY_CLASSES,
	type InputSpecs,
	type LinearConfig,
	type TensorArray,
	type TensorArrays,
	tensorShape,
	tensorType,
} from "./tensor-spec.js";

/** The inputs that a config has. */
export function inputNames(specs: InputSpecs, config: LinearConfig): string[] {
	return Object.keys(specs).filter((name) => specs[name]!.isBias !== true || config.bias);
}

export function drawInputs(
	specs: InputSpecs,
	config: LinearConfig,
	data: DataKind,
	seed: number,
): Record<string, TensorArray> {
	const arrays: Record<string, TensorArray> = {};
	for (const name of inputNames(specs, config)) {
		const spec = specs[name]!;
		const random = new Random(`${seed} ${name}`);
		const type = tensorType(spec, config);
		const array = new ARRAY_CLASSES[type](tensorShape(spec, config).reduce((a, b) => a * b, 1));
		for (let index = 0; index < array.length; index++) {
			const value = spec[data](random, config);
			array[index] = type === "float16" ? float16ToFloat32(float32ToFloat16(value)) : value;
		}
		arrays[name] = array;
	}
	return arrays;
}

/** Does a kernel have one number a group? Else its group size is K. */
export function hasGroups(specs: InputSpecs): boolean {
	return Object.values(specs).some(({ dims }) => dims.includes("K/g"));
}

/** @throws RangeError where the config makes no sense, or an array does not hold what its shape needs. */
export function expectInputs(specs: InputSpecs, config: LinearConfig, inputs: TensorArrays): void {
	const { rows, depth, channels, groupSize } = config;
	for (const [name, size] of Object.entries({ rows, depth, channels, groupSize })) {
		if (!Number.isInteger(size) || size < 1) throw new RangeError(`${size} ${name}, expected a positive whole number`);
	}
	if (depth % groupSize !== 0) throw new RangeError(`depth ${depth} in groups of ${groupSize}, expected whole groups`);
	if (groupSize !== depth && !hasGroups(specs)) {
		throw new RangeError(`groups of ${groupSize}, expected one of ${depth}: there is one scale a channel`);
	}
	for (const name of inputNames(specs, config)) {
		const shape = tensorShape(specs[name]!, config);
		if (!shape.every(Number.isInteger)) throw new RangeError(`depth ${depth}, expected an even number for '${name}'`);
		const length = shape.reduce((a, b) => a * b, 1);
		expectLength(`elements of '${name}' [${shape.join(", ")}]`, inputs[name]?.length ?? 0, length);
	}
}
