import { inferTypes, type TypeTable } from "../inference/index.js";
import { intOf, stringOf } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { isOnnxOp } from "../ir/node.js";
import { elementCount } from "../ir/types.js";
import { constantOf } from "../weights/constant.js";
import { findWeightSites, type WeightSite } from "../weights/weight-site.js";
import type { Watched } from "./instruments.js";
import type { RowPlan } from "./row-plan.js";
import { channelAxis, watch } from "./watched-values.js";

/** Matrices of deeper kernels take longer than what they are worth. */
const DEEPEST_KERNEL = 1152;

/** Matrices of more inputs, 1.2 GB and minutes each from here on, do not fit into memory, nor, past 23,170, into one file. */
const DEEPEST = 8192;

/** Inputs of weights whose second moments are the same, and are summed up together. */
export interface MomentInput {
	readonly key: string;
	/** Inputs of a channel, and groups of channels with inputs of their own. */
	readonly depth: number;
	readonly groups: number;
	readonly sources: readonly (Watched & { readonly plan: RowPlan; readonly shape: readonly number[] | undefined })[];
	readonly weights: readonly string[];
}

/**
 * The inputs of the constant weights of the main graph that are matrices, and of convolutions, whose kernels are seen as
 * such; not of more than 8,192 inputs, nor of kernels of more than 1,152.
 */
export function momentInputs(model: Model): MomentInput[] {
	const types = inferTypes(model);
	const byWeight = new Map<string, Source[]>();
	for (const site of findWeightSites(model)) {
		if (site.graphSite.graph !== model.graph) continue;
		const source = sourceOf(site, types);
		if (source === undefined) continue;
		byWeight.set(site.weightName, [...(byWeight.get(site.weightName) ?? []), source]);
	}
	const inputs = new Map<string, MomentInput & { readonly weights: string[] }>();
	for (const [weight, sources] of byWeight) {
		const unique = new Map(sources.map((source) => [source.key, source] as const));
		const key = [...unique.keys()].sort().join("\0");
		const { depth, groups } = sources[0]!;
		const entry = inputs.get(key) ?? { key, depth, groups, sources: [...unique.values()], weights: [] };
		inputs.set(key, entry);
		entry.weights.push(weight);
	}
	return [...inputs.values()];
}

type Source = MomentInput["sources"][number] & Pick<MomentInput, "key" | "depth" | "groups">;

function sourceOf(site: WeightSite, types: TypeTable): Source | undefined {
	const { node, input } = site;
	const value = node.inputs[1 - input];
	if (value === undefined || constantOf(value) !== undefined) return undefined;
	const watched = watch(value, types);
	if (watched.rank === undefined || watched.rank === 0) return undefined;
	const rows = isOnnxOp(node, "Conv") ? rowsOfConvolution(site) : rowsOfMatrix(site, watched.rank);
	const shape = types.staticShapeOf(value);
	return rows && { ...watched, ...rows, shape, key: `${value.name} ${JSON.stringify(rows)}` };
}

type Rows = Pick<Source, "plan" | "depth" | "groups">;

function rowsOfMatrix({ node, input, stored, axes }: WeightSite, rank: number): Rows | undefined {
	const { shape } = stored.tensor;
	if (axes === undefined || intOf(node, "group", 1) !== 1) return undefined;
	const depth = shape[axes.blockAxis]!;
	if (depth > DEEPEST || elementCount(shape) !== depth * shape[axes.channelAxis]!) return undefined;
	return { plan: { kind: "axis", axis: channelAxis(node, input, rank) }, depth, groups: 1 };
}

function rowsOfConvolution({ node, stored }: WeightSite): Rows | undefined {
	const { shape } = stored.tensor;
	const kernel = shape.slice(2);
	const depth = elementCount(shape.slice(1));
	const groups = intOf(node, "group", 1);
	if (depth > (elementCount(kernel) > 1 ? DEEPEST_KERNEL : DEEPEST)) return undefined;
	const numbers = (name: string, fallback: readonly number[]) => {
		const attribute = node.attributes.get(name);
		return attribute?.kind === "ints" ? attribute.value.map(Number) : fallback;
	};
	const ones = kernel.map(() => 1);
	const autoPad = stringOf(node, "auto_pad") ?? "NOTSET";
	const pads =
		autoPad === "NOTSET"
			? numbers(
					"pads",
					[...kernel, ...kernel].map(() => 0),
				)
			: autoPad;
	const windows = { kernel, strides: numbers("strides", ones), dilations: numbers("dilations", ones), pads };
	return { plan: { kind: "patches", ...windows, groups }, depth, groups };
}
