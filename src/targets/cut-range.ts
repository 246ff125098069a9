import { floatOf } from "../ir/attribute.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import type { Interval } from "../quant/grid.js";
import { constantOf } from "../weights/constant.js";
import { eachNumber } from "../weights/numbers.js";
import { clipLimits } from "./clip-limits.js";
import { inputFacts, outputFacts, type QuantizationFacts } from "./operator-facts.js";
import { codeInterval, isSuperfluous, MOVED_ACROSS, quantizerBehind } from "./readers.js";
import type { TypeSource } from "./type-source.js";

/* What the compiler makes one operator of, a product or sum and the activation behind it, keeps none of the limits between. */

const PRODUCTS: readonly string[] = ["MatMul", "Gemm"];
const CONVOLUTIONS: readonly string[] = ["Conv", "ConvTranspose"];
const SUMS: readonly string[] = ["Add", "Sub", "Mul"];

/** Activations that kernels of every product and sum take over, and those that only kernels with weights do. */
const LIMITING: readonly string[] = ["Relu", "Clip"];
const CURVED: readonly string[] = ["LeakyRelu", "PRelu", "HardSwish"];

/** Operators between that change nothing about this, by what makes the values. */
function passesThrough(between: Node, source: Node): boolean {
	if (isOnnxOp(between, "Squeeze", "Unsqueeze")) return true;
	if (isOnnxOp(source, ...CONVOLUTIONS)) return isOnnxOp(between, "Reshape", "Transpose", "Flatten");
	return isOnnxOp(between, isOnnxOp(source, ...SUMS) ? "Transpose" : "Flatten");
}

function isTakingOver(source: Node, activation: Node, types: TypeSource): boolean {
	if (isOnnxOp(activation, "HardSwish")) return isOnnxOp(source, "Conv") || isProductOfWeight(source);
	if (isOnnxOp(source, ...SUMS)) return isOnnxOp(activation, ...LIMITING);
	if (!isOnnxOp(source, ...PRODUCTS)) return isOnnxOp(source, ...CONVOLUTIONS);
	return (types.shapeOf(source.outputs[0]!)?.length ?? 0) < 4;
}

function isProductOfWeight(source: Node): boolean {
	const dequantizer = source.inputs[1]?.producer;
	const stored = dequantizer === undefined ? source.inputs[1] : dequantizer.inputs[0];
	return isOnnxOp(source, ...PRODUCTS) && constantOf(stored) !== undefined;
}

/** What quantizers and limits in front of `activation` let through of what a product or sum makes; undefined behind others. */
function letThrough(activation: Node, types: TypeSource): Interval | undefined {
	let { lo, hi } = { lo: Number.NEGATIVE_INFINITY, hi: Number.POSITIVE_INFINITY };
	const between: Node[] = [];
	for (let value: Value | undefined = activation.inputs[0]; value?.producer !== undefined; ) {
		const node: Node = value.producer;
		if (isOnnxOp(node, "DequantizeLinear")) {
			const { quantization } = inputFacts(value, types);
			const codes = quantization && codeInterval(quantization);
			if (codes === undefined) return undefined;
			({ lo, hi } = intersection({ lo, hi }, codes));
		} else if (isOnnxOp(node, ...LIMITING)) {
			const limits = limitsOf(node);
			if (limits === undefined) return undefined;
			({ lo, hi } = intersection({ lo, hi }, limits));
		} else if (isOnnxOp(node, "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze")) between.push(node);
		else if (!isOnnxOp(node, "QuantizeLinear")) {
			const isSource = isOnnxOp(node, ...PRODUCTS, ...CONVOLUTIONS, ...SUMS) && isTakingOver(node, activation, types);
			return isSource && between.every((view) => passesThrough(view, node)) ? { lo, hi } : undefined;
		}
		value = node.inputs[0];
	}
	return undefined;
}

function intersection(a: Interval, b: Interval): Interval {
	return { lo: Math.max(a.lo, b.lo), hi: Math.min(a.hi, b.hi) };
}

/** Between what an activation keeps its values, as far as that is lost; undefined where a limit is computed. That of a Relu is kept. */
function limitsOf(activation: Node): Interval | undefined {
	if (isOnnxOp(activation, "Clip")) return clipLimits(activation);
	return { lo: Number.NEGATIVE_INFINITY, hi: Number.POSITIVE_INFINITY };
}

/** What is left of an interval behind `activation`, as far as its ends say. */
function mapped(activation: Node, { lo, hi }: Interval): Interval {
	if (isOnnxOp(activation, "Clip")) return { lo, hi };
	if (isOnnxOp(activation, "Relu")) return { lo: Number.NEGATIVE_INFINITY, hi };
	if (isOnnxOp(activation, "HardSwish")) {
		return { lo: Number.NEGATIVE_INFINITY, hi: (hi * Math.min(Math.max(hi + 3, 0), 6)) / 6 };
	}
	const slopes = slopesOf(activation);
	if (slopes === undefined) return { lo: Number.NEGATIVE_INFINITY, hi: Number.POSITIVE_INFINITY };
	return { lo: Math.min(0, lo * slopes.hi), hi };
}

