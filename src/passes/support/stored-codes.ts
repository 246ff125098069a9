import { intAttribute } from "../../ir/attribute.js";
import { computedData } from "../../ir/data.js";
import type { NameScope } from "../../ir/names.js";
import { bytesOf, floatTensor, type Tensor, tensor } from "../../ir/tensor.js";
import { bitsPerElement, DataType, dataTypeName, elementCount } from "../../ir/types.js";
import type { ErrorSum } from "../../quant/measure.js";
import { packInt4 } from "../../quant/packing.js";
import type { IntegerRange } from "../../quant/range.js";
import type { OperatorFacts } from "../../targets/operator-facts.js";
import { activationType, takesWeightType } from "../../targets/weight-types.js";
import { addConstant } from "../../weights/constant.js";
import { eachNumber, elementsOf } from "../../weights/numbers.js";
import type { WeightSite } from "../../weights/weight-site.js";
import { unsignBoth } from "./encoding-remedies.js";
import type { Remedy, Tools } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { type SmallConstant, smallConstantOf } from "./small-constant.js";

/** A weight without blocks as it is stored: code * scale - zero point * scale, with one of each, or one for every channel. */
interface StoredWeight {
	readonly site: WeightSite;
	readonly codes: Tensor;
	readonly scale: SmallConstant;
	readonly zeroPoints: ArrayLike<number>;
	/** Of the channels; undefined where there is one scale. */
	readonly axis: number | undefined;
}

type CodeType =
	| typeof DataType.INT4
	| typeof DataType.INT8
	| typeof DataType.UINT8
	| typeof DataType.INT16
	| typeof DataType.UINT16;

/** How codes are stored anew: what is taken off those of each channel, and what they are multiplied with. */
interface Packing {
	readonly dtype: CodeType;
	readonly offsets: ArrayLike<number>;
	readonly factors: ArrayLike<number>;
	readonly zeroPoint: number;
}

/**
 * Codes of a weight that the kernel does not take -> the same numbers in a type that it takes: less their zero points as INT4 or
 * INT8, else what is read and made unsigned, else INT16 times a power of two. Where there is none, each channel is rounded
 * anew, to INT16 where that is taken, else INT8, which is reported.
 */
export const storeTaken: Remedy = (operator, tools) => storeWithin(operator, tools, 16);

/** The same in 8 bits at most. */
export const storeBytes: Remedy = (operator, tools) => storeWithin(operator, tools, 8);

function storeWithin(operator: OperatorFacts, tools: Tools, bits: 8 | 16): boolean {
	const stored = storedWeight(operator.weight!.site);
	if (stored === undefined) return false;
	const ranges = differences(stored);
	const takes = (dtype: DataType) =>
		bitsPerElement(dtype)! <= bits && takesWeightType(operator, dtype, tools.architecture);
	const type = activationType(operator);
	const isSigned = type === DataType.INT8 || type === DataType.INT16;
	const packing = exactPacking(stored, ranges, takes);
	if (packing !== undefined) store(stored, packing, tools.names);
	else if (isSigned && operator.weight!.site.input === 1) return unsignBoth(operator, tools);
	else {
		const split = withChannels(stored);
		const dtype = takes(DataType.INT16) ? DataType.INT16 : DataType.INT8;
		const rounded = roundedPacking(split, dtype);
		const loss = lossOf(split, rounded);
		store(split, rounded, tools.names);
		if (loss.error > 0) tools.reportLoss(operator, `its codes were rounded to ${dataTypeName(dtype)}`, loss);
	}
	return true;
}

/** Codes of one type of 16 bits -> the same numbers in the other: UINT16 codes less 32768 are INT16 ones. */
export const exchangeTypes: Remedy = ({ weight }, { names }) => {
	const stored = storedWeight(weight!.site);
	if (stored === undefined) return false;
	const isSigned = stored.codes.dtype === DataType.INT16;
	const offset = isSigned ? -MIDDLE : MIDDLE;
	const dtype = isSigned ? DataType.UINT16 : DataType.INT16;
	store(stored, { dtype, offsets: [offset], factors: [1], zeroPoint: stored.zeroPoints[0]! - offset }, names);
	return true;
};

/** Of UINT16 codes. */
const MIDDLE = 2 ** 15;

function storedWeight(site: WeightSite): StoredWeight | undefined {
	const { dequantization, stored, indirect } = site;
	const scale = smallConstantOf(dequantization?.node.inputs[1]);
	if (dequantization === undefined || scale === undefined || stored.overridable || indirect !== undefined)
		return undefined;
	const zeroPoint = dequantization.node.inputs[2];
	const zeroPoints = zeroPoint === undefined ? { values: [0] } : smallConstantOf(zeroPoint);
	const axis = scale.values.length === 1 ? undefined : dequantization.axis;
	if (zeroPoints === undefined || (axis === undefined) !== (scale.values.length === 1)) return undefined;
	return { site, codes: stored.tensor, scale, zeroPoints: zeroPoints.values, axis };
}

/** The same weight with a scale for every channel, where it is known which axis that is. */
function withChannels(weight: StoredWeight): StoredWeight {
	const axis = weight.site.axes?.channelAxis;
	if (weight.axis !== undefined || axis === undefined) return weight;
	const values = new Float32Array(weight.codes.shape[axis]!).fill(weight.scale.values[0]!);
	return { ...weight, scale: { shape: [values.length], values }, axis };
}

/** The channel of the code at an index. */
function channelIndex({ codes: { shape }, axis }: StoredWeight): (index: number) => number {
	if (axis === undefined) return () => 0;
	const inner = elementCount(shape.slice(axis + 1));
	return (index) => Math.floor(index / inner) % shape[axis]!;
}

