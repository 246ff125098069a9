import type { Model } from "../ir/model.js";
import { isMicrosoftOp, isOnnxOp, type Node } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { smallConstantOf } from "../passes/support/small-constant.js";
import { scalarOf } from "../passes/support/subgraph.js";
import { constantOf } from "../weights/constant.js";
import type { GenaiConfig } from "./genai-config.js";
import { NAMES } from "./layer-graph.js";

/** Neighbouring columns of a float matrix, and the numbers of vectors that are added to what they give. */
export interface Columns {
	/** FLOAT, [inputs, columns]; the first of the columns, and of those of the vectors, [columns] each. */
	readonly weight: Value;
	readonly first: number;
	readonly biases: readonly { readonly value: Value; readonly first: number }[];
}

/** Where channels of queries or keys can be scaled: columns of all heads, or the scale of a normalization that the heads share. */
export type ChannelSite = { readonly columns: Columns } | { readonly norm: Value };

/** What queries and keys of a layer are made by, and which channels of a head must be scaled alike: each names the first of them. */
export interface KeySites {
	readonly key: ChannelSite;
	readonly query: ChannelSite;
	readonly pairs: readonly number[];
}

/** What values are made by, and the matrix [heads * size, hidden] that reads what is attended of them. */
export interface ValueSites {
	readonly value: Columns;
	readonly output: Value;
}

/** What makes the keys and values of a layer; undefined where that is no float weight of its own. */
export interface CacheWeights {
	readonly keys: KeySites | undefined;
	readonly values: ValueSites | undefined;
}

/** Finds the weights around the cache of a layer of a float layer graph. */
export function cacheWeights({ graph }: Model, { headSize }: GenaiConfig, layer: number): CacheWeights {
	const [ownKey, ownValue] = [NAMES.newKey(layer), NAMES.newValue(layer)].map((name) =>
		graph.outputs.find((output) => output.name === name),
	);
	return {
		keys: ownKey && keySites(ownKey, headSize),
		values: ownValue && valueSites(ownValue),
	};
}

function keySites(ownKey: Value, headSize: number): KeySites | undefined {
	const product = attentionProduct(ownKey);
	if (product === undefined) return undefined;
	const [key, query] = [ownKey, product.inputs[0]!].map((value) => rotationOf(value, headSize));
	if (key === undefined || query === undefined || key.pairs.join() !== query.pairs.join()) return undefined;
	const [keySite, querySite] = [key, query].map(({ input }) => channelSite(input, headSize));
	return keySite && querySite && { key: keySite, query: querySite, pairs: key.pairs };
}

function valueSites(ownValue: Value): ValueSites | undefined {
	const value = columnsOf(sourceOf(ownValue));
	const product = attentionProduct(ownValue);
	if (value === undefined || product === undefined) return undefined;
	let attended = product.outputs[0]!;
	for (;;) {
		const [use] = attended.uses;
		if (use === undefined || attended.uses.length > 1) return undefined;
		const { node, index } = use;
		if (isOnnxOp(node, "MatMul") && index === 0) {
			const output = matrixOf(node);
			return output && { value, output };
		}
		if (index > 0 || !isOnnxOp(node, ...MOVEMENTS)) return undefined;
		attended = node.outputs[0]!;
	}
}

/** The product that reads all keys or values, past ones and these. */
function attentionProduct(own: Value): Node | undefined {
	const all = own.uses.map(({ node }) => node).find((node) => isOnnxOp(node, "Concat"))?.outputs[0];
	const reader = all?.uses.length === 1 ? all.uses[0] : undefined;
	const turned = reader && isOnnxOp(reader.node, "Transpose") ? reader.node.outputs[0]!.uses[0] : reader;
	return turned && isOnnxOp(turned.node, "MatMul") && turned.index === 1 ? turned.node : undefined;
}

/** Operators that leave numbers as they are. */
const MOVEMENTS = ["Reshape", "Transpose", "Identity"] as const;

function sourceOf(value: Value): Value {
	let at = value;
	while (at.producer !== undefined && isOnnxOp(at.producer, ...MOVEMENTS)) at = at.producer.inputs[0]!;
	return at;
}

