import { intOf } from "../ir/attribute.js";
import { computedData } from "../ir/data.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { bytesOf, floatTensor, type Tensor, tensor } from "../ir/tensor.js";
import { DataType, elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allGraphs, type GraphSite, nodeLabel } from "../ir/walk.js";
import { addConstant, constantOf, removeIfUnused, replaceConstant } from "../weights/constant.js";
import { elementsOf } from "../weights/numbers.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { type Affine, affineAt, composed } from "./support/channel-affine.js";
import { removeUnused } from "./support/remove-unused.js";
import { replaceValue } from "./support/replace-value.js";
import { smallConstantOf } from "./support/small-constant.js";

/**
 * `Conv(x, W, B) -> BatchNormalization`, or `-> Mul(a) -> Add(b)` with a number a channel or one -> `Conv(x, aW, aB + b)`, for
 * Conv and ConvTranspose with float weights. Quantized, the operators behind would each round once more.
 */
export const foldAffine = definePass({
	name: "fold-affine",
	summary:
		"Put BatchNormalization, and sums and products with constants, behind a convolution into its weight and bias.",
	options: {},
	run(model, context) {
		const names = new NameScope(model);
		let changed = false;
		for (const site of allGraphs(model)) {
			for (const node of site.graph.nodes) {
				if (isOnnxOp(node, "Conv", "ConvTranspose")) changed = fold(model, node, site, names, context) || changed;
			}
		}
		return changed;
	},
});

function fold(model: Model, node: Node, site: GraphSite, names: NameScope, context: PassContext<object>): boolean {
	const weight = constantOf(node.inputs[1]);
	const bias = node.inputs[2] === undefined ? { values: [0] } : smallConstantOf(node.inputs[2]);
	const [first] = node.outputs[0]?.uses ?? [];
	const isBehind = first !== undefined && isOnnxOp(first.node, "BatchNormalization");
	const leave = (code: "fuse/quantized" | "fuse/shared", message: string): false => {
		if (isBehind) context.report(code, message, { graph: site.path, node: nodeLabel(node) });
		return false;
	};
	if (weight?.tensor.dtype !== DataType.FLOAT || weight.overridable || bias === undefined) {
		return leave(
			"fuse/quantized",
			`'${nodeLabel(first?.node ?? node)}' stays: the weight in front of it is no FLOAT constant`,
		);
	}
	const channels = channelCount(node, weight.tensor);
	const chain = affineChain(node, channels, weight.tensor.shape.length);
	if (chain.length === 0) {
		return leave(
			"fuse/shared",
			`'${nodeLabel(first?.node ?? node)}' stays: what it reads is read elsewhere, too, or it is no constant`,
		);
	}
	const { factors, shifts } = chain.map(({ affine }) => affine).reduce(composed);
	if (![...factors, ...shifts].every(Number.isFinite)) return false;
	const scaled = scaledWeight(node, weight.tensor, factors);
	if (weight.value.uses.length === 1 && !weight.value.isGraphOutput) replaceConstant(weight.value, scaled);
	else node.setInput(1, addConstant(node.graph!, names.fresh(`${weight.value.name}_folded`), scaled, node));
	const values = shifts.map(
		(shift, channel) => shift + factors[channel]! * bias.values[bias.values.length === 1 ? 0 : channel]!,
	);
	const before = node.inputs[2];
	if (before !== undefined || values.some((value) => value !== 0)) {
		const name = names.fresh(`${before?.name ?? `${weight.value.name}_bias`}_folded`);
		node.setInput(2, addConstant(node.graph!, name, floatTensor([channels], values), node));
	}
	if (before !== undefined) removeUnused(before);
	remove(model, node.outputs[0]!, chain, names);
	context.count("operators folded", chain.length);
	return true;
}

interface Link {
	readonly node: Node;
	readonly affine: Affine;
}

/** The operators behind `node`, one reading only the other, that are a product and a sum a channel. */
function affineChain(node: Node, channels: number, rank: number): Link[] {
	const chain: Link[] = [];
	for (let value: Value | undefined = node.outputs[0]; value !== undefined; ) {
		const [use] = value.uses;
		if (use === undefined || value.uses.length > 1 || value.isGraphOutput || use.node.graph !== node.graph) break;
		const affine = affineAt(use, channels, rank);
		if (affine === undefined) break;
		chain.push({ node: use.node, affine });
		value = use.node.outputs[0];
	}
	return chain;
}

/** The result of the last operator is from now on that of the convolution, under its name. */
function remove(model: Model, result: Value, chain: readonly Link[], names: NameScope): void {
	const last = chain.at(-1)!.node.outputs[0]!;
	replaceValue(model, last, result, names.fresh(`${last.name}_unfolded`));
	for (const { node } of [...chain].reverse()) {
		const inputs = new Set(node.inputs);
		node.remove();
		for (const input of inputs) if (input !== undefined && constantOf(input) !== undefined) removeIfUnused(input);
	}
}

function channelCount(node: Node, { shape }: Tensor): number {
	return isOnnxOp(node, "Conv") ? shape[0]! : shape[1]! * intOf(node, "group", 1);
}

/** The weight times a factor a channel, made when it is read. */
function scaledWeight(node: Node, weight: Tensor, factors: Float64Array): Tensor {
	const { shape, data } = weight;
	const kernel = elementCount(shape.slice(2));
	const perInput = shape[1]! * kernel;
	const inputsOfGroup = shape[0]! / intOf(node, "group", 1);
	const channelOf = isOnnxOp(node, "Conv")
		? (index: number) => Math.floor(index / perInput)
		: (index: number) => {
				const input = Math.floor(index / perInput);
				return Math.floor(input / inputsOfGroup) * shape[1]! + Math.floor((index - input * perInput) / kernel);
			};
	const scaled = computedData(data.byteLength, (start, end) => {
		const first = Math.floor(start / 4);
		const values = elementsOf(weight, first, Math.ceil(end / 4) - first)!;
		const products = Float32Array.from(values, (value, index) => value * factors[channelOf(first + index)]!);
		return bytesOf(products).subarray(start - first * 4, end - first * 4);
	});
	return tensor(DataType.FLOAT, shape, scaled);
}
