import { intOf, intsOf, stringOf } from "../ir/attribute.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import type { Value } from "../ir/value.js";
import { constantOf } from "../weights/constant.js";
import { eachNumber, numbersOf } from "../weights/numbers.js";
import { isWithin } from "./capabilities.js";
import { filledAxes } from "./filled-lanes.js";
import { fixedShape } from "./fixed-shape.js";
import { inputFacts, type OperandFacts, type OperatorFacts } from "./operator-facts.js";
import { ELEMENTWISE, sourceOf } from "./rules/producers.js";
import type { HtpArchitecture } from "./target.js";
import type { TypeSource } from "./type-source.js";

/** How many channels the kernels keep together. */
const GROUP = 32;

/** Operators whose second axis of four the compiler keeps channels on. */
const OF_IMAGES: readonly string[] = [
	...["Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize"],
	...["InstanceNormalization", "BatchNormalization", "DepthToSpace", "SpaceToDepth"],
];

/** Operators whose channels are on the last axis. */
const OF_ROWS: readonly string[] = ["MatMul", "Gemm", "LayerNormalization", "RMSNormalization"];

/** Behind these the channels that are filled up hold what is right by chance. */
const WITHOUT_REST: readonly string[] = ["Sigmoid", "Tanh", "Softmax"];

/** One number that a Concat or a Pad appends to the channels of an activation. */
export interface Fill {
	readonly axis: number;
	/** Channels that there are, and how many are appended. */
	readonly channels: number;
	readonly count: number;
}

/**
 * What `operator` appends within the last, unfilled 32 channels of its first input, where that is one number: the compiler
 * takes it for the padding of the channels that its kernels have, and writes nothing.
 */
export function lostFill(operator: OperatorFacts, types: TypeSource, architecture: HtpArchitecture): Fill | undefined {
	const { node, inputs, outputs } = operator;
	if (!isOnnxOp(node, "Concat", "Pad")) return undefined;
	const [shape, result] = [inputs[0], outputs[0]].map((operand) => operand && fixedShape(operand.shape));
	if (shape === undefined || result === undefined) return undefined;
	const axis = [
		channelAxis(node, shape.length),
		...(architecture === "v68" ? [] : [scaledAxis(node, shape, types)]),
		...(isWithin(architecture, undefined, "v69") ? filledAxes(operator, types) : []),
	].find((one) => one !== undefined && isLost(operator, one, shape, result));
	if (axis === undefined) return undefined;
	const fill = { axis, channels: shape[axis]!, count: result[axis]! - shape[axis]! };
	return isIgnored(outputs[0]!.value, fill, types) ? undefined : fill;
}

/** Does the operator append to `axis`, within the last group? */
function isLost(operator: OperatorFacts, axis: number, shape: readonly number[], result: readonly number[]): boolean {
	const isAppended = isOnnxOp(operator.node, "Concat") ? isConcatenated(operator, axis) : isPadded(operator, axis);
	const [channels, all] = [shape[axis]!, result[axis]!];
	const isInGroup = channels % GROUP !== 0 && Math.ceil(channels / GROUP) === Math.ceil(all / GROUP);
	return isAppended && isInGroup && all > channels;
}

function isConcatenated({ node, inputs }: OperatorFacts, axis: number): boolean {
	const [first, second, ...others] = inputs;
	if (first === undefined || second === undefined || others.length > 0) return false;
	const at = intOf(node, "axis", 0);
	const isAlong = at === axis || at + first.shape!.length === axis;
	return isAlong && storedOf(first) === undefined && isUniform(storedOf(second));
}

function isPadded({ node, inputs }: OperatorFacts, axis: number): boolean {
	if ((stringOf(node, "mode") ?? "constant") !== "constant") return false;
	const [amounts, axes] = [inputs[1]?.constant, inputs[3]?.constant].map((one) => one && Array.from(numbersOf(one)));
	if (amounts === undefined || (node.inputs[3] !== undefined && axes === undefined)) return false;
	const rank = inputs[0]!.shape!.length;
	const count = amounts.length / 2;
	const at = axes === undefined ? axis : axes.findIndex((one) => (one + rank) % rank === axis);
	return at >= 0 && amounts[at] === 0 && amounts[count + at]! > 0;
}

/** The constant behind an operand: codes, or as it is. */
export function storedOf({ constant, quantization }: OperandFacts): Tensor | undefined {
	const quantized = quantization?.node.inputs[0]?.producer;
	const isQuantizer = quantized !== undefined && isOnnxOp(quantized, "QuantizeLinear");
	return constant ?? quantization?.codes ?? (isQuantizer ? constantOf(quantized.inputs[0])?.tensor : undefined);
}

export function isUniform(tensor: Tensor | undefined): boolean {
	if (tensor === undefined) return false;
	let first: number | undefined;
	let isSame = true;
	eachNumber(tensor, (value) => {
		first ??= value;
		isSame = value === first;
		return isSame;
	});
	return isSame;
}

