import type { DiagnosticCode } from "../../diagnostics.js";
import type { Tensor } from "../../ir/tensor.js";
import { DataType, dataTypeName, elementCount, rawByteLength } from "../../ir/types.js";
import { blockLayout } from "../../quant/layout.js";
import type { WeightSite } from "../../weights/weight-site.js";
import type { BlockWeight } from "./block-weight.js";
import type { Refusal } from "./eligibility.js";

const FLOAT_TYPES: readonly DataType[] = [DataType.FLOAT, DataType.FLOAT16, DataType.BFLOAT16];

export function isFloatType(dtype: DataType): boolean {
	return FLOAT_TYPES.includes(dtype);
}

/** Why the weight at `site` cannot be quantized whatever it should become; undefined where it can. */
export function floatRefusal({
	stored,
	dequantization,
	indirect,
	weightName,
	axes,
	node,
}: WeightSite): Refusal | undefined {
	const { dtype, shape, data } = stored.tensor;
	if (stored.overridable) return refuse("weight/overridable", `weight '${weightName}' is a graph input too`);
	if (dequantization !== undefined) return refuse("weight/quantized", `weight '${weightName}' is quantized already`);
	if (indirect !== undefined) {
		return refuse("weight/indirect", `weight '${weightName}' reaches its operator through ${indirect.op.type}`);
	}
	if (!isFloatType(dtype)) {
		return refuse("weight/not-float", `weight '${weightName}' is ${dataTypeName(dtype)}, expected a float type`);
	}
	if (axes === undefined || elementCount(shape) === 0) {
		return refuse("weight/rank", `weight '${weightName}' of ${node.op.type} has shape [${shape.join(", ")}]`);
	}
	const expected = rawByteLength(dtype, shape);
	if (data.byteLength === expected) return undefined;
	return refuse("weight/data-length", `weight '${weightName}' has ${data.byteLength} bytes, expected ${expected}`);
}

/** A float weight seen in blocks of `blockSize`. */
export function floatSource({ stored, axes }: WeightSite, blockSize: number): BlockWeight {
	const { shape, dtype, data } = stored.tensor;
	const layout = blockLayout(shape, axes!.blockAxis, axes!.channelAxis, blockSize);
	return { layout, codes: undefined, scales: undefined, float: { dtype, data } };
}

/** Rows that a weight without blocks is read in at a time. */
const CHUNK_ROWS = 64;

/**
 * A float weight for scales a channel of the channel axis; undefined where its memory order does not allow that. Leading
 * axes of a MatMul's right operand count as part of the depth: ONNX has one scale for an index of the channel axis.
 */
export function channelSource({ stored, axes }: WeightSite): BlockWeight | undefined {
	const { shape, dtype, data } = stored.tensor;
	const { blockAxis, channelAxis } = axes!;
	const leading = Math.min(blockAxis, channelAxis);
	const merged = elementCount(shape.slice(0, leading + 1));
	const rest = shape.slice(leading + 1);
	if (leading > 0 && blockAxis > channelAxis) return undefined;
	const layout = blockLayout([merged, ...rest], blockAxis - leading, channelAxis - leading, CHUNK_ROWS);
	return { layout, codes: undefined, scales: undefined, float: { dtype, data } };
}

/** A float table as a single channel, for one scale. */
export function tableSource({ shape, dtype, data }: Tensor): BlockWeight {
	const layout = blockLayout([1, elementCount(shape)], 1, 0, TABLE_CHUNK);
	return { layout, codes: undefined, scales: undefined, float: { dtype, data } };
}

/** Elements of a table that are read at a time. */
const TABLE_CHUNK = 2 ** 16;

function refuse(code: DiagnosticCode, message: string): Refusal {
	return { code, message };
}
