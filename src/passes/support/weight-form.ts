import { intOf } from "../../ir/attribute.js";
import type { Tensor } from "../../ir/tensor.js";
import { DataType, dataTypeName, elementCount, rawByteLength } from "../../ir/types.js";
import { type BlockLayout, blockLayout } from "../../quant/layout.js";
import { type Constant, constantOf } from "../../weights/constant.js";
import type { Dequantization, WeightSite } from "../../weights/weight-site.js";
import type { Refusal } from "./eligibility.js";
import { valuesOf } from "./small-constant.js";

/** LPBQ's scales: integers of the shape of the blocks, and a FLOAT for every channel. */
export interface LpbqScaleTensors {
	readonly integers: Tensor;
	readonly channelScales: Tensor;
}

/** How a weight is stored, apart from the graph: what DequantizeLinear nodes read. Passes make one form of another. */
export interface WeightForm {
	/** INT4, UINT4, INT8 or UINT8. */
	readonly codes: Tensor;
	readonly blockAxis: number;
	readonly channelAxis: number;
	/** 0: one scale a channel. */
	readonly blockSize: number;
	/** FLOAT, one a block, or one a channel; undefined where LPBQ's make them. */
	readonly scale: Tensor | undefined;
	readonly lpbq: LpbqScaleTensors | undefined;
	/** Of the codes' type and the scales' shape. */
	readonly zeroPoint: Tensor | undefined;
}

/** The blocks of a form; without blocks, each channel is one. */
export function layoutOf({ codes, blockAxis, channelAxis, blockSize }: WeightForm): BlockLayout {
	const depth = codes.shape[blockAxis]!;
	return blockLayout(codes.shape, blockAxis, channelAxis, blockSize === 0 ? depth : blockSize);
}

const CODE_TYPES: readonly number[] = [DataType.INT4, DataType.UINT4, DataType.INT8, DataType.UINT8];

/** The form of the block-quantized or LPBQ weight at `site`, or what is odd about it. */
export function formOf(site: WeightSite): WeightForm | Refusal {
	const { stored, dequantization, axes, weightName, indirect } = site;
	if (stored.overridable) return refuse("weight/overridable", `weight '${weightName}' is a graph input too`);
	if (indirect !== undefined || dequantization === undefined) {
		return refuse("weight/indirect", `weight '${weightName}' reaches its operator through ${indirect?.op.type}`);
	}
	const { shape, dtype } = stored.tensor;
	const { axis, blockSize, zeroPoint, hasZeroPoint } = dequantization;
	if (!CODE_TYPES.includes(dtype)) {
		return refuse("weight/not-int4", `weight '${weightName}' is ${dataTypeName(dtype)}, expected 4 or 8 bits`);
	}
	if (axes === undefined || elementCount(shape) === 0) {
		return refuse("weight/rank", `weight '${weightName}' of ${site.node.op.type} has shape [${shape.join(", ")}]`);
	}
	if (axis !== axes.blockAxis || blockSize <= 0) {
		const message = `weight '${weightName}' is blocked along axis ${axis}, but ${site.node.op.type} sums over axis ${axes.blockAxis}`;
		return refuse("weight/block-axis", message);
	}
	const blocks = shape.map((dim, index) => (index === axis ? Math.ceil(dim / blockSize) : dim));
	const scales = scalesOf(dequantization, blocks, axes.channelAxis);
	if (scales === undefined || (hasZeroPoint && !isConstantOf(zeroPoint, dtype, blocks))) {
		const message = `the scales or zero points of weight '${weightName}' are no constants of shape [${blocks.join(", ")}] and type FLOAT`;
		return refuse("weight/scale-not-constant", message);
	}
	const { byteLength } = stored.tensor.data;
	if (byteLength !== rawByteLength(dtype, shape)) {
		return refuse(
			"weight/data-length",
			`weight '${weightName}' has ${byteLength} bytes, expected ${rawByteLength(dtype, shape)}`,
		);
	}
	return { codes: stored.tensor, ...axes, blockSize, ...scales, zeroPoint: zeroPoint?.tensor };
}

function scalesOf(
	{ scale, scaleNode }: Dequantization,
	blocks: readonly number[],
	channelAxis: number,
): Pick<WeightForm, "scale" | "lpbq"> | undefined {
	if (scaleNode === undefined) {
		return isConstantOf(scale, DataType.FLOAT, blocks) ? { scale: scale.tensor, lpbq: undefined } : undefined;
	}
	const [integers, channelScales, zeroPoint] = scaleNode.inputs.map(constantOf);
	if (!isConstantOf(integers, DataType.UINT8, blocks)) return undefined;
	if (!isConstantOf(channelScales, DataType.FLOAT, [blocks[channelAxis]!])) return undefined;
	const axis = intOf(scaleNode, "axis", 1);
	if ((axis < 0 ? axis + blocks.length : axis) !== channelAxis || intOf(scaleNode, "block_size", 0) !== 0)
		return undefined;
	const zeros = zeroPoint === undefined ? [] : valuesOf(zeroPoint.tensor);
	const isSymmetric = zeros !== undefined && Array.from(zeros).every((zero) => zero === 0);
	const hasZeroPoint = scaleNode.inputs[2] !== undefined;
	if (!isSymmetric || hasZeroPoint !== (zeroPoint !== undefined)) return undefined;
	return { scale: undefined, lpbq: { integers: integers.tensor, channelScales: channelScales.tensor } };
}

function isConstantOf(constant: Constant | undefined, dtype: DataType, shape: readonly number[]): constant is Constant {
	if (constant === undefined || constant.overridable) return false;
	const { tensor } = constant;
	return (
		tensor.dtype === dtype &&
		tensor.shape.join() === shape.join() &&
		tensor.data.byteLength === rawByteLength(dtype, shape)
	);
}

function refuse(code: Refusal["code"], message: string): Refusal {
	return { code, message };
}
