import type { Model } from "../../ir/model.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { floatTensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { allNodes } from "../../ir/walk.js";
import type { Interval } from "../../quant/grid.js";
import { addConstant, constantOf } from "../../weights/constant.js";
import type { ActivationRanges } from "./activation-ranges.js";
import { inputsOfOneGrid } from "./grid-operators.js";
import { removeUnused } from "./remove-unused.js";
import { smallConstantOf } from "./small-constant.js";

/** e^-12 is less than half a step of a 16-bit softmax: what lies so far below the largest of a row is 0 there. */
const NOTHING_LEFT = 12;

/** A mask that goes no further down than this many times what is needed is left as it is. */
const MODERATE = 4;

/** Operators between a mask's constant and the scores that it is added to. */
const MAX_DEPTH = 12;

/** What was done to one mask. */
export interface TamedMask {
	readonly mask: Value;
	/** It was down to this. */
	readonly from: number;
	/** And is now. */
	readonly to: number;
}

/** A place where a mask meets scores on their way into a softmax. */
interface Meeting {
	readonly node: Node;
	readonly mask: Value;
	readonly scores: Interval;
	/** What lies so far below the largest of a row has no weight. */
	readonly nothing: number;
}

/**
 * Makes masks of attentions reach no further down than it takes for a weight of zero behind the softmax: -1e9, the lowest
 * FLOAT and minus infinity, which leave the scores no codes, become a little more than the width of the scores. Sets the
 * ranges of masks and masked scores, and replaces constants.
 */
export function tameMasks(model: Model, ranges: ActivationRanges, names: NameScope): TamedMask[] {
	const meetings = [...allNodes(model)].flatMap(({ node }) => meetingAt(node, ranges) ?? []);
	const tamed: TamedMask[] = [];
	for (const mask of new Set(meetings.map((meeting) => meeting.mask))) {
		const here = meetings.filter((meeting) => meeting.mask === mask);
		const needed = Math.max(...here.map(({ scores, nothing }) => scores.hi - scores.lo + nothing));
		const found = lowestOf(mask, ranges);
		if (found === undefined || found >= -needed * MODERATE) continue;
		for (const { node, scores, nothing } of here) {
			const hi = Math.max(scores.hi, isOnnxOp(node, "Add") ? scores.hi + Math.max(0, highestOf(mask, ranges)) : 0);
			setThroughViews(node.outputs[0]!, { lo: scores.lo - nothing, hi }, ranges);
		}
		// behind a Where the value stands by itself, behind an Add it is a difference
		const isAdded = here.every(({ node }) => isOnnxOp(node, "Add"));
		const to = isAdded ? -needed : Math.min(...here.map(({ scores, nothing }) => scores.lo - nothing));
		raise({ readers: here.map(({ node }) => node), mask }, to, ranges, names);
		tamed.push({ mask, from: found, to });
	}
	return tamed;
}

function meetingAt(node: Node, ranges: ActivationRanges): Meeting | undefined {
	if (!isOnnxOp(node, "Add", "Where")) return undefined;
	const factor = factorToSoftmax(node.outputs[0]);
	if (factor === undefined) return undefined;
	const operands = isOnnxOp(node, "Add") ? [0, 1] : [1, 2];
	const [a, b] = operands.map((index) => node.inputs[index]);
	if (a === undefined || b === undefined) return undefined;
	const [lowA, lowB] = [lowestOf(a, ranges), lowestOf(b, ranges)];
	if (lowA === undefined || lowB === undefined) return undefined;
	const [mask, other] = lowA < lowB ? [a, b] : [b, a];
	const scores = ranges.of(other);
	return scores && { node, mask, scores, nothing: NOTHING_LEFT / factor };
}

/** The smallest factor between `value` and the softmaxes that it goes into; undefined where it goes anywhere else. */
function factorToSoftmax(value: Value | undefined): number | undefined {
	if (value === undefined || value.isGraphOutput || value.uses.length === 0) return undefined;
	const factors = value.uses.map(({ node, index }) => {
		if (isOnnxOp(node, "Softmax")) return 1;
		const own = isMoved(node, index) ? 1 : scaledBy(node, index);
		const behind = own === undefined ? undefined : factorToSoftmax(node.outputs[0]);
		return behind === undefined ? Number.NaN : own! * behind;
	});
	const factor = Math.min(...factors);
	return Number.isNaN(factor) ? undefined : factor;
}

