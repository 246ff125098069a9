import type { PlacedAffine } from "../../encodings/placement.js";
import type { Model } from "../../ir/model.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { floatTensor, tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { addConstant, constantOf, removeIfUnused } from "../../weights/constant.js";
import { findWeightSites, type WeightSite } from "../../weights/weight-site.js";
import { quantizerBehind } from "./activation-types.js";
import { codesData, dequantizedTensor, quantizeConstant } from "./encoded-constant.js";
import { placedEncodingAt } from "./node-encoding.js";
import { encodingAt, encodingBehind } from "./qdq.js";
import { smallConstantOf } from "./small-constant.js";

/**
 * The smallest part of an output step that a product's step may be: below 2^-24 the HTP misreads it, and AIMET keeps half a
 * bit away (aimet_onnx 2.42, quantsim, `_adjust_weight_scales_against_overflow`).
 */
const SMALLEST_RATIO = 2 ** -23.5;

/** The largest bias in steps of the products that AIMET lets pass: INT32, and room for the sum. */
const LARGEST_BIAS_CODE = 2 ** 31 - 2 ** 15;

/** A weight of which scales were raised. */
export interface GuardedWeight {
	readonly weight: string;
	readonly channels: number;
}

/**
 * Of all DequantizeLinear nodes, or of `only` one: raises scales of channels that are so small that the target would misread
 * them, or that the bias would not fit 32 bits in steps of the products; the codes are rounded anew. Such channels hardly add
 * to the output. Weights with one scale a channel; of `only` also with one scale.
 *
 * @param smallestRatio the smallest part of an output step that a product's step may be.
 */
export function guardScales(
	model: Model,
	names: NameScope,
	only?: Node,
	smallestRatio = SMALLEST_RATIO,
): GuardedWeight[] {
	const sites = new Map<Node, WeightSite[]>();
	for (const site of findWeightSites(model)) {
		const node = site.dequantization?.node;
		if (
			node === undefined ||
			(only !== undefined && node !== only) ||
			(site.scheme !== "per-channel" && (only === undefined || site.scheme !== "per-tensor")) ||
			site.indirect !== undefined
		)
			continue;
		sites.set(node, [...(sites.get(node) ?? []), site]);
	}
	return [...sites].flatMap(([node, users]) => guard(node, users, names, smallestRatio) ?? []);
}

function guard(
	node: Node,
	sites: readonly WeightSite[],
	names: NameScope,
	smallestRatio: number,
): GuardedWeight | undefined {
	const [{ stored, weightName, axes, dequantization }] = sites as [WeightSite];
	const { shape, dtype } = stored.tensor;
	const floors = sites.flatMap((site) => floorsOf(site, smallestRatio) ?? []);
	if (floors.length === 0 || axes === undefined) return undefined;
	const placed = placedEncodingAt(node, { shape, axes, dtype });
	if (typeof placed === "string" || placed.kind !== "affine" || dequantization?.scale === undefined) return undefined;
	const scales = placed.scales.map((scale, channel) => Math.max(scale, ...floors.map((floor) => floor(channel))));
	const channels = scales.filter((scale, channel) => scale !== placed.scales[channel]).length;
	if (channels === 0) return undefined;
	const raised: PlacedAffine = { ...placed, scales: scales.map(Math.fround) };
	const codes = codesData(dequantizedTensor(stored.tensor, placed), raised, dtype);
	replaceInput(node, 0, tensor(dtype, shape, codes), names);
	replaceInput(node, 1, floatTensor([scales.length], raised.scales), names);
	return { weight: weightName, channels };
}

/**
 * The float weight of `site`, which ONNX Runtime would make INT8 codes of, as such codes of steps that the target reads right;
 * says whether it could: no other operator may read the weight.
 */
export function guardFloats(site: WeightSite, names: NameScope): boolean {
	const { stored, node, input } = site;
	const floor = floorsOf(site, SMALLEST_RATIO)?.(0);
	const value = node.inputs[input];
	if (floor === undefined || stored.value !== value || stored.overridable || value.uses.length > 1) return false;
	if (stored.tensor.dtype !== DataType.FLOAT || !(floor > 0)) return false;
	const codes = { signed: true, bits: 8 };
	const whole = { shape: [], channelAxis: undefined, blockAxis: undefined, blockSize: 0, zeroPoints: undefined };
	const placed: PlacedAffine = { kind: "affine", codes, ...whole, scales: Float64Array.of(Math.fround(floor)) };
	quantizeConstant(value, stored.tensor, placed, DataType.INT8, names);
	return true;
}

function replaceInput(
	node: Node,
	index: number,
	replacement: Parameters<typeof addConstant>[2],
	names: NameScope,
): void {
	const before = node.inputs[index]!;
	const made = addConstant(node.graph!, names.fresh(`${before.name}_raised`), replacement, node);
	node.setInput(index, made);
	removeIfUnused(before);
}

/** The least scale of every channel that is right at `site`. */
function floorsOf(
	{ node, input, scheme }: WeightSite,
	smallestRatio: number,
): ((channel: number) => number) | undefined {
	const activation = encodingBehind(node.inputs[1 - input]);
	if (activation === undefined) return undefined;
	const output = quantizerAfter(node);
	const small = output === undefined ? 0 : (smallestRatio * output) / activation.scale;
	const bias = biasOf(node);
	const largest = Array.from(bias ?? []).reduce((max, value) => Math.max(max, Math.abs(value)), 0);
	return (channel) => {
		const isOne = scheme !== "per-channel" || bias?.length === 1;
		const value = isOne ? largest : Math.abs(bias?.[channel] ?? 0);
		return Math.max(small, value / (LARGEST_BIAS_CODE * activation.scale));
	};
}

/** The scale of the codes that the result becomes, behind a bias, too. */
function quantizerAfter(node: Node): number | undefined {
	const behind = quantizerBehind(node) ?? quantizerBehind(biasAdd(node) ?? node);
	return behind && encodingAt(behind.node)?.scale;
}

function biasAdd(node: Node): Node | undefined {
	const [use, ...others] = node.outputs[0]?.uses ?? [];
	if (use === undefined || others.length > 0 || !isOnnxOp(node, "MatMul") || !isOnnxOp(use.node, "Add"))
		return undefined;
	return constantOf(use.node.inputs[1 - use.index]) === undefined ? undefined : use.node;
}

function biasOf(node: Node): ArrayLike<number> | undefined {
	const add = biasAdd(node);
	const bias: Value | undefined = isOnnxOp(node, "MatMul")
		? add?.inputs.find((value) => constantOf(value) !== undefined)
		: node.inputs[2];
	return smallConstantOf(bias)?.values;
}