/** The least and the largest code of each channel, less its zero point. Reads all codes. */
function differences(weight: StoredWeight): IntegerRange[] {
	const ranges = Array.from({ length: weight.scale.values.length }, () => ({ min: 0, max: 0 }));
	const channelOf = channelIndex(weight);
	eachNumber(weight.codes, (code, index) => {
		const channel = channelOf(index);
		const range = ranges[channel]!;
		const difference = code - at(weight.zeroPoints, channel);
		if (difference < range.min) range.min = difference;
		if (difference > range.max) range.max = difference;
		return undefined;
	});
	return ranges;
}

/** Of one number for all channels, or one for each. */
function at(numbers: ArrayLike<number>, channel: number): number {
	return numbers[numbers.length === 1 ? 0 : channel]!;
}

/** The smallest type that is taken and holds the same numbers. */
function exactPacking(
	{ codes, zeroPoints }: StoredWeight,
	ranges: readonly IntegerRange[],
	takes: (dtype: DataType) => boolean,
): Packing | undefined {
	const min = Math.min(...ranges.map((range) => range.min));
	const max = Math.max(...ranges.map((range) => range.max));
	const signed = { offsets: zeroPoints, factors: [1], zeroPoint: 0 };
	const isNibble = bitsPerElement(codes.dtype) === 4 && min >= -8 && max <= 7;
	if (isNibble && takes(DataType.INT4)) return { dtype: DataType.INT4, ...signed };
	if (min >= -128 && max <= 127) return { dtype: DataType.INT8, ...signed };
	const [zeroPoint] = zeroPoints.length === 1 ? [zeroPoints[0]!] : [];
	const isByte =
		zeroPoint !== undefined && zeroPoint >= 0 && zeroPoint <= 255 && min + zeroPoint >= 0 && max + zeroPoint <= 255;
	if (isByte && ranges.length === 1 && takes(DataType.UINT8))
		return { dtype: DataType.UINT8, offsets: [0], factors: [1], zeroPoint };
	const room = Math.floor(Math.log2(32767 / Math.max(-min, max)));
	if (room < 0 || !takes(DataType.INT16)) return undefined;
	return { dtype: DataType.INT16, offsets: zeroPoints, factors: [2 ** room], zeroPoint: 0 };
}

function roundedPacking(weight: StoredWeight, dtype: typeof DataType.INT8 | typeof DataType.INT16): Packing {
	const largest = dtype === DataType.INT8 ? 127 : 32767;
	const factors = differences(weight).map(({ min, max }) => largest / (Math.max(-min, max) || largest));
	return { dtype, offsets: weight.zeroPoints, factors, zeroPoint: 0 };
}

function lossOf(weight: StoredWeight, { offsets, factors }: Packing): ErrorSum {
	let [signal, error] = [0, 0];
	const channelOf = channelIndex(weight);
	eachNumber(weight.codes, (code, index) => {
		const channel = channelOf(index);
		const exact = (code - at(offsets, channel)) * at(factors, channel);
		const step = weight.scale.values[channel]! / at(factors, channel);
		signal += (exact * step) ** 2;
		error += ((Math.round(exact) - exact) * step) ** 2;
		return undefined;
	});
	return { signal, error };
}

/** The operator reads its weight stored as `packing` says. */
function store(weight: StoredWeight, packing: Packing, names: NameScope): void {
	const { site, scale, axis } = weight;
	const { node, input, graphSite, dequantization } = site;
	const before = node.inputs[input]!;
	const { name } = before;
	const { graph } = graphSite;
	const zeros = new Array<number>(elementCount(scale.shape)).fill(packing.zeroPoint);
	const constants = [
		packed(weight, packing),
		floatTensor(
			scale.shape,
			Float32Array.from(scale.values, (value, channel) => value / at(packing.factors, channel)),
		),
		tensor(packing.dtype, scale.shape, codesAs(packing.dtype, zeros)),
	];
	const inputs = constants.map((constant, index) =>
		addConstant(graph, names.fresh(`${name}_${["packed", "scale", "zero_point"][index]}`), constant, node),
	);
	const made = graph.createValue(names.fresh(`${name}_packed`));
	const attributes = new Map(dequantization!.node.attributes);
	if (axis !== undefined) attributes.set("axis", intAttribute(axis));
	const label = names.fresh(`${name}_packed_DQ`);
	graph.createNode({ op: "DequantizeLinear", name: label, inputs, outputs: [made], attributes }, node);
	node.setInput(input, made);
	removeUnused(before);
}

function packed(weight: StoredWeight, { dtype, offsets, factors }: Packing): Tensor {
	const { codes } = weight;
	const count = elementCount(codes.shape);
	const perByte = 8 / bitsPerElement(dtype)!;
	const channelOf = channelIndex(weight);
	const bytes = computedData(Math.ceil(count / perByte), (start, end) => {
		const first = Math.floor(start * perByte);
		const last = Math.min(count, Math.ceil(end * perByte));
		const elements = elementsOf(codes, first, last - first)!;
		const stored = Array.from(elements, (code, index) => {
			const channel = channelOf(first + index);
			return Math.round((code - at(offsets, channel)) * at(factors, channel));
		});
		const from = Math.floor(first / perByte);
		return codesAs(dtype, stored).subarray(start - from, end - from);
	});
	return tensor(dtype, codes.shape, bytes);
}

const ARRAYS = {
	[DataType.INT8]: Int8Array,
	[DataType.UINT8]: Uint8Array,
	[DataType.INT16]: Int16Array,
	[DataType.UINT16]: Uint16Array,
} as const;

function codesAs(dtype: CodeType, codes: readonly number[]): Uint8Array {
	return dtype === DataType.INT4 ? packInt4(Int8Array.from(codes)) : bytesOf(ARRAYS[dtype].from(codes));
}