/** The positive number that input `index` is multiplied by, as attentions do that scale what is masked already. */
function scaledBy(node: Node, index: number): number | undefined {
	if (!isOnnxOp(node, "Mul", "Div") || (isOnnxOp(node, "Div") && index !== 0)) return undefined;
	const other = smallConstantOf(node.inputs[1 - index]);
	if (other === undefined || other.values.length !== 1 || !(other.values[0]! > 0)) return undefined;
	return isOnnxOp(node, "Mul") ? other.values[0]! : 1 / other.values[0]!;
}

/** Does `node` hand on what it reads as input `index`? Exporters write casts to the type that values have in front of a softmax. */
function isMoved(node: Node, index: number): boolean {
	return inputsOfOneGrid(node).includes(index) || isOnnxOp(node, "Cast");
}

function lowestOf(value: Value, ranges: ActivationRanges): number | undefined {
	const known = ranges.of(value)?.lo;
	if (known !== undefined) return known;
	const values = smallConstantOf(value)?.values;
	return values === undefined ? undefined : Array.from(values).reduce((a, b) => Math.min(a, b), 0);
}

function highestOf(value: Value, ranges: ActivationRanges): number {
	const known = ranges.of(value)?.hi;
	if (known !== undefined) return known;
	return Array.from(smallConstantOf(value)?.values ?? []).reduce((a, b) => Math.max(a, b), 0);
}

function setThroughViews(value: Value, interval: Interval, ranges: ActivationRanges): void {
	ranges.set(value, interval);
	for (const { node, index } of value.uses) {
		const factor = isMoved(node, index) ? 1 : scaledBy(node, index);
		if (factor === undefined) continue;
		setThroughViews(node.outputs[0]!, { lo: interval.lo * factor, hi: interval.hi * factor }, ranges);
	}
}

/** Lets nothing in front of `readers` that makes up their mask be lower than `to`. */
function raise(
	{ readers, mask }: { readonly readers: readonly Node[]; readonly mask: Value },
	to: number,
	ranges: ActivationRanges,
	names: NameScope,
	depth = MAX_DEPTH,
): void {
	const known = ranges.of(mask);
	if (known !== undefined && known.lo < to) ranges.set(mask, { lo: to, hi: Math.max(known.hi, 0) });
	const constant = smallConstantOf(mask);
	if (constant !== undefined) {
		replaceLow(mask, readers, to, names);
		return;
	}
	const { producer } = mask;
	if (producer === undefined || depth === 0) return;
	const isPath =
		inputsOfOneGrid(producer).length > 0 || isOnnxOp(producer, "Cast", "Mul", "Where", "Add", "Max", "Min");
	if (!isPath) return;
	for (const input of [...producer.inputs]) {
		if (input !== undefined && (lowestOf(input, ranges) ?? 0) < to)
			raise({ readers: [producer], mask: input }, to, ranges, names, depth - 1);
	}
}

/** Makes `readers` read the constant with `to` in place of what is lower. */
function replaceLow(value: Value, readers: readonly Node[], to: number, names: NameScope): void {
	const constant = constantOf(value);
	if (constant?.tensor.dtype !== DataType.FLOAT) return;
	const values = Float32Array.from(smallConstantOf(value)!.values, (each) => Math.max(each, to));
	const tensor = floatTensor(constant.tensor.shape, values);
	for (const graph of new Set(readers.map((node) => node.graph!))) {
		const here = readers.filter((node) => node.graph === graph);
		const raised = addConstant(graph, names.fresh(`${value.name}_tamed`), tensor, here[0]);
		for (const node of here) {
			for (const [index, input] of node.inputs.entries()) if (input === value) node.setInput(index, raised);
		}
	}
	removeUnused(value);
}
