import type { Model } from "../../ir/model.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { hull, type Interval, intervalOf } from "../../quant/grid.js";
import { goesToInteger, isView } from "../../weights/activation.js";
import type { WeightSite } from "../../weights/weight-site.js";
import { linearBound } from "./linear-bound.js";
import { addQdq, coveringEncoding, type Encoding, encodingAt, encodingBehind, sameEncoding, widened } from "./qdq.js";
import { replaceValue } from "./replace-value.js";
import { wantedInterval } from "./wanted-interval.js";

/** The pair that was put behind an operator, and what its encoding was derived from. */
export interface Separation {
	readonly output: Value;
	readonly encoding: Encoding;
	/** `quantizer`: one that reads the same values; `readers`: what they can tell apart; `bound`: the weight and its input. */
	readonly origin: "quantizer" | "readers" | "bound";
}

/** Why there is no pair: nothing says what range the values have. */
export type NoSeparation = "separate already" | "float input" | "no encoding";

/**
 * `MatMul(x, W) -> readers` becomes `MatMul(x, W) -> Q -> DQ -> readers` in the type of x's codes, unless its readers are
 * quantizers already. Views that follow stay in front of the pair. A bound takes UINT16, and x is widened to it where it has
 * 8 bits: these would leave little of a range that is many times too wide.
 */
export function separateOutput(model: Model, site: WeightSite, names: NameScope): Separation | NoSeparation {
	const output = endOfViews(site.node.outputs[0]!);
	if (goesToInteger(output)) return "separate already";
	const input = encodingBehind(site.node.inputs[1 - site.input]);
	if (input === undefined || !isActivationType(input.dtype)) return "float input";
	const derived = derive(output, site, input);
	if (derived === undefined) return "no encoding";
	if (derived.encoding.dtype !== input.dtype) {
		site.node.setInput(
			1 - site.input,
			addQdq(site.node.graph!, site.node.inputs[1 - site.input]!, widened(input), names, site.node),
		);
	}
	insertPair(model, output, derived.encoding, names);
	return { output, ...derived };
}

function is8Bit(dtype: DataType): boolean {
	return dtype === DataType.UINT8 || dtype === DataType.INT8;
}

function isActivationType(dtype: DataType): boolean {
	return is8Bit(dtype) || dtype === DataType.UINT16 || dtype === DataType.INT16;
}

/** The last of the views that `value` goes into, one after the other, with no other readers. */
function endOfViews(value: Value): Value {
	let at = value;
	for (;;) {
		const [use] = at.uses;
		const next = use?.node.outputs[0];
		if (at.isGraphOutput || at.uses.length !== 1 || use?.index !== 0 || !isView(use.node) || next === undefined)
			return at;
		if (use.node.graph !== at.graph) return at;
		at = next;
	}
}

function derive(output: Value, site: WeightSite, input: Encoding): Omit<Separation, "output"> | undefined {
	const quantizers = output.uses.flatMap(({ node, index }) => {
		const encoding = index === 0 && isOnnxOp(node, "QuantizeLinear") ? encodingAt(node) : undefined;
		return encoding ?? [];
	});
	const [first] = quantizers;
	if (first !== undefined) {
		const isOne = quantizers.every((other) => sameEncoding(other, first)) && first.dtype === input.dtype;
		const encoding = isOne ? first : coveringEncoding(input.dtype, hull(...quantizers.map(intervalOf)));
		return { encoding, origin: "quantizer" };
	}
	const wanted = wantedInterval(output);
	const bound = linearBound(site, intervalOf(input));
	const interval = wanted && bound ? intersection(wanted, bound) : (wanted ?? bound);
	if (interval === undefined) return undefined;
	const isBound = wanted === undefined || interval === bound;
	const dtype = isBound && is8Bit(input.dtype) ? DataType.UINT16 : input.dtype;
	return { encoding: coveringEncoding(dtype, interval), origin: isBound ? "bound" : "readers" };
}

/** What both hold; `b` where that is all of it, or where they have nothing in common. */
function intersection(a: Interval, b: Interval): Interval {
	const both = { lo: Math.max(a.lo, b.lo), hi: Math.min(a.hi, b.hi) };
	return both.lo > both.hi || (both.lo === b.lo && both.hi === b.hi) ? b : both;
}

/** Puts a pair between `output` and all its readers; quantizers that would only write the same codes again go. */
export function insertPair(model: Model, output: Value, encoding: Encoding, names: NameScope): void {
	const { producer, graph } = output;
	const before = producer!.next;
	const readers = [...output.uses];
	const result = addQdq(graph, output, encoding, names, before);
	const codes = result.producer!.inputs[0]!;
	if (output.isGraphOutput) {
		replaceValue(model, output, result, names.fresh(`${output.name}_float`));
		codes.producer!.setInput(0, output);
	} else for (const { node, index } of readers) node.setInput(index, result);
	for (const { node } of readers) mergeQuantizer(node, result, codes, encoding);
}

/** A quantizer that would only write the same codes again is left out. */
function mergeQuantizer(node: Node, result: Value, codes: Value, encoding: Encoding): void {
	const own = node.outputs[0];
	if (!isOnnxOp(node, "QuantizeLinear") || node.inputs[0] !== result || own === undefined || own.isGraphOutput) return;
	const other = encodingAt(node);
	if (other === undefined || !sameEncoding(other, encoding)) return;
	own.replaceUsesWith(codes);
	node.remove();
}