/** The slopes of a LeakyRelu or PRelu below 0; undefined where they are not known, or turn negative values into positive ones. */
function slopesOf(activation: Node): Interval | undefined {
	if (isOnnxOp(activation, "LeakyRelu")) {
		const alpha = floatOf(activation, "alpha", 0.01);
		return alpha < 0 ? undefined : { lo: alpha, hi: alpha };
	}
	const stored = constantOf(activation.inputs[1])?.tensor;
	if (stored === undefined) return undefined;
	let [lo, hi] = [0, 0];
	eachNumber(stored, (slope) => {
		[lo, hi] = [Math.min(lo, slope), Math.max(hi, slope)];
		return lo >= 0;
	});
	return lo < 0 ? undefined : { lo, hi };
}

/** Values that an activation cannot have: by its own limits, and by all that is cut off in front of it. */
export interface CutRange {
	readonly own: Interval;
	readonly all: Interval;
}

/** Limits that the kernel of a product or sum forgets when it takes over `activation` behind it; undefined where none does. */
function cutRange(activation: Node, types: TypeSource): CutRange | undefined {
	if (!isOnnxOp(activation, ...LIMITING, ...CURVED)) return undefined;
	const own = limitsOf(activation);
	const before = letThrough(activation, types);
	if (own === undefined || before === undefined) return undefined;
	return { own, all: intersection(own, mapped(activation, before)) };
}

/** What an activation that a kernel takes over is quantized to, and the limits that are lost where that reaches further. */
export interface LimitedResult extends CutRange {
	readonly result: QuantizationFacts;
}

export function limitedResult(activation: Node, types: TypeSource): LimitedResult | undefined {
	const result = resultBehind(activation, types);
	const cut =
		result &&
		(isBehindCodes(activation, types) ? cutRange(activation, types) : cutBySeveral(activation, result, types));
	return cut && { ...cut, result };
}

/** What an activation is quantized to, operators aside that the compiler moves the quantizer across. */
export function resultBehind(activation: Node, types: TypeSource): QuantizationFacts | undefined {
	const [output] = activation.outputs;
	const quantizer = output && quantizerBehind(output, ["MaxPool", ...MOVED_ACROSS]);
	if (quantizer === undefined || !isOnnxOp(quantizer, "QuantizeLinear")) return undefined;
	return outputFacts(quantizer.inputs[0]!, types).quantization;
}

function isBehindCodes(activation: Node, types: TypeSource): boolean {
	return inputFacts(activation.inputs[0]!, types).quantization !== undefined;
}

/** The Relu or Clip right in front of `activation` that nothing else reads. */
export function limitingBefore(activation: Node): Node | undefined {
	const [between] = activation.inputs;
	const before = between?.producer;
	if (before === undefined || !isOnnxOp(before, ...LIMITING)) return undefined;
	return between!.uses.length > 1 || between!.isGraphOutput ? undefined : before;
}

/**
 * Of two limiting activations with no codes between the compiler leaves the second one out where the quantizer does the same,
 * and makes one of a Relu and a Clip behind it; several Relus in a row count as one, and a Relu that the quantizer replaces
 * behind these two as none. Others are computed as they are.
 */
function cutBySeveral(last: Node, result: QuantizationFacts, types: TypeSource): CutRange | undefined {
	const before = limitingBefore(last);
	if (before === undefined || !isOnnxOp(last, ...LIMITING)) return undefined;
	let first = before;
	for (let relu: Node | undefined = first; relu !== undefined && isOnnxOp(relu, "Relu"); relu = limitingBefore(relu))
		first = relu;
	if (!isBehindCodes(first, types)) {
		const isLeftOut = isOnnxOp(last, "Relu") && isOnnxOp(before, "Clip") && isSuperfluous(last, result);
		return isLeftOut && isOnnxOp(first.inputs[0]!.producer!, "Relu") ? cutBySeveral(before, result, types) : undefined;
	}
	const cut = cutRange(last, types);
	if (isOnnxOp(first, "Relu") && isOnnxOp(last, "Clip")) {
		const positive = { lo: 0, hi: Number.POSITIVE_INFINITY };
		return cut && { own: intersection(cut.own, positive), all: intersection(cut.all, positive) };
	}
	return first === before && isSuperfluous(last, result) ? cut : undefined;
}

/** Below this a HardSwish is 0 as far as its step matters. */
const HARD_SWISH_START = -2.95;

/** The lower end of what comes to a HardSwish that a kernel takes over, where values below would come out as something else. */
export function hardSwishStart(activation: Node, types: TypeSource): number | undefined {
	if (!isOnnxOp(activation, "HardSwish")) return undefined;
	const lo = letThrough(activation, types)?.lo ?? Number.NEGATIVE_INFINITY;
	return lo > HARD_SWISH_START ? lo : undefined;
}
