import { intAttribute } from "../../ir/attribute.js";
import { bytesData } from "../../ir/data.js";
import type { Graph } from "../../ir/graph.js";
import type { NameScope } from "../../ir/names.js";
import type { Node } from "../../ir/node.js";
import { bytesOf, type Tensor, tensor } from "../../ir/tensor.js";
import { DataType, rawByteLength } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { addConstant, type Constant, removeIfUnused, replaceConstant } from "../../weights/constant.js";
import { asFloatType } from "../../weights/derived-tensor.js";
import type { Dequantization } from "../../weights/weight-site.js";
import type { Conversion } from "./conversion.js";
import type { LpbqFit } from "./lpbq-fit.js";

/**
 * Puts a fitted weight into the graph.
 *
 * double-dq: `W_DQ(codes, scale)` -> `W_DQ(codes, Scale_DQ(blockScaleInts UINT8, channelScales), zeroPoint INT4)`;
 * exact-bq: the same nodes with scales that are the products. Axes and the zero point are written out, for the HTP's
 * compiler takes a weight without an INT4 zero point for int8. Scales have the type of those before.
 */
export function rewriteToLpbq(conversion: Conversion, fit: LpbqFit, names: NameScope): void {
	if (fit.codes !== undefined) replaceCodes(conversion, fit.codes, names);
	if (conversion.form === "exact-bq") replaceScales(conversion, fit, names);
	else insertScaleNodes(conversion, fit, names);
	for (const { node, axis } of conversion.dequantizations) node.attributes.set("axis", intAttribute(axis!));
}

function insertScaleNodes(conversion: Conversion, fit: LpbqFit, names: NameScope): void {
	const [first] = conversion.dequantizations;
	const scale = first!.scale!;
	const name = conversion.sites[0]!.weightName;
	const home = homeOf(scale, first!);
	const constant = (suffix: string, value: Tensor) =>
		addConstant(home.graph, names.fresh(name + suffix), value, home.before);
	const ints = constant("_block_scale", tensor(DataType.UINT8, scale.tensor.shape, fit.blockScaleInts));
	const wide = scale.tensor.dtype === DataType.FLOAT16 ? atLeast(fit.channelScales, SMALLEST_HALF) : fit.channelScales;
	const channelScales = tensor(DataType.FLOAT, [wide.length], bytesOf(wide));
	const channels = constant("_channel_scale", asFloatType(channelScales, scale.tensor.dtype));
	const scaleOf = new Map<Graph, Value>();
	const scaleIn = (graph: Graph): Value => {
		const known = scaleOf.get(graph);
		if (known !== undefined) return known;
		const product = graph.createValue(names.fresh(`${name}_scale_dq`));
		graph.createNode(
			{
				op: "DequantizeLinear",
				name: names.fresh(`${name}_scale_DQ`),
				inputs: [ints, channels],
				outputs: [product],
				attributes: { axis: intAttribute(conversion.channelAxis) },
			},
			firstReader(conversion, graph),
		);
		scaleOf.set(graph, product);
		return product;
	};
	let zeroPoint: Value | undefined;
	for (const { node, hasZeroPoint } of conversion.dequantizations) {
		node.setInput(1, scaleIn(node.graph!));
		if (hasZeroPoint) continue;
		zeroPoint ??= constant("_zero_point", zeroTensor(scale.tensor.shape));
		node.setInput(2, zeroPoint);
	}
	for (const node of conversion.embeddings) node.setInput(2, scaleIn(node.graph!));
	for (const dequantization of conversion.dequantizations) removeIfUnused(dequantization.scale!.value);
}

/** The first node of `graph` that reads the weight. */
function firstReader({ dequantizations, embeddings }: Conversion, graph: Graph): Node | undefined {
	const readers = [...dequantizations.map(({ node }) => node), ...embeddings].filter((node) => node.graph === graph);
	if (embeddings.length === 0) return readers[0];
	for (const node of graph.nodes) if (readers.includes(node)) return node;
	return undefined;
}

/** What channels without weights get in float16, so that it is not 0; those with weights have more. */
const SMALLEST_HALF = 2 ** -18;

function atLeast(values: Float32Array, least: number): Float32Array {
	return values.map((value) => Math.max(value, least));
}

function replaceScales(conversion: Conversion, fit: LpbqFit, names: NameScope): void {
	const [first] = conversion.dequantizations;
	const scale = first!.scale!;
	const scales = tensor(DataType.FLOAT, scale.tensor.shape, fit.effectiveScales);
	const typed = asFloatType(scales, scale.tensor.dtype);
	replaceInput(conversion, "scale", scale, typed, `${conversion.sites[0]!.weightName}_lpbq_scale`, names);
}

function replaceCodes(conversion: Conversion, codes: NonNullable<LpbqFit["codes"]>, names: NameScope): void {
	const { stored, weightName } = conversion.sites[0]!;
	const replacement = tensor(DataType.INT4, stored.tensor.shape, codes);
	replaceInput(conversion, "codes", stored, replacement, `${weightName}_lpbq`, names);
}

/** Gives what reads the weight other codes or scales: in place where nothing else reads the old ones. */
function replaceInput(
	{ dequantizations, embeddings }: Conversion,
	part: "codes" | "scale",
	constant: Constant,
	replacement: Tensor,
	name: string,
	names: NameScope,
): void {
	const { value } = constant;
	const indices = new Map<Node, number>();
	for (const { node } of dequantizations) indices.set(node, part === "codes" ? 0 : 1);
	for (const node of embeddings) indices.set(node, part === "codes" ? 0 : 2);
	if (value.uses.every((use) => indices.get(use.node) === use.index) && !value.isGraphOutput) {
		replaceConstant(value, replacement);
		return;
	}
	const home = homeOf(constant, dequantizations[0]!);
	const added = addConstant(home.graph, names.fresh(name), replacement, home.before);
	for (const [node, index] of indices) node.setInput(index, added);
	removeIfUnused(value);
}

/** Where constants beside `constant` go, so that all its readers see them. */
function homeOf({ value }: Constant, { node }: Dequantization) {
	return { graph: value.graph, before: value.producer ?? node };
}

function zeroTensor(shape: readonly number[]): Tensor {
	return tensor(DataType.INT4, shape, bytesData(new Uint8Array(rawByteLength(DataType.INT4, shape) ?? 0)));
}
