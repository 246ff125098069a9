import type { Model } from "../../ir/model.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { allNodes } from "../../ir/walk.js";
import { type Interval, intervalOf } from "../../quant/grid.js";
import { clipLimits } from "../../targets/clip-limits.js";
import type { ActivationRanges } from "./activation-ranges.js";
import { inputsOfOneGrid, kernelEncoding } from "./grid-operators.js";
import type { OperatorPrecisions } from "./operator-precision.js";
import { coveringEncoding, type Encoding } from "./qdq.js";
import { removeUnused } from "./remove-unused.js";
import { replaceValue } from "./replace-value.js";

/**
 * Takes a Relu or Clip away whose limits are those of the codes that its result becomes: `Conv -> Relu -> Q` computes what
 * `Conv -> Q` does, and as one operator of the target. Returns which values are to keep within which limits by their codes.
 */
export function absorbClamps(
	model: Model,
	ranges: ActivationRanges,
	precisions: OperatorPrecisions,
	names: NameScope,
): Map<Value, Interval> {
	const absorbed = new Map<Value, Interval>();
	for (const { node } of [...allNodes(model)]) {
		const limits = limitsOf(node);
		const input = node.inputs[0];
		if (limits === undefined || input?.producer === undefined || !isOnly(input, node)) continue;
		const bits = precisions.bitsOf(node);
		if (bits === undefined || precisions.bitsOf(input.producer) !== bits || !isComputed(input.producer)) continue;
		if (!isWithin(ranges, node.outputs[0]!, bits === 8 ? DataType.UINT8 : DataType.UINT16, limits)) continue;
		absorb(model, node, input, ranges, names);
		absorbed.set(input, limits);
	}
	return absorbed;
}

function limitsOf(node: Node): Interval | undefined {
	if (isOnnxOp(node, "Relu")) return { lo: 0, hi: Number.POSITIVE_INFINITY };
	return isOnnxOp(node, "Clip") ? clipLimits(node) : undefined;
}

function isOnly({ uses, isGraphOutput, graph }: Value, node: Node): boolean {
	return uses.length === 1 && !isGraphOutput && node.graph === graph;
}

/** Is its result free to have any encoding? */
function isComputed(node: Node): boolean {
	const isQuantizer = isOnnxOp(node, "QuantizeLinear", "DequantizeLinear", "Constant");
	return !isQuantizer && inputsOfOneGrid(node).length === 0 && kernelEncoding(node, DataType.UINT16) === undefined;
}

function isWithin(ranges: ActivationRanges, output: Value, dtype: DataType, limits: Interval): boolean {
	const range = ranges.of(output);
	if (range === undefined) return false;
	const stated = ranges.statedFor(output);
	const encoding = stated?.dtype === dtype ? stated : coveringEncoding(dtype, range);
	return keepsWithin(encoding, limits);
}

/** Are all values of `encoding` within `limits`, or no further out than values are rounded? */
export function keepsWithin(encoding: Encoding, limits: Interval): boolean {
	const { lo, hi } = intervalOf(encoding);
	const half = encoding.scale / 2;
	return lo >= limits.lo - half && hi <= limits.hi + half;
}

function absorb(model: Model, node: Node, input: Value, ranges: ActivationRanges, names: NameScope): void {
	const output = node.outputs[0]!;
	ranges.move(output, input);
	const limits = node.inputs.slice(1);
	replaceValue(model, output, input, names.fresh(`${output.name}_clamped`));
	node.remove();
	for (const limit of new Set(limits)) if (limit !== undefined) removeUnused(limit);
}
