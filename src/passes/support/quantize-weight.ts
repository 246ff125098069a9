import type { NameScope } from "../../ir/names.js";
import { bytesOf, tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import { type ErrorSum, errorSum } from "../../quant/measure.js";
import { PRECISION_FACTS } from "../../recipe/precision.js";
import type { Setting } from "../../recipe/recipe.js";
import { type BlockWeight, partOf, slabRanges, THREAD_READER } from "./block-weight.js";
import { type ChannelFit, fitChannels } from "./channel-fit.js";
import type { Refusal } from "./eligibility.js";
import { quantizeBlocksOf } from "./float-blocks.js";
import { channelSource, tableSource } from "./float-source.js";
import { halfOf } from "./half-tensor.js";
import { insertDequantization, insertNarrowed } from "./insert-quantized.js";
import {
	type FloatWeight,
	notFinite,
	type QuantizedWeight,
	type QuantizeTools,
	type WeightFitOptions,
} from "./quantized-weight.js";

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
	const source = channels ?? tableSource(weight.constant.tensor);
	const granularity = channels === undefined ? "per-tensor" : "per-channel";
	const bits = facts.weightBits as 4 | 8 | 16;
	const fit = await fitChannels(
		source,
		{ ...options, importance: channels && options.importance, bits, granularity },
		tools.pool,
	);
	if (fit === undefined) return notFinite(weight.constant);
	return {
		form: granularity,
		bytes: fit.codes.byteLength + fit.scales.byteLength,
		insert: (names) => insertChannels(weight, fit, bits, granularity, names),
		error: async () => fit.error,
		errorOfMax: fit.errorOfMax,
	};
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
		error: async () => measureHalf(tableSource(stored), tableSource(half)),
	};
}

function measureHalf(float: BlockWeight, half: BlockWeight): ErrorSum {
	const sum = { signal: 0, error: 0 };
	for (const range of slabRanges(float.layout)) {
		const values = Float32Array.from(THREAD_READER.values(partOf(float, range)));
		const { signal, error } = errorSum(values, THREAD_READER.values(partOf(half, range)));
		sum.signal += signal;
		sum.error += error;
	}
	return sum;
}
