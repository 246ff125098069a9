import { inferTypes, type TypeTable } from "../../inference/index.js";
import { floatOf } from "../../ir/attribute.js";
import type { Model } from "../../ir/model.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { constantOf } from "../../weights/constant.js";
import { findWeightSites } from "../../weights/weight-site.js";
import { type MomentInput, momentInputs } from "../moment-inputs.js";
import type { RowPlan } from "../row-plan.js";

/** Weights with more elements have nothing made good: the sums would take more memory than all else. */
const LARGEST_WEIGHT = 2 ** 25;

/** A place where a weight is used: its inputs, and what it is to make right. */
export interface WeightPlace {
	/** The value with the inputs, and how rows are read out of it. */
	readonly input: string;
	readonly inputPlan: RowPlan;
	/** The value behind the operator whose error is to be made good, with as many rows. */
	readonly output: string;
	readonly outputPlan: RowPlan;
}

/** A weight whose outputs are looked at. */
export interface ErrorInput {
	readonly weight: string;
	readonly depth: number;
	readonly groups: number;
	/** Output channels of all groups. */
	readonly channels: number;
	readonly places: readonly WeightPlace[];
}

/** What is to be summed up for some weights. */
export interface RoundInputs {
	readonly moments: readonly MomentInput[];
	readonly errors: readonly ErrorInput[];
}

/** What there is to look at for the weights of the main graph that `isWanted` names. */
export function roundInputs(model: Model, isWanted: (weight: string) => boolean): RoundInputs {
	const types = inferTypes(model);
	const moments = momentInputs(model)
		.map((input) => ({ ...input, weights: input.weights.filter(isWanted) }))
		.filter(({ weights }) => weights.length > 0);
	const inputOf = new Map(moments.flatMap((input) => input.weights.map((weight) => [weight, input] as const)));
	const places = new Map<string, WeightPlace[]>();
	const sizes = new Map<string, number>();
	for (const site of findWeightSites(model)) {
		const { node, input, weightName, stored } = site;
		const known = site.graphSite.graph === model.graph ? inputOf.get(weightName) : undefined;
		const source = known?.sources.find(({ value }) => value === node.inputs[1 - input]);
		const outputPlan = source && planOfOutput(node, input, known!.groups, types);
		if (outputPlan === undefined) continue;
		const output = wholeOutput(node.outputs[0]!, types).name;
		const place = { input: source!.value.name, inputPlan: source!.plan, output, outputPlan };
		places.set(weightName, [...(places.get(weightName) ?? []), place]);
		sizes.set(weightName, elementCount(stored.tensor.shape));
	}
	const errors = [...places].flatMap(([weight, found]): ErrorInput[] => {
		const { depth, groups } = inputOf.get(weight)!;
		const elements = sizes.get(weight)!;
		if (elements > LARGEST_WEIGHT) return [];
		return [{ weight, depth, groups, channels: elements / depth, places: found }];
	});
	return { moments, errors };
}

/** How rows of output channels are read, in the order of the rows of inputs; undefined where that is not known. */
function planOfOutput(node: Node, input: number, groups: number, types: TypeTable): RowPlan | undefined {
	const rank = types.shapeOf(node.outputs[0]!)?.length;
	if (rank === undefined || rank < 2) return undefined;
	if (isOnnxOp(node, "Conv")) {
		const ones = new Array<number>(rank - 2).fill(1);
		const pads = new Array<number>(2 * (rank - 2)).fill(0);
		return { kind: "patches", kernel: ones, strides: ones, dilations: ones, pads, groups };
	}
	const isGemm = isOnnxOp(node, "Gemm");
	if (!isGemm && !isOnnxOp(node, "MatMul")) return undefined;
	if (isGemm && floatOf(node, "alpha", 1) !== 1) return undefined;
	return { kind: "axis", axis: input === 1 ? rank - 1 : rank - 2 };
}

/**
 * The sum that an operator's output becomes part of at once: with a bias, with what passes by a block of layers. Its error
 * has that of all summands, and any of them can make it good.
 */
function wholeOutput(output: Value, types: TypeTable): Value {
	const [use, ...others] = output.uses;
	if (use === undefined || others.length > 0 || output.isGraphOutput || !isOnnxOp(use.node, "Add")) return output;
	const [sum] = use.node.outputs;
	const other = use.node.inputs[1 - use.index]!;
	const shapeOf = (value: Value) => types.shapeOf(value)?.join();
	if (shapeOf(sum!) === undefined || shapeOf(sum!) !== shapeOf(output)) return output;
	return constantOf(other) === undefined ? sum! : wholeOutput(sum!, types);
}
