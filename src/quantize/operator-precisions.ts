import { inferTypes } from "../inference/index.js";
import type { Model } from "../ir/model.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { bitsPerElement, DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allNodes } from "../ir/walk.js";
import { encodingAt, encodingBehind } from "../passes/support/qdq.js";
import { findWeightSites, type WeightSite } from "../weights/weight-site.js";

/** How many operators of one type compute on what. */
export interface OperatorPrecision {
	readonly operator: string;
	/** `16 bits`, `8 bits`, `4 bits`, `float`, or `whole numbers` where no quantization has a part in it. */
	readonly activations: string;
	/** Bits of the constant weight; undefined for operators without one. */
	readonly weights: string | undefined;
	readonly count: number;
}

/** What only carries values from one form into another. */
const CONVERSIONS = ["QuantizeLinear", "DequantizeLinear", "Constant", "Cast", "Identity"];

const FLOATS: readonly DataType[] = [DataType.FLOAT, DataType.FLOAT16, DataType.BFLOAT16, DataType.DOUBLE];

/** Counts the operators of a model by what they compute on, by type and then by precision. */
export function operatorPrecisions(model: Model): OperatorPrecision[] {
	const types = inferTypes(model);
	const isFloat = (value: Value) => {
		const type = types.typeOf(value);
		return type?.kind === "tensor" && FLOATS.includes(type.elementType);
	};
	const sites = new Map<Node, WeightSite>();
	for (const site of findWeightSites(model)) if (!sites.has(site.node)) sites.set(site.node, site);
	const counts = new Map<string, OperatorPrecision>();
	for (const { node } of allNodes(model)) {
		if (isOnnxOp(node, ...CONVERSIONS)) continue;
		const activations = activationsOf(node, isFloat);
		const weights = weightsOf(sites.get(node));
		const operator = node.op.domain === "" ? node.op.type : `${node.op.domain}.${node.op.type}`;
		const key = [operator, activations, weights].join();
		counts.set(key, { operator, activations, weights, count: (counts.get(key)?.count ?? 0) + 1 });
	}
	return [...counts.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry);
}

/** By what becomes of the result, or where it is left as it is, by what goes in. */
function activationsOf(node: Node, isFloat: (value: Value) => boolean): string {
	const [output] = node.outputs;
	if (output === undefined || !isFloat(output)) return "whole numbers";
	const quantizers = output.uses.filter(({ node: reader, index }) => index === 0 && isOnnxOp(reader, "QuantizeLinear"));
	const codes = quantizers.map((use) => encodingAt(use.node)).find((encoding) => encoding !== undefined);
	const given = node.inputs.map((input) => encodingBehind(input)).find((encoding) => encoding !== undefined);
	const isFused = quantizers.length === 0 && output.uses.length === 1;
	const dtype = codes?.dtype ?? (isFused ? given?.dtype : undefined);
	return dtype === undefined ? "float" : `${bitsPerElement(dtype)} bits`;
}

function weightsOf(site: WeightSite | undefined): string | undefined {
	if (site === undefined) return undefined;
	const { scheme, stored, dequantization } = site;
	if (scheme === "float") return "float";
	const names = { "per-tensor": "a tensor", "per-channel": "a channel", block: "a block", lpbq: "a block, LPBQ" };
	const bits = bitsPerElement((dequantization?.codes.tensor ?? stored.tensor).dtype);
	return `${bits} bits, a scale ${names[scheme]}`;
}
