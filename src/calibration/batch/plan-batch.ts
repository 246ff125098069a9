import { inferTypes } from "../../inference/index.js";
import { subgraphsOf } from "../../ir/attribute.js";
import { type Model, onnxOpset } from "../../ir/model.js";
import { isOnnxOp, isStandardDomain, type Node } from "../../ir/node.js";
import { nodesInOrder, valuesReadBy } from "../../ir/order.js";
import { elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { ELEMENTWISE_RULES } from "./elementwise-rules.js";
import { LINEAR_RULES } from "./linear-rules.js";
import { MOVEMENT_RULES } from "./movement-rules.js";
import { BatchCall, type BatchEdit, type BatchRule } from "./rule.js";

/** How a model for one sample computes several at once, so that none of them sees another. */
export interface BatchPlan {
	/** Along which axis samples are stacked; values that are not in it are the same for all samples. */
	readonly axes: ReadonlyMap<Value, number>;
	/** Of one sample, of all values that are in `axes`. */
	readonly shapes: ReadonlyMap<Value, readonly number[]>;
	readonly edits: readonly (BatchEdit & { readonly node: Node })[];
	/** What Shape and Size say of one sample. */
	readonly lengths: ReadonlyMap<Value, readonly number[]>;
	/** Elements of the largest value of one sample. */
	readonly largest: number;
}

/** More samples at once than this bring little. */
const MAX_BATCH = 8;

/** Nor do they where the largest value has more elements than this, for then it is no longer in a cache. */
const BATCH_ELEMENTS = 2 ** 19;

/** How many of `samples` a session best takes at once. */
export function batchSize(plan: BatchPlan | undefined, samples: number): number {
	const fitting = Math.floor(BATCH_ELEMENTS / (plan?.largest ?? Number.POSITIVE_INFINITY));
	return Math.max(1, Math.min(MAX_BATCH, fitting, Math.ceil(samples)));
}

const RULES: ReadonlyMap<string, BatchRule> = new Map([...ELEMENTWISE_RULES, ...LINEAR_RULES, ...MOVEMENT_RULES]);

/**
 * Finds out how samples that are stacked along an axis of every input go through a model. undefined where an operator mixes
 * them or is not known well enough, where lengths are not fixed, and where there are bodies of control flow.
 */
export function planBatch(model: Model): BatchPlan | undefined {
	const types = inferTypes(model);
	const opset = onnxOpset(model);
	if (opset === undefined) return undefined;
	const axes = new Map<Value, number>();
	const shapes = new Map<Value, readonly number[]>();
	const stack = (value: Value, axis: number) => {
		const shape = types.staticShapeOf(value);
		if (shape === undefined || axis < 0 || axis >= shape.length || elementCount(shape) === 0) return false;
		axes.set(value, axis);
		shapes.set(value, shape);
		return true;
	};
	for (const value of model.graph.inputs) {
		if (value.initializer !== undefined) continue;
		if (!stack(value, types.staticShapeOf(value)?.indexOf(1) ?? -1)) return undefined;
	}
	const edits: (BatchEdit & { readonly node: Node })[] = [];
	const lengths = new Map<Value, readonly number[]>();
	for (const node of nodesInOrder(model.graph)) {
		if (isRandom(node)) return undefined;
		if (![...valuesReadBy(node)].some((value) => axes.has(value))) continue;
		if (!subgraphsOf(node).next().done) return undefined;
		if (isOnnxOp(node, "Shape", "Size")) {
			const elements = types.elementsOf(node.outputs[0]!);
			if (!elements?.every((element) => typeof element === "number")) return undefined;
			lengths.set(node.outputs[0]!, elements);
			continue;
		}
		const stacked = RULES.get(ruleName(node))?.(new BatchCall(node, opset, types, axes));
		if (stacked === undefined) return undefined;
		for (const [output, value] of node.outputs.entries()) {
			if (value.name !== "" && !stack(value, stacked.axes[output]!)) return undefined;
		}
		edits.push(...stacked.edits.map((edit) => ({ node, ...edit })));
	}
	const largest = Math.max(0, ...[...shapes.values()].map(elementCount));
	return axes.size === 0 ? undefined : { axes, shapes, edits, lengths, largest };
}

function ruleName({ op }: Node): string {
	return isStandardDomain(op.domain) ? op.type : `${op.domain}.${op.type}`;
}

function isRandom({ op }: Node): boolean {
	return /^Random|^Bernoulli$|^Multinomial$/.test(op.type);
}
