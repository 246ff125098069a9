import type { TensorData } from "../../ir/data.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp } from "../../ir/node.js";
import { tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import { quantizeBlocks } from "../../quant/codes.js";
import type { ErrorSum } from "../../quant/measure.js";
import type { Setting } from "../../recipe/recipe.js";
import { weightSiteAt } from "../../weights/weight-site.js";
import {
	type BlockWeight,
	chosenCodes,
	partOf,
	type SlabRange,
	slabValues,
	THREAD_READER,
	taskRanges,
} from "./block-weight.js";
import type { Conversion, LpbqForm } from "./conversion.js";
import type { Refusal } from "./eligibility.js";
import { repeatedBlockScales } from "./fit-error.js";
import { fitFloatWeight } from "./float-lpbq.js";
import { floatSource } from "./float-source.js";
import { type GptqGrid, gptqWeight } from "./gptq-weight.js";
import { knownInputs } from "./input-factors.js";
import { insertDequantization } from "./insert-quantized.js";
import type { LpbqFit } from "./lpbq-fit.js";
import { rewriteToLpbq } from "./lpbq-rewrite.js";
import {
	type FloatWeight,
	notFinite,
	type QuantizedWeight,
	type QuantizeTools,
	type WeightFitOptions,
} from "./quantized-weight.js";
import { scanScales } from "./scale-scan.js";
import { slabError } from "./slab-error.js";
import { slabNumbers } from "./slab-numbers.js";
import { aimedAt } from "./target-weight.js";
import type { TaskPool } from "./task-pool.js";

/** A float weight as int4 codes in blocks, with LPBQ's scales or a float one a block. */
export async function quantizeBlocksOf(
	weight: FloatWeight,
	{ blockSize, blockScales }: Setting,
	options: WeightFitOptions,
	tools: QuantizeTools,
): Promise<QuantizedWeight | Refusal> {
	const { pool, spool } = tools;
	const [site] = weight.sites;
	const original = floatSource(site!, blockSize);
	const scanned = await scanScales(original, pool);
	if (!scanned.finite) return notFinite(weight.constant);
	if (blockScales === "bq") return blockQuantized(weight, original, pool);
	const form: LpbqForm = isOnnxOp(site!.node, "Conv") ? "exact-bq" : "double-dq";
	const { exponent, codeMin } = options;
	const { factors, importance } = await knownInputs(options, original.layout.depth, pool);
	const source = await aimedAt(original, factors, options, tools);
	const scan = source === original ? scanned : await scanScales(source, pool);
	const fit = await fitFloatWeight(
		source,
		site!.node,
		scan,
		{ fit: options.fit, form, exponent, codeMin, importance, balances: factors === undefined },
		pool,
		spool,
	);
	const gptq = factors && (await gptqWeight(source, gridOf(fit, source, codeMin), factors, tools));
	const codes = gptq?.codes ?? fit.codes!;
	const blocks = { layout: source.layout, codes, scales: fit.effectiveScales, float: undefined };
	return {
		form,
		...(gptq === undefined ? {} : { fit: "gptq" as const }),
		bytes: codes.byteLength + fit.blockScaleInts.byteLength + fit.channelScales.byteLength,
		insert: (names) => insertLpbq(weight, source, { ...fit, codes }, form, names),
		error:
			gptq === undefined
				? () => fit.error(Promise.resolve())
				: async () => slabError(original, (range) => THREAD_READER.values(partOf(blocks, range))),
		errorOfMax: source === original ? fit.errorOfMax : undefined,
		largest: scanned.largest,
		values: valuesOf(blocks),
		blocks,
	};
}

function gridOf(fit: LpbqFit, { layout }: BlockWeight, codeMin: number): GptqGrid {
	const columns = layout.channels * layout.spatial;
	const scalesOf = ({ first, count }: SlabRange) => {
		const bytes = fit.effectiveScales.read(first * columns * 4, (first + count) * columns * 4);
		return new Float32Array(Uint8Array.from(bytes).buffer);
	};
	return { scalesOf, bits: 4, codeMin, factors: [] };
}

function valuesOf(weight: BlockWeight): TensorData {
	return slabValues(weight.layout, (range) => THREAD_READER.values(partOf(weight, range)));
}

/** Float scales of every block by AIMET's calibration. */
function blockQuantized(weight: FloatWeight, source: BlockWeight, pool: TaskPool): QuantizedWeight {
	const { layout } = source;
	const scalesOf = (range: SlabRange) => repeatedBlockScales(THREAD_READER, partOf(source, range));
	const scales = slabNumbers(layout, Float32Array, scalesOf);
	const codes = chosenCodes(layout, (range) => {
		const values = THREAD_READER.values(partOf(source, range));
		return quantizeBlocks(values, layout, range.first, range.count, scalesOf(range));
	});
	const measure = async (): Promise<ErrorSum> => {
		const sum = { signal: 0, error: 0 };
		await pool.each(
			taskRanges(layout),
			(range) => ({ kind: "measure-blocks", part: partOf(source, range) }),
			({ signal, error }) => {
				sum.signal += signal;
				sum.error += error;
			},
		);
		return sum;
	};
	return {
		form: "bq",
		bytes: codes.byteLength + scales.byteLength,
		insert: (names) => void insertBlocks(weight, source, codes, scales, names),
		error: measure,
		values: valuesOf({ layout, codes, scales, float: undefined }),
	};
}

/** Puts codes and a FLOAT scale a block into the graph; the uses of the weight as they are then. */
function insertBlocks(
	{ constant, uses, sites }: FloatWeight,
	{ layout }: BlockWeight,
	codes: TensorData,
	scales: TensorData,
	names: NameScope,
): Conversion["sites"] {
	const { shape } = constant.tensor;
	const axis = sites[0]!.axes!.blockAxis;
	const { blockSize } = layout;
	const blocks = shape.map((dim, index) => (index === axis ? layout.blocks : dim));
	insertDequantization(
		constant,
		uses,
		{ codes: tensor(DataType.INT4, shape, codes), scales: tensor(DataType.FLOAT, blocks, scales), axis, blockSize },
		names,
	);
	// behind weights with 16 bits there is a Cast now, which leaves the axes what they are
	return sites.map(({ node, input, graphSite, opset, axes }) => {
		return { ...weightSiteAt(node, input, graphSite, opset)!, axes };
	});
}

function insertLpbq(weight: FloatWeight, source: BlockWeight, fit: LpbqFit, form: LpbqForm, names: NameScope): void {
	const sites = insertBlocks(weight, source, fit.codes!, fit.effectiveScales, names);
	if (form === "exact-bq") return;
	const dequantizations = new Map(sites.map(({ dequantization }) => [dequantization!.node, dequantization!]));
	const { channelAxis } = sites[0]!.axes!;
	rewriteToLpbq(
		{
			sites,
			dequantizations: [...dequantizations.values()],
			embeddings: [],
			form,
			layout: source.layout,
			weight: source,
			channelAxis,
		},
		{ ...fit, codes: undefined },
		names,
	);
}
