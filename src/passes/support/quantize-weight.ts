import type { TensorData } from "../../ir/data.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp } from "../../ir/node.js";
import { bytesOf, tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import { dequantizeBlocks } from "../../quant/codes.js";
import { type BlockLayout, blockLayout, slabFirstChannel, slabStart } from "../../quant/layout.js";
import { unpackInt4 } from "../../quant/packing.js";
import { PRECISION_FACTS } from "../../recipe/precision.js";
import type { Setting } from "../../recipe/recipe.js";
import { type BlockWeight, partOf, type SlabRange, slabValues, THREAD_READER } from "./block-weight.js";
import { type ChannelFit, fitChannels } from "./channel-fit.js";
import type { Refusal } from "./eligibility.js";
import { quantizeBlocksOf } from "./float-blocks.js";
import { channelSource, tableSource } from "./float-source.js";
import { gptqWeight } from "./gptq-weight.js";
import { halfOf } from "./half-tensor.js";
import { type InputFactors, knownInputs } from "./input-factors.js";
import { insertDequantization, insertNarrowed } from "./insert-quantized.js";
import {
	type FloatWeight,
	notFinite,
	type QuantizedWeight,
	type QuantizeTools,
	type WeightFitOptions,
} from "./quantized-weight.js";
import { slabError } from "./slab-error.js";
import { aimedAt } from "./target-weight.js";

const CODE_TYPES = { 4: DataType.INT4, 8: DataType.INT8, 16: DataType.INT16 } as const;

/** Finds scales and codes that make `weight` what `setting` says, or why there are none. */
export async function quantizeWeight(
	weight: FloatWeight,
	setting: Setting,
	options: WeightFitOptions,
	tools: QuantizeTools,
): Promise<QuantizedWeight | Refusal> {
	const facts = PRECISION_FACTS[setting.precision];
	if (facts.isFloat) return narrow(weight);
	if (facts.isBlock) return quantizeBlocksOf(weight, setting, options, tools);
	const channels = setting.granularity === "per-channel" ? channelsOf(weight) : undefined;
	const original = channels ?? tableSource(weight.constant.tensor);
	const granularity = channels === undefined ? "per-tensor" : "per-channel";
	const bits = facts.weightBits as 4 | 8 | 16;
	const gptqIn = gptqOptions(original, bits, options);
	const known = channels && (await knownInputs(gptqIn, channels.layout.depth, tools.pool));
	const target = await aimedAt(asMatrix(original), known?.factors, gptqIn, tools);
	const source = { ...original, float: target.float };
	const fit = await fitChannels(source, { ...options, importance: known?.importance, bits, granularity }, tools.pool);
	if (fit === undefined) return notFinite(weight.constant);
	const isConvolution = weight.sites.some(({ node }) => isOnnxOp(node, "Conv"));
	const gptq = known?.factors && (await gptqChannels(source, { ...fit, bits, isConvolution }, known.factors, tools));
	const { codes, scales } = gptq ?? fit;
	const { layout } = asMatrix(original);
	const values = (range: SlabRange) => channelValues(layout, codes, scales, bits as 4 | 8, range);
	return {
		form: granularity,
		...(gptq === undefined ? {} : { fit: "gptq" as const }),
		bytes: fit.codes.byteLength + fit.scales.byteLength,
		insert: (names) => insertChannels(weight, { ...fit, codes, scales }, bits, granularity, names),
		error: async () => (gptq === undefined ? fit.error : slabError(asMatrix(original), values)),
		errorOfMax: target.float === original.float ? fit.errorOfMax : undefined,
		...(bits === 16 ? {} : { values: slabValues(layout, values) }),
	};
}

/** Without moments where codes are not chosen by GPTQ: 16 bits gain nothing, and moments may be of other inputs. */
function gptqOptions(source: BlockWeight, bits: 4 | 8 | 16, options: WeightFitOptions): WeightFitOptions {
	const isOf = options.moments?.depth === asMatrix(source).layout.depth;
	return bits !== 16 && isOf ? options : { ...options, moments: undefined };
}

/**
 * How many scales are tried for a channel of no more inputs, each with GPTQ; of more inputs roundings cancel out with any. So they
 * do for matrices: MiniLM's, of 384 inputs, gain nothing, a text recognizer's convolutions of 480 channels 1 dB.
 */
const SCALES_TRIED = [
	{ depth: 64, count: 48 },
	{ depth: 640, count: 12 },
] as const;

/** Less would clip, more would be coarse. */
const [LEAST_FACTOR, MOST_FACTOR] = [0.9, 1.25];

/** What scales of channels with `depth` inputs are multiplied by in turn. */
function scaleFactors(depth: number, isConvolution: boolean): number[] {
	const { count = 0 } =
		SCALES_TRIED.find((tried) => depth <= tried.depth && (isConvolution || tried === SCALES_TRIED[0])) ?? {};
	return Array.from(
		{ length: count },
		(_, step) => LEAST_FACTOR * (MOST_FACTOR / LEAST_FACTOR) ** (step / (count - 1)),
	);
}

/** Codes by GPTQ on the scales of a fit, or some near these. */
async function gptqChannels(
	source: BlockWeight,
	{ scales, bits, isConvolution }: Pick<ChannelFit, "scales"> & { bits: 4 | 8 | 16; isConvolution: boolean },
	factors: InputFactors,
	tools: QuantizeTools,
): Promise<Pick<ChannelFit, "codes" | "scales">> {
	const matrix = asMatrix(source);
	const { blocks, channelCount, depth } = matrix.layout;
	const grid = {
		scalesOf: (range: SlabRange) => expandScales(matrix.layout, range, scales),
		bits: bits as 4 | 8,
		codeMin: -(1 << (bits - 1)),
		factors: scaleFactors(depth, isConvolution),
	};
	const found = await gptqWeight(matrix, grid, factors, tools);
	const scaleOf = (_: unknown, channel: number) => found.scales[channel * blocks]!;
	return { codes: found.codes, scales: Float32Array.from({ length: channelCount }, scaleOf) };
}

/** The positions of a convolution's kernel as inputs of their own: [O, I, kernel] as [O, I * kernel]. */
function asMatrix(source: BlockWeight): BlockWeight {
	const { outer, depth, channels, spatial, blockSize } = source.layout;
	if (spatial === 1 || channels !== 1) return source;
	return { ...source, layout: blockLayout([outer, depth * spatial], 1, 0, blockSize) };
}

/** The scales of channels for every block of some slabs, [count, channels, spatial]. */
function expandScales(layout: BlockLayout, { first, count }: SlabRange, scales: Float32Array): Float32Array {
	const { channels, spatial } = layout;
	const expanded = new Float32Array(count * channels * spatial);
	for (let slab = 0, at = 0; slab < count; slab++) {
		const channel = slabFirstChannel(layout, first + slab);
		for (let index = 0; index < channels; index++, at += spatial) {
			expanded.fill(scales[channel + index]!, at, at + spatial);
		}
	}
	return expanded;
}

/** What codes of a scale a channel, or one for all, stand for. */
function channelValues(
	layout: BlockLayout,
	codes: TensorData,
	scales: Float32Array,
	bits: 4 | 8,
	range: SlabRange,
): Float32Array {
	const { first, count } = range;
	const [start, end] = [slabStart(layout, first), slabStart(layout, first + count)];
	const bytes = Uint8Array.from(codes.read((start * bits) / 8, Math.ceil((end * bits) / 8)));
	const integers = bits === 4 ? unpackInt4(bytes, 0, end - start) : new Int8Array(bytes.buffer);
	return dequantizeBlocks(integers, expandScales(layout, range, scales), layout, first, count);
}

function channelsOf({ sites }: FloatWeight): BlockWeight | undefined {
	const [site] = sites;
	return site === undefined ? undefined : channelSource(site);
}

function insertChannels(
	{ constant, sites, uses }: FloatWeight,
	{ codes, scales }: ChannelFit,
	bits: 4 | 8 | 16,
	granularity: "per-channel" | "per-tensor",
	names: NameScope,
): void {
	const shape = granularity === "per-tensor" ? [] : [scales.length];
	insertDequantization(
		constant,
		uses,
		{
			codes: tensor(CODE_TYPES[bits], constant.tensor.shape, codes),
			scales: tensor(DataType.FLOAT, shape, bytesOf(scales)),
			axis: granularity === "per-tensor" ? undefined : sites[0]!.axes!.channelAxis,
			blockSize: 0,
		},
		names,
	);
}

/** FLOAT16 instead of FLOAT. */
function narrow({ constant, uses }: FloatWeight): QuantizedWeight | Refusal {
	const { tensor: stored } = constant;
	if (stored.dtype !== DataType.FLOAT) {
		return { code: "weight/not-float", message: `weight '${constant.value.name}' has 16 bits already` };
	}
	const half = halfOf(stored);
	return {
		form: "fp16",
		bytes: half.data.byteLength,
		insert: (names) => insertNarrowed(constant, uses, half, names),
		error: async () =>
			slabError(tableSource(stored), (range) => THREAD_READER.values(partOf(tableSource(half), range))),
	};
}