/** Which axis the compiler keeps the channels of what `node` reads and makes on; undefined where it need not keep any. */
function channelAxis(node: Node, rank: number): number | undefined {
	if (rank < 2 || rank > 4) return undefined;
	const source = sourceOf(node.inputs[0], ELEMENTWISE);
	const output = node.outputs[0]!;
	const isFrom = (...types: readonly string[]) => source !== undefined && isOnnxOp(source, ...types);
	if (isFrom(...WITHOUT_REST)) return undefined;
	const isTurned = isFrom("Transpose") && intsOf(source!, "perm")[1] === 3;
	if (rank === 4 && isReadBy(output, [...OF_IMAGES, "Transpose"])) {
		if (source !== undefined && (isTurned || !isFrom("Transpose", ...OF_ROWS))) return 1;
	}
	if (isTurned || isFrom(...OF_IMAGES)) return undefined;
	return isFrom("Transpose", ...OF_ROWS) || isReadBy(output, OF_ROWS) ? rank - 1 : undefined;
}

/** Operators that leave the elements of rows where they are. */
const BY_ELEMENT: readonly string[] = [
	...ELEMENTWISE,
	"Div",
	"Sigmoid",
	"Abs",
	"Neg",
	"Exp",
	"LpNormalization",
	"Slice",
];

/** Rows of more channels than these and less than {@link GROUP}, and of fewer than {@link FEWEST}, are written. */
const MOST_IN_HALF = 16;
const FEWEST = 5;

/** The last axis where a Pad appends to rows that are a graph's input, with a constant added to or multiplied with it. */
function scaledAxis(node: Node, shape: readonly number[], types: TypeSource): number | undefined {
	const channels = shape.at(-1)!;
	const isWritten = channels < FEWEST || (channels > MOST_IN_HALF && channels < GROUP);
	const rows = shape.slice(0, -1).reduce((product, length) => product * length, 1);
	if (!isOnnxOp(node, "Pad") || shape.length < 2 || shape.length > 4 || isWritten || rows === 1) return undefined;
	let value = node.inputs[0];
	let isScaled = false;
	for (let made = value?.producer; made !== undefined; made = value?.producer) {
		if (!isOnnxOp(made, "QuantizeLinear", "DequantizeLinear", ...BY_ELEMENT)) return undefined;
		isScaled ||= isOnnxOp(made, "Add", "Sub", "Mul", "Div") && hasConstant(made);
		value = made.inputs.find((input) => input !== undefined && storedOf(inputFacts(input, types)) === undefined);
	}
	return isScaled && value?.isGraphInput === true ? shape.length - 1 : undefined;
}

/** One that the compiler computes on all elements at once: one for each channel only where it is not multiplied with. */
function hasConstant(node: Node): boolean {
	const constant = node.inputs.map((input) => constantOf(input)?.tensor).find((tensor) => tensor !== undefined);
	if (constant === undefined) return false;
	return !isOnnxOp(node, "Mul") || (constant.shape.at(-1) ?? 1) === 1 || constant.shape.length > 1;
}

/** Does one of `operators` read `value`, quantizers and elementwise operators in between, or is it combined with what one makes? */
function isReadBy(value: Value, operators: readonly string[]): boolean {
	return value.uses.some(({ node, index }) => {
		if (isOnnxOp(node, ...operators)) return true;
		if (isOnnxOp(node, "QuantizeLinear", "DequantizeLinear"))
			return index === 0 && isReadBy(node.outputs[0]!, operators);
		if (!isOnnxOp(node, ...ELEMENTWISE, "Sigmoid")) return false;
		const others = node.inputs.filter((_, at) => at !== index).map((other) => sourceOf(other, ELEMENTWISE));
		return others.some((other) => other && isOnnxOp(other, ...operators)) || isReadBy(node.outputs[0]!, operators);
	});
}

/** Do all readers of `value` multiply what is appended by zeros of their weights? */
function isIgnored(value: Value, fill: Fill, types: TypeSource): boolean {
	return (
		value.uses.length > 0 &&
		value.uses.every(({ node, index }) => {
			if (isOnnxOp(node, "QuantizeLinear", "DequantizeLinear"))
				return index === 0 && isIgnored(node.outputs[0]!, fill, types);
			if (index !== 0 || !isOnnxOp(node, "MatMul", "Gemm", "Conv") || intOf(node, "group", 1) !== 1) return false;
			const weight = node.inputs[1] && storedOf(inputFacts(node.inputs[1], types));
			const isSecond = isOnnxOp(node, "Conv") || intOf(node, "transB", 0) === 1;
			return weight !== undefined && isZeroAlong(weight, isSecond ? 1 : weight.shape.length - 2, fill);
		})
	);
}

/** Are all elements of `weight` that belong to what is appended, along `axis`, zero? */
function isZeroAlong(weight: Tensor, axis: number, { channels, count }: Fill): boolean {
	const length = weight.shape[axis];
	if (length !== channels + count) return false;
	const of = (shape: readonly number[]) => shape.reduce((product, dim) => product * dim, 1);
	const [outer, inner] = [of(weight.shape.slice(0, axis)), of(weight.shape.slice(axis + 1))];
	let isZero = true;
	for (let at = 0; at < outer && isZero; at++) {
		const from = (at * length + channels) * inner;
		eachNumber(weight, (code) => (isZero = code === 0), from, count * inner);
	}
	return isZero;
}