/** The numbers in front of a rotary embedding, and its pairs; those of `value` where nothing is turned. */
function rotationOf(
	value: Value,
	headSize: number,
): { readonly input: Value; readonly pairs: readonly number[] } | undefined {
	let at = sourceOf(value);
	for (let node = at.producer; node !== undefined && isOnnxOp(node, "Mul"); node = at.producer) {
		const factor = node.inputs.findIndex((input) => scalarOf(input) !== undefined);
		if (factor < 0) return undefined;
		at = sourceOf(node.inputs[1 - factor]!);
	}
	const whole = turnOf(at, headSize);
	if (whole !== undefined) return whole;
	const { producer } = at;
	if (producer === undefined || !isOnnxOp(producer, "Concat")) {
		return { input: at, pairs: Array.from({ length: headSize }, (_, channel) => channel) };
	}
	const split = producer.inputs[1]?.producer;
	const rotatedSize = split && isOnnxOp(split, "Split") ? smallConstantOf(split.inputs[1])?.values[0] : undefined;
	const part = rotatedSize === undefined ? undefined : turnOf(producer.inputs[0]!, rotatedSize);
	if (split === undefined || part === undefined || part.input !== split.outputs[0]) return undefined;
	const rest = Array.from({ length: headSize - part.pairs.length }, (_, index) => part.pairs.length + index);
	return { input: split.inputs[0]!, pairs: [...part.pairs, ...rest] };
}

/** `x cos + swap(x) sin`. */
function turnOf(value: Value, size: number): { readonly input: Value; readonly pairs: readonly number[] } | undefined {
	const sum = value.producer;
	if (sum === undefined || !isOnnxOp(sum, "Add")) return undefined;
	const [straight, swapped] = sum.inputs.map((input) => input?.producer);
	const swap = swapped && isOnnxOp(swapped, "Mul") ? swapped.inputs[0]?.producer : undefined;
	if (straight === undefined || !isOnnxOp(straight, "Mul") || swap === undefined) return undefined;
	const channels = Array.from({ length: size }, (_, channel) => channel);
	const input = straight.inputs[0]!;
	if (isOnnxOp(swap, "Gather") && swap.inputs[0] === input) {
		return { input, pairs: channels.map((channel) => channel - (channel % 2)) };
	}
	const halves = swap.inputs[0]?.producer;
	if (!isOnnxOp(swap, "Concat") || halves?.inputs[0] !== input) return undefined;
	return { input, pairs: channels.map((channel) => channel % (size / 2)) };
}

function channelSite(value: Value, headSize: number): ChannelSite | undefined {
	const source = sourceOf(value);
	const { producer } = source;
	if (producer !== undefined && isNorm(producer)) {
		const norm = producer.inputs[1]!;
		return isOwn(norm) && norm.initializer.shape.join() === `${headSize}` ? { norm } : undefined;
	}
	const columns = columnsOf(source);
	return columns && { columns };
}

function isNorm(node: Node): boolean {
	const isSimplified = node.op.type === "SimplifiedLayerNormalization";
	return (
		isOnnxOp(node, "RMSNormalization") || (isSimplified && (node.op.domain === "" || isMicrosoftOp(node, node.op.type)))
	);
}

/** The matrix whose columns give `value`, through sums with vectors and splits. */
function columnsOf(value: Value): Columns | undefined {
	const { producer } = value;
	if (producer === undefined) return undefined;
	if (isOnnxOp(producer, "MatMul")) {
		const weight = matrixOf(producer);
		return weight && { weight, first: 0, biases: [] };
	}
	if (isOnnxOp(producer, "Add")) {
		const at = producer.inputs.findIndex((input) => constantOf(input) !== undefined);
		const bias = producer.inputs[at];
		const inner = at < 0 ? undefined : columnsOf(producer.inputs[1 - at]!);
		if (inner === undefined || bias === undefined || !isOwn(bias) || bias.initializer.shape.length !== 1)
			return undefined;
		return { ...inner, biases: [...inner.biases, { value: bias, first: 0 }] };
	}
	if (!isOnnxOp(producer, "Split")) return undefined;
	const sizes = smallConstantOf(producer.inputs[1])?.values;
	const inner = columnsOf(producer.inputs[0]!);
	if (sizes === undefined || inner === undefined) return undefined;
	const part = producer.outputs.indexOf(value);
	const before = Array.from(sizes)
		.slice(0, part)
		.reduce((sum, size) => sum + size, 0);
	const shifted = inner.biases.map(({ value: bias, first }) => ({ value: bias, first: first + before }));
	return { ...inner, first: inner.first + before, biases: shifted };
}

function matrixOf({ inputs }: Node): Value | undefined {
	const weight = inputs[1];
	return weight !== undefined && isOwn(weight) && weight.initializer.shape.length === 2 ? weight : undefined;
}

/** Is it FLOAT, and read once? */
function isOwn(value: Value): value is Value & { readonly initializer: NonNullable<Value["initializer"]> } {
	return value.initializer?.dtype === DataType.FLOAT && value.uses.length === 1 && !value.isGraphInput;
}
