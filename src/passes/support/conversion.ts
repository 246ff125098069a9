import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import { type BlockLayout, blockLayout } from "../../quant/layout.js";
import { asFloatType } from "../../weights/derived-tensor.js";
import type { Dequantization, WeightSite } from "../../weights/weight-site.js";
import type { BlockWeight } from "./block-weight.js";
import { type Refusal, refusalOf } from "./eligibility.js";
import { embeddingsOf } from "./tied-embedding.js";

/** How LPBQ is written in ONNX: a second DequantizeLinear that makes the scales, or scales that are products already. */
export type LpbqForm = "double-dq" | "exact-bq";

/** A weight to convert, with every place where it is used. */
export interface Conversion {
	readonly sites: readonly WeightSite[];
	/** Several where DequantizeLinear nodes share codes and scales. */
	readonly dequantizations: readonly Dequantization[];
	/** GatherBlockQuantized nodes that read the same codes and scales, and are to read the new ones. */
	readonly embeddings: readonly Node[];
	readonly form: LpbqForm;
	readonly layout: BlockLayout;
	readonly weight: BlockWeight;
	readonly channelAxis: number;
}

export interface KeptSite {
	readonly site: WeightSite;
	readonly refusal: Refusal;
}

/**
 * Sorts the places where weights are used into weights to convert, each once however often it is used, and places to
 * leave alone. A dequantized weight that anything else reads too stays as it is.
 */
export function groupConversions(
	sites: readonly WeightSite[],
	options: { readonly form: "auto" | LpbqForm; readonly activations: "integer" | "any" },
): { conversions: Conversion[]; kept: KeptSite[] } {
	const kept: KeptSite[] = [];
	const byDequantization = new Map<Node, WeightSite[]>();
	for (const site of sites) {
		const refusal = refusalOf(site, options.activations);
		if (refusal !== undefined) kept.push({ site, refusal });
		else push(byDequantization, site.dequantization!.node, site);
	}
	const conversions = new Map<string, WeightSite[]>();
	const ids = new Map<object, number>();
	const id = (object: object) => ids.get(object) ?? ids.set(object, ids.size).size - 1;
	for (const users of byDequantization.values()) {
		const refusal = sharingRefusal(users);
		if (refusal !== undefined) {
			kept.push(...users.map((site) => ({ site, refusal })));
			continue;
		}
		const { codes, scale, blockSize } = users[0]!.dequantization!;
		const key = [
			id(codes.value),
			id(scale!.value),
			blockSize,
			formOf(users[0]!, options.form),
			axesOf(users[0]!),
		].join();
		for (const site of users) push(conversions, key, site);
	}
	return { conversions: [...conversions.values()].map((group) => conversionOf(group, options.form)), kept };
}

function conversionOf(sites: readonly WeightSite[], form: "auto" | LpbqForm): Conversion {
	const [first] = sites;
	const { dequantization, axes, stored } = first!;
	const { blockSize, codes, scale } = dequantization!;
	const layout = blockLayout(stored.tensor.shape, axes!.blockAxis, axes!.channelAxis, blockSize);
	const dequantizations = new Map(sites.map((site) => [site.dequantization!.node, site.dequantization!]));
	return {
		sites,
		dequantizations: [...dequantizations.values()],
		embeddings: axes!.blockAxis === 0 ? embeddingsOf(codes.value, scale!.value, blockSize) : [],
		form: formOf(first!, form),
		layout,
		weight: {
			layout,
			codes: codes.tensor.data,
			scales: asFloatType(scale!.tensor, DataType.FLOAT).data,
			float: undefined,
		},
		channelAxis: axes!.channelAxis,
	};
}

/** The double form is what the HTP takes for MatMul, and refuses for Conv and for one output channel. */
function formOf({ node, stored, axes }: WeightSite, form: "auto" | LpbqForm): LpbqForm {
	if (form !== "auto") return form;
	return isOnnxOp(node, "Conv") || stored.tensor.shape[axes!.channelAxis] === 1 ? "exact-bq" : "double-dq";
}

function axesOf({ axes }: WeightSite): string {
	return `${axes?.blockAxis}/${axes?.channelAxis}`;
}

/** Do other readers, or readers that want other axes, stand in the way of changing the dequantized weight? */
function sharingRefusal(sites: readonly WeightSite[]): Refusal | undefined {
	const [first] = sites;
	const output = first!.dequantization!.node.outputs[0]!;
	const { weightName } = first!;
	if (output.isGraphOutput) {
		return {
			code: "weight/shared",
			message: `weight '${weightName}' is dequantized into the graph output '${output.name}'`,
		};
	}
	const other = output.uses.find(
		({ node, index }) => !sites.some((site) => site.node === node && site.input === index),
	);
	if (other !== undefined) {
		const reader = other.node.name || other.node.op.type;
		return {
			code: "weight/shared",
			message: `weight '${weightName}' is also read by '${reader}', which cannot take LPBQ`,
		};
	}
	if (sites.some((site) => axesOf(site) !== axesOf(first!))) {
		return {
			code: "weight/shared",
			message: `weight '${weightName}' is read by operators that sum over different axes`,
		};
	}
	return undefined;
}

function push<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
	const list = lists.get(key);
	if (list === undefined) lists.set(key, [value]);
	else list.push(value);
}
