import { intOf } from "../ir/attribute.js";
import { type Model, onnxOpset } from "../ir/model.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { bitsPerElement, DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allGraphs, type GraphSite } from "../ir/walk.js";
import { hasIntegerActivations, isView } from "./activation.js";
import { type Constant, constantOf } from "./constant.js";
import { foldedQuantize } from "./folded-quantize.js";
import { repeatedByte } from "./repeated-byte.js";
import { type WeightAxes, weightAxes, weightInputs } from "./weight-axes.js";

/** How a weight is stored: plain float, or dequantized with one scale a tensor, a channel or a block, or with LPBQ scales. */
export type WeightScheme = "float" | "per-tensor" | "per-channel" | "block" | "lpbq";

/** The DequantizeLinear in front of an operator and what it reads. */
export interface Dequantization {
	readonly node: Node;
	readonly codes: Constant;
	/** undefined where the scales are not constants: then they are computed, by `scaleNode` for LPBQ. */
	readonly scale: Constant | undefined;
	/** The DequantizeLinear that makes LPBQ's block scales of integers and channel scales. */
	readonly scaleNode: Node | undefined;
	readonly zeroPoint: Constant | undefined;
	/** Is there a zero point input at all, constant or not? */
	readonly hasZeroPoint: boolean;
	/** 0 or more; undefined where the stored axis is out of range. */
	readonly axis: number | undefined;
	/** 0 where the scales are not blocked. */
	readonly blockSize: number;
}

/** One constant weight at one place where it is used. */
export interface WeightSite {
	readonly node: Node;
	/** The input of `node` that reads the weight. */
	readonly input: number;
	readonly graphSite: GraphSite;
	/** Operator set version that holds there. */
	readonly opset: number;
	/** The weight as stored: float values or codes. */
	readonly stored: Constant;
	readonly weightName: string;
	readonly dequantization: Dequantization | undefined;
	readonly scheme: WeightScheme;
	/** Bits of a stored element; 32 for float, 4 for INT4. */
	readonly bits: number;
	/** undefined where the weight's rank does not fit the operator. */
	readonly axes: WeightAxes | undefined;
	/** Are the activation that the operator reads and the one it makes quantized? */
	readonly activations: "integer" | "float";
	/** Operators between the constant and its use that no rule here looks through, such as Transpose. */
	readonly indirect: Node | undefined;
}

/** Finds every constant weight of MatMul (either side), Gemm, Conv and ConvTranspose, in all graphs and functions. */
export function findWeightSites(model: Model): WeightSite[] {
	const sites: WeightSite[] = [];
	for (const graphSite of allGraphs(model)) {
		const opset = onnxOpset(graphSite.function ?? model) ?? 0;
		for (const node of graphSite.graph.nodes) {
			for (const input of weightInputs(node)) {
				const site = weightSiteAt(node, input, graphSite, opset);
				if (site === undefined) continue;
				sites.push(site);
				break;
			}
		}
	}
	return sites;
}

/** The constant weight that `node` reads at `input`; undefined where it reads none there. */
export function weightSiteAt(node: Node, input: number, graphSite: GraphSite, opset: number): WeightSite | undefined {
	const source = traceWeight(node.inputs[input]);
	if (source === undefined) return undefined;
	const { stored, dequantization, indirect } = source;
	return {
		node,
		input,
		graphSite,
		opset,
		stored,
		weightName: stored.value.name,
		dequantization,
		scheme: dequantization === undefined ? "float" : schemeOf(dequantization),
		bits: bitsPerElement(stored.tensor.dtype) ?? 0,
		axes: keepsAxes(indirect) ? weightAxes(node, input, stored.tensor.shape.length) : undefined,
		activations: hasIntegerActivations(node, 1 - input) ? "integer" : "float",
		indirect,
	};
}

/** Of what stands between the constant and its use; a QuantizeLinear stands directly behind its constant. */
function keepsAxes(indirect: Node | undefined): boolean {
	return indirect === undefined || isOnnxOp(indirect, "QuantizeLinear");
}

type TracedWeight = Pick<WeightSite, "stored" | "dequantization" | "indirect">;

/**
 * Follows `value` back to a constant, through at most one DequantizeLinear; operators in between are noted. What is
 * quantized when the model runs, such as AIMET's weights, counts as the codes that come out.
 */
function traceWeight(value: Value | undefined): TracedWeight | undefined {
	let indirect: Node | undefined;
	for (let at = value; at !== undefined; ) {
		const stored = constantOf(at);
		if (stored !== undefined) return { stored, dequantization: undefined, indirect };
		const { producer } = at;
		if (producer === undefined) return undefined;
		if (isOnnxOp(producer, "QuantizeLinear")) {
			const codes = foldedQuantize(producer);
			return codes && { stored: codes, dequantization: undefined, indirect: indirect ?? producer };
		}
		if (isOnnxOp(producer, "DequantizeLinear")) {
			const behind = traceWeight(producer.inputs[0]);
			if (behind === undefined || behind.dequantization !== undefined) return undefined;
			return {
				stored: behind.stored,
				dequantization: dequantizationOf(producer, behind.stored),
				indirect: indirect ?? behind.indirect,
			};
		}
		if (!isView(producer) && !isOnnxOp(producer, "Cast")) return undefined;
		indirect ??= producer;
		at = producer.inputs[0];
	}
	return undefined;
}

function dequantizationOf(node: Node, codes: Constant): Dequantization {
	const rank = codes.tensor.shape.length;
	const axis = intOf(node, "axis", 1);
	const normalized = axis < 0 ? axis + rank : axis;
	const scaleProducer = node.inputs[1]?.producer;
	const scaleNode =
		scaleProducer !== undefined && isOnnxOp(scaleProducer, "DequantizeLinear") ? scaleProducer : undefined;
	return {
		node,
		codes,
		scale: constantOf(node.inputs[1]),
		scaleNode,
		zeroPoint: constantOf(node.inputs[2]),
		hasZeroPoint: node.inputs[2] !== undefined,
		axis: normalized >= 0 && normalized < rank ? normalized : undefined,
		blockSize: intOf(node, "block_size", 0),
	};
}

/** ONNX tells the schemes apart by the scale's shape: blocks where there is a block size, one axis, or a scalar. */
export function schemeOf({ blockSize, scale, scaleNode }: Dequantization): WeightScheme {
	if (scaleNode !== undefined) return "lpbq";
	if (blockSize !== 0) return "block";
	const shape = scale?.tensor.shape ?? [];
	return shape.length === 0 || (shape.length === 1 && shape[0] === 1) ? "per-tensor" : "per-channel";
}

/** Is the weight stored in the symmetric form, without zero points or with all of them zero? Reads the zero points. */
export function isSymmetric(dequantization: Dequantization): boolean {
	const { zeroPoint, hasZeroPoint } = dequantization;
	if (!hasZeroPoint) return dequantization.codes.tensor.dtype !== DataType.UINT4;
	if (zeroPoint === undefined) return false;
	return zeroPoint.tensor.data.byteLength === 0 || repeatedByte(zeroPoint.tensor) === 0;
}
