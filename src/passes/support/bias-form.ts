import { intAttribute, intOf } from "../../ir/attribute.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp } from "../../ir/node.js";
import { floatTensor } from "../../ir/tensor.js";
import { DataType, elementCount } from "../../ir/types.js";
import { MAX_BLOCK_SCALE_INT } from "../../quant/lpbq.js";
import { roundHalfEven } from "../../quant/rounding.js";
import { addConstant, constantOf } from "../../weights/constant.js";
import { elementsOf } from "../../weights/numbers.js";
import type { Dequantization, WeightSite } from "../../weights/weight-site.js";
import { codesTensor, encodingBehind } from "./qdq.js";
import { removeUnused } from "./remove-unused.js";
import { smallConstantOf, valuesOf } from "./small-constant.js";

/** Scales that differ by no more than this part are the same. */
const TOLERANCE = 1e-6;

/** A bias as INT32 whose step in every channel is that of the products: input scale times channel scale. */
export interface BiasCodes {
	readonly codes: Int32Array;
	/** One, or one a channel. */
	readonly scales: Float32Array;
}

export type NoBias = "right" | "input" | "bias" | "scales" | "overflow";

/**
 * The bias that the operator at `site` is to have, or why it keeps the one it has.
 *
 * @param floatToo a float bias is to become codes also where the target takes it.
 */
export function biasCodesOf(site: WeightSite, floatToo = false): BiasCodes | NoBias {
	const { node, dequantization, axes } = site;
	const bias = node.inputs[2];
	const channels = channelCount(site);
	if (bias === undefined || dequantization === undefined || axes === undefined) return "right";
	if (isRightAsItIs(site, floatToo)) return "right";
	const input = encodingBehind(node.inputs[0]);
	if (input === undefined) return "input";
	const constant = smallConstantOf(bias);
	if (constant === undefined || (constant.values.length !== channels && constant.values.length !== 1)) return "bias";
	const weightScales = channelScales(site, dequantization, channels);
	if (weightScales === undefined) return "scales";
	const scales = weightScales.map((scale) => scale * input.scale);
	const valueAt = (channel: number) => constant.values[constant.values.length === 1 ? 0 : channel]!;
	const scaleAt = (channel: number) => scales[scales.length === 1 ? 0 : channel]!;
	const codes = Float64Array.from({ length: channels }, (_, channel) =>
		roundHalfEven(valueAt(channel) / scaleAt(channel)),
	);
	if (!codes.every((code) => Math.abs(code) < 2 ** 31)) return "overflow";
	return isSame(bias.producer?.inputs[1], scales) ? "right" : { codes: Int32Array.from(codes), scales };
}

/** A float bias is right beside one scale or one a channel; an INT32 one of a Conv beside one scale, whatever its own. */
function isRightAsItIs({ node, scheme }: WeightSite, floatToo: boolean): boolean {
	const producer = node.inputs[2]?.producer;
	const isQuantized = producer !== undefined && isOnnxOp(producer, "DequantizeLinear");
	if (scheme === "block") return false;
	if (!isQuantized) return !floatToo;
	const { dtype } = constantOf(producer.inputs[0])?.tensor ?? {};
	const isOneScale = elementCount(constantOf(producer.inputs[1])?.tensor.shape ?? [0]) === 1;
	return scheme === "per-tensor" && !isOnnxOp(node, "Gemm") && dtype === DataType.INT32 && isOneScale;
}

/** Makes the operator at `site` read the bias as INT32 codes behind a DequantizeLinear. */
export function replaceBias({ node }: WeightSite, { codes, scales }: BiasCodes, names: NameScope): void {
	const graph = node.graph!;
	const bias = node.inputs[2]!;
	const shape = scales.length === 1 ? [] : [scales.length];
	const zeroPoints = codesTensor(DataType.INT32, shape, new Int32Array(scales.length));
	const inputs = [
		addConstant(graph, names.fresh(`${bias.name}_int32`), codesTensor(DataType.INT32, [codes.length], codes), node),
		addConstant(graph, names.fresh(`${bias.name}_int32_scale`), floatTensor(shape, scales), node),
		addConstant(graph, names.fresh(`${bias.name}_int32_zero_point`), zeroPoints, node),
	];
	const output = graph.createValue(names.fresh(`${bias.name}_int32_dq`));
	const attributes = { axis: intAttribute(0) };
	const name = names.fresh(`${bias.name}_int32_DQ`);
	graph.createNode({ op: "DequantizeLinear", name, inputs, outputs: [output], attributes }, node);
	node.setInput(2, output);
	removeUnused(bias);
}

function isSame(scale: WeightSite["node"]["inputs"][number], wanted: Float32Array): boolean {
	const stored = constantOf(scale)?.tensor;
	const values = stored && valuesOf(stored);
	if (values === undefined || values.length !== wanted.length) return false;
	return wanted.every((value, index) => Math.abs(values[index]! / value - 1) <= TOLERANCE);
}

function channelCount({ node, stored, axes }: WeightSite): number {
	const count = stored.tensor.shape[axes?.channelAxis ?? 0] ?? 0;
	return isOnnxOp(node, "ConvTranspose") ? count * intOf(node, "group", 1) : count;
}

/** The scale of every channel: of block scales a sixteenth of the largest, as the HTP's compiler takes it. */
function channelScales(
	{ axes, scheme }: WeightSite,
	{ scale, axis }: Dequantization,
	channels: number,
): Float32Array | undefined {
	if (scale === undefined || scale.overridable) return undefined;
	const { shape } = scale.tensor;
	if (scheme !== "block") {
		const values = valuesOf(scale.tensor);
		const fits = values?.length === 1 || (axis === axes!.channelAxis && values?.length === channels);
		return values === undefined || !fits ? undefined : Float32Array.from(values);
	}
	if (shape[axes!.channelAxis] !== channels) return undefined;
	const perOuter = elementCount(shape.slice(0, axes!.channelAxis));
	const perChannel = elementCount(shape.slice(axes!.channelAxis + 1));
	const largest = new Float32Array(channels);
	for (let outer = 0; outer < perOuter; outer++) {
		const row = elementsOf(scale.tensor, outer * channels * perChannel, channels * perChannel);
		if (row === undefined) return undefined;
		for (let index = 0; index < row.length; index++) {
			const channel = Math.floor(index / perChannel);
			largest[channel] = Math.max(largest[channel]!, Math.abs(row[index]!));
		}
	}
	return largest.map((value) => value / MAX_BLOCK_SCALE_INT);
}
