import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { bytesOf, tensor } from "../../ir/tensor.js";
import { DataType, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { float32ToFloat16 } from "../../quant/float16.js";
import { addConstant } from "../../weights/constant.js";
import {
	elementTypeOf,
	likeOutput,
	MIXED_TYPES,
	type Obstacle,
	obstacleTo,
	type Quantized,
	type Types,
} from "./fusion.js";
import { isOverLastAxis, type Normalization, readersOf } from "./normalization.js";
import { smallConstantOf } from "./small-constant.js";
import { operandsOf } from "./subgraph.js";

/** A normalization with the scale and the bias behind it, ready to become one operator. */
export interface NormFusion {
	/** The node in whose place the operator goes. */
	readonly root: Node;
	readonly x: Value;
	/** One number a channel, or one for all; undefined where there is none. */
	readonly scale: Value | undefined;
	readonly bias: Value | undefined;
	/** Length of the last axis. */
	readonly channels: number;
	/** Element type of what goes in and comes out. */
	readonly dtype: DataType;
}

/** What `found` becomes as operator `type`, or why it cannot. */
export function normFusion(
	found: Normalization,
	type: string,
	{ types, quantized, withBias }: { readonly types: Types; readonly quantized: Quantized; readonly withBias: boolean },
): NormFusion | Obstacle {
	const shape = types.shapeOf(found.x);
	const rank = shape?.length;
	if (!found.means.every((mean) => isOverLastAxis(mean, rank))) {
		const message = `the mean is not taken over the last axis alone, or the rank is not known; ${type} is for that`;
		return { code: "fuse/axis", message };
	}
	const scaled = constantBehind(found.root, "Mul");
	const biased = withBias ? constantBehind(scaled?.node ?? found.root, "Add") : undefined;
	const root = biased?.node ?? scaled?.node ?? found.root;
	const obstacle = obstacleTo(type, root, found.x, quantized);
	if (obstacle !== undefined) return obstacle;
	const x = likeOutput(found.x, root, types);
	const dtype = x && elementTypeOf(x, types);
	if (x === undefined || dtype === undefined) return MIXED_TYPES;
	const channels = shape?.at(-1);
	const parameters = [scaled?.constant, biased?.constant].filter((value) => value !== undefined);
	const fits = (value: Value) => {
		const dims = smallConstantOf(value)!.shape;
		const size = elementCount(dims);
		return dims.length <= rank! && (size === 1 || (size === channels && dims.at(-1) === channels));
	};
	const isFloat = dtype === DataType.FLOAT || dtype === DataType.FLOAT16;
	if (typeof channels !== "number" || !isFloat || !parameters.every(fits)) {
		const message = `${type} has one scale and one bias a channel of a known number, of the type of what goes in`;
		return { code: "fuse/parameter", message };
	}
	return { root, x, scale: scaled?.constant, bias: biased?.constant, channels, dtype };
}

/** The operator `type` with a constant that alone reads what `node` gives. */
function constantBehind(node: Node, type: string): { readonly node: Node; readonly constant: Value } | undefined {
	const result = node.outputs[0]!;
	const [reader, ...others] = readersOf(result);
	if (reader === undefined || others.length > 0 || result.isGraphOutput || !isOnnxOp(reader, type)) return undefined;
	for (const [, constant] of operandsOf(reader)) {
		if (smallConstantOf(constant) !== undefined) return { node: reader, constant };
	}
	return undefined;
}

/** `value` as one number a channel, of the element type of what goes in; ones where it is undefined. */
export function channelVector(
	value: Value | undefined,
	{ channels, dtype, root }: NormFusion,
	{ name, names, types }: { readonly name: string; readonly names: NameScope; readonly types: Types },
): Value {
	const { shape, values } = smallConstantOf(value) ?? { shape: [], values: [1] };
	const isVector = shape.length === 1 && values.length === channels;
	if (value !== undefined && isVector && elementTypeOf(value, types) === dtype) return value;
	const all = Float32Array.from({ length: channels }, (_, index) => values[values.length === 1 ? 0 : index]!);
	const stored = dtype === DataType.FLOAT ? all : Uint16Array.from(all, float32ToFloat16);
	return addConstant(root.graph!, names.fresh(name), tensor(dtype, [channels], bytesOf(stored)), root);
}
