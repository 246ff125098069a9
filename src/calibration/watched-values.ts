import { inferTypes, type TypeTable } from "../inference/index.js";
import { intOf } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { DataType, elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { computedValues, isFloatType } from "../runtime/probes.js";
import { isView } from "../weights/activation.js";
import { constantOf } from "../weights/constant.js";
import { findWeightSites, type WeightSite } from "../weights/weight-site.js";
import { type Derivation, derivationOf } from "./derived-range.js";
import type { ChannelInput, SampledValue, Watched } from "./instruments.js";

/** Where a shape is not known, a value is taken to be so large. */
const UNKNOWN_BYTES = 2 ** 24;

/** Of one sample, a histogram counts about so many elements; of many samples each fewer, but of all together so many. */
const SAMPLED_ELEMENTS = 2 ** 12;
const LEAST_SAMPLED = 2 ** 8;
const SAMPLED_IN_ALL = 2 ** 18;

/** A histogram needs no more than every `step`-th element. That is a prime, so that rows and columns take turns. */
export interface WatchedValue extends SampledValue {
	/** What it is a view of, the same elements in another shape; undefined where it is none. */
	readonly source: string | undefined;
	/** How its range follows from that of another watched value that is no view; undefined where it does not. */
	readonly derivation: Derivation | undefined;
	/** Of a float32 copy; a guess where the shape is not known. */
	readonly bytes: number;
}

/** Inputs of weights, those of one key summed up together. */
export interface WeightInput {
	readonly key: string;
	readonly depth: number;
	readonly sources: readonly ChannelInput[];
	readonly weights: readonly InputWeight[];
}

export interface InputWeight {
	readonly name: string;
	/** Numbers that are multiplied and summed up for an output; 0 for convolutions. */
	readonly depth: number;
	/** Of a convolution: channels of the input belong to the groups in turn. */
	readonly groups: number;
	/** Has a convolution a kernel of one position, or is it no convolution? */
	readonly isMatrix: boolean;
}

/**
 * The float values of the main graph that samples change, in the model's order: inputs, then results of operators.
 *
 * @param samples how many there will be.
 */
export function watchedValues(model: Model, samples: number): WatchedValue[] {
	const types = inferTypes(model);
	const wanted = Math.min(SAMPLED_ELEMENTS, Math.max(LEAST_SAMPLED, SAMPLED_IN_ALL / Math.max(1, samples)));
	const given = model.graph.inputs.filter((value) => value.initializer === undefined);
	/** Of every value seen the one that it is a view of, or itself. */
	const origins = new Map<string, string>();
	const values: WatchedValue[] = [];
	for (const value of [...given.filter(isFloatType), ...computedValues(model)]) {
		const shape = types.staticShapeOf(value);
		const elements = shape && elementCount(shape);
		const step = elements === undefined ? 1 : nextPrime(elements / wanted);
		const source = sourceOf(value, origins);
		const seen = watch(value, types);
		const watched = {
			...seen,
			source,
			derivation: seen.dtype === DataType.FLOAT ? derivation(value, origins) : undefined,
			bytes: elements === undefined ? UNKNOWN_BYTES : elements * 4,
			step,
			count: elements && Math.ceil(elements / step),
		};
		if (watched.dtype !== undefined && !FLOATS.includes(watched.dtype)) continue;
		if (watched.bytes === 0) continue;
		origins.set(value.name, (source === undefined ? undefined : origins.get(source)) ?? value.name);
		values.push(watched);
	}
	return values;
}

/** The smallest prime that is no less than `least`; 1 where that is no more than 1. */
function nextPrime(least: number): number {
	if (least <= 1) return 1;
	let candidate = Math.max(2, Math.ceil(least));
	const hasDivisor = (number: number) => {
		for (let divisor = 2; divisor * divisor <= number; divisor++) if (number % divisor === 0) return true;
		return false;
	};
	while (hasDivisor(candidate)) candidate++;
	return candidate;
}

/** What a view stands for, where that is watched itself. */
function sourceOf({ producer }: Value, seen: ReadonlyMap<string, string>): string | undefined {
	const input = producer !== undefined && isView(producer) ? producer.inputs[0]?.name : undefined;
	return input !== undefined && seen.has(input) ? input : undefined;
}

function derivation(value: Value, origins: ReadonlyMap<string, string>): Derivation | undefined {
	const found = derivationOf(value);
	const source = found && origins.get(found.source);
	return source === undefined ? undefined : { ...found!, source };
}

const FLOATS: readonly DataType[] = [DataType.FLOAT, DataType.FLOAT16, DataType.DOUBLE, DataType.BFLOAT16];

/** What is known of a value that instruments need. */
export function watch(value: Value, types: TypeTable): Watched {
	const type = types.typeOf(value);
	return {
		value,
		dtype: type?.kind === "tensor" ? type.elementType : undefined,
		rank: types.shapeOf(value)?.length,
	};
}

/**
 * The inputs of all constant weights of the main graph: MatMul, Gemm, Conv and ConvTranspose. Weights that read the same
 * value have one entry, so that nothing is computed twice.
 */
export function weightInputs(model: Model): WeightInput[] {
	const types = inferTypes(model);
	const byWeight = new Map<string, { weight: InputWeight; sources: ChannelInput[] }>();
	for (const site of findWeightSites(model)) {
		if (site.graphSite.graph !== model.graph) continue;
		const source = channelInput(site, types);
		if (source === undefined) continue;
		const entry = byWeight.get(site.weightName) ?? { weight: inputWeight(site), sources: [] };
		byWeight.set(site.weightName, entry);
		entry.sources.push(source);
	}
	const inputs = new Map<string, WeightInput & { readonly weights: InputWeight[] }>();
	for (const { weight, sources } of byWeight.values()) {
		const key = [...new Set(sources.map((source) => source.key))].sort().join("\0");
		const depth = types.shapeOf(sources[0]!.value)?.[sources[0]!.axis];
		const entry = inputs.get(key) ?? {
			key,
			depth: typeof depth === "number" ? depth : weight.depth,
			sources: unique(sources).map((source) => ({ ...source, key })),
			weights: [],
		};
		inputs.set(key, entry);
		entry.weights.push(weight);
	}
	return [...inputs.values()];
}

function unique(sources: readonly ChannelInput[]): ChannelInput[] {
	return [...new Map(sources.map((source) => [source.key, source] as const)).values()];
}

function inputWeight({ node, weightName, stored: { tensor }, axes }: WeightSite): InputWeight {
	const isConvolution = isOnnxOp(node, "Conv", "ConvTranspose");
	return {
		name: weightName,
		depth: axes === undefined || isConvolution ? 0 : tensor.shape[axes.blockAxis]!,
		groups: isConvolution ? intOf(node, "group", 1) : 1,
		isMatrix: !isConvolution || tensor.shape.slice(2).every((length) => length === 1),
	};
}

function channelInput(site: WeightSite, types: TypeTable): ChannelInput | undefined {
	const { node, input } = site;
	const value = node.inputs[1 - input];
	if (value === undefined || constantOf(value) !== undefined) return undefined;
	const watched = watch(value, types);
	if (watched.rank === undefined || watched.rank === 0) return undefined;
	const axis = channelAxis(node, input, watched.rank);
	const strides = inputWeight(site).isMatrix ? stridesOf(node, watched.rank) : undefined;
	const looked = types.staticShapeOf(value)?.map((length, at) => Math.ceil(length / (strides?.[at] ?? 1)));
	return {
		...watched,
		rank: watched.rank,
		axis,
		strides,
		looked,
		key: `${value.name} ${axis} ${strides?.join() ?? ""}`,
	};
}

/** The axis of an operator's activation that runs over the input channels of its weight. */
export function channelAxis(node: Node, weightInput: number, rank: number): number {
	if (isOnnxOp(node, "MatMul")) return weightInput === 1 ? rank - 1 : Math.max(0, rank - 2);
	if (isOnnxOp(node, "Gemm")) {
		return weightInput === 1 ? 1 - intOf(node, "transA", 0) : intOf(node, "transB", 0);
	}
	return 1;
}

/** A convolution that looks at every second position of its input has no use for the others. */
function stridesOf(node: Node, rank: number): number[] | undefined {
	const attribute = node.attributes.get("strides");
	if (!isOnnxOp(node, "Conv") || attribute?.kind !== "ints") return undefined;
	const strides = Array.from({ length: rank }, (_, axis) => Number(attribute.value[axis - 2] ?? 1));
	return strides.some((stride) => stride > 1) ? strides : undefined;
}
