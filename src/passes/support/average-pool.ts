import { intAttribute, intOf, intsAttribute, intsOf, stringAttribute, stringOf } from "../../ir/attribute.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { floatTensor, int64Tensor } from "../../ir/tensor.js";
import { DataType, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { fixedShape } from "../../targets/fixed-shape.js";
import { isGlobalAverage } from "../../targets/global-average.js";
import type { OperandFacts, OperatorFacts } from "../../targets/operator-facts.js";
import { NodeWriter } from "./node-writer.js";
import { addQdq, addQuantizedConstant, codesTensor, encodingBehind } from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";

/** How the windows of an AveragePool lie along one axis. */
interface Windows {
	/** Zeros in front and behind that all windows need. */
	readonly begin: number;
	readonly end: number;
	/** By window: the part of its elements that the average is over. */
	readonly shares: readonly number[];
}

/**
 * An AveragePool or LpPool with pads, or with windows that reach beyond its input -> Pad of zeros, the pool of whole windows,
 * with an auto_pad so that ONNX Runtime leaves the Pad in front of it, and, where averages are over fewer elements, a Mul.
 */
export const coverWindows: Remedy = (operator, { names }) => {
	const { node, inputs, outputs } = operator;
	const [from, to] = [inputs[0]?.shape, outputs[0]?.shape];
	const axes = from && to && windowsOf(operator, from.slice(2), to.slice(2));
	if (axes === undefined) return false;
	const graph = node.graph!;
	const writer = new NodeWriter(node, names);
	const encoding = encodingBehind(node.inputs[0]);
	const rounded = (value: Value) => (encoding === undefined ? value : addQdq(graph, value, encoding, names, node));
	const pads = [0, 0, ...axes.map(({ begin }) => begin), 0, 0, ...axes.map(({ end }) => end)];
	const amounts = writer.constant("pads", int64Tensor([pads.length], pads));
	const padded = rounded(writer.emit("Pad", [node.inputs[0]!, amounts], {}, "padded"));
	const power = node.attributes.get("p");
	const attributes = {
		kernel_shape: intsAttribute(intsOf(node, "kernel_shape")),
		strides: intsAttribute(axes.map((_, axis) => intsOf(node, "strides")[axis] ?? 1)),
		auto_pad: stringAttribute("VALID"),
		...(power === undefined ? {} : { p: power }),
	};
	const average = writer.emit(node.op.type, [padded], attributes, "whole");
	const shape = axes.map(({ shares }) => shares.length);
	const isAverage = isOnnxOp(node, "AveragePool");
	const factors = outer(axes.map(({ shares }) => shares)).map((share) => (isAverage ? 1 / share : 1));
	if (factors.every((factor) => factor === 1)) writer.give(0, average);
	else {
		const whole = rounded(average);
		const constant = { shape: [1, 1, ...shape], values: factors };
		const factor =
			encoding === undefined
				? writer.constant("factors", floatTensor(constant.shape, Float32Array.from(factors)))
				: addQuantizedConstant(graph, `${whole.name}_factors`, { ...constant, dtype: encoding.dtype }, names, node);
		writer.give(0, writer.emit("Mul", [whole, factor], {}, "average"));
	}
	writer.finish();
	return true;
};

/** A number that ONNX Runtime does not take for 0, while half floats and codes do. */
const NEARLY_ZERO = 1e-30;

/** A Pad of zeros that only `node` reads -> one of numbers that are nearly 0. */
function padAlmostZeros(node: Node, padded: OperandFacts | undefined, names: NameScope): boolean {
	const pad = node.inputs[0]!.producer!;
	if (padded?.dtype !== DataType.FLOAT) return false;
	const value = new NodeWriter(pad, names).constant("value", floatTensor([], [NEARLY_ZERO]));
	const before = pad.inputs[2];
	pad.setInput(2, value);
	if (before !== undefined) removeUnused(before);
	return true;
}

/**
 * `Pad -> MaxPool` -> the same so that ONNX Runtime leaves the zeros in front of it: with an auto_pad, or, where the pool
 * pads or rounds up itself, with numbers that are nearly 0.
 */
export const keepZeros: Remedy = ({ node, inputs: [padded] }, { names }) => {
	const isPlain = intsOf(node, "pads").every((pad) => pad === 0) && intOf(node, "ceil_mode", 0) === 0;
	if (!isPlain) return padAlmostZeros(node, padded, names);
	const { op, name, inputs, outputs } = node;
	const attributes = new Map([...node.attributes, ["auto_pad", stringAttribute("VALID")] as const]);
	attributes.delete("pads");
	node.graph!.replaceNode(node, {
		op,
		name,
		inputs: [...inputs],
		outputs: [...outputs],
		attributes: Object.fromEntries(attributes),
	});
	return true;
};

/** An AveragePool without pads, or an average over all positions -> Conv of each channel, whose weight is one code everywhere. */
export const averageByConv: Remedy = ({ node, inputs: [input], outputs: [output] }, { names }) => {
	const lengths = fixedShape(input?.shape) ?? [];
	const shape = fixedShape(output?.shape);
	const [channels] = lengths.slice(1);
	const isGlobal = isGlobalAverage(node, lengths.length);
	const [pads, dilations] = ["pads", "dilations"].map((name) => intsOf(node, name)) as number[][];
	const kernel = isGlobal ? lengths.slice(2) : intsOf(node, "kernel_shape");
	const auto = stringOf(node, "auto_pad") ?? "NOTSET";
	const isPlain =
		(auto === "NOTSET" || auto === "VALID") && pads!.every((pad) => pad === 0) && intOf(node, "ceil_mode", 0) === 0;
	if (channels === undefined || shape === undefined || !isPlain || dilations!.some((dilation) => dilation !== 1))
		return false;
	const size = elementCount(kernel);
	const writer = new NodeWriter(node, names);
	const codes = codesTensor(DataType.INT8, [channels, 1, ...kernel], new Int8Array(channels * size).fill(LARGEST_CODE));
	const parameters = [codes, floatTensor([], [1 / (LARGEST_CODE * size)]), codesTensor(DataType.INT8, [], [0])];
	const stored = parameters.map((tensor, at) => writer.constant(["weight", "scale", "zero_point"][at]!, tensor));
	const strides = intsOf(node, "strides");
	const attributes = {
		kernel_shape: intsAttribute(kernel),
		...(strides.length === 0 ? {} : { strides: intsAttribute(strides) }),
		group: intAttribute(channels),
	};
	const average = writer.emit("Conv", [node.inputs[0], writer.emit("DequantizeLinear", stored)], attributes);
	const isKept = shape.length === lengths.length;
	const target = isKept ? undefined : writer.constant("shape", int64Tensor([shape.length], shape));
	writer.give(0, target === undefined ? average : writer.emit("Reshape", [average, target]));
	writer.finish();
	return true;
};

const LARGEST_CODE = 127;

/** All products of one number of each list, the last list's changing fastest. */
function outer(lists: readonly (readonly number[])[]): number[] {
	return lists.reduce<number[]>(
		(products, list) => products.flatMap((product) => list.map((one) => product * one)),
		[1],
	);
}

type Lengths = NonNullable<OperatorFacts["outputs"][number]["shape"]>;

/** By axis; undefined where lengths are not fixed, or a window is over nothing. */
function windowsOf({ node }: OperatorFacts, from: Lengths, to: Lengths): Windows[] | undefined {
	const [kernel, strides, given] = ["kernel_shape", "strides", "pads"].map((name) => intsOf(node, name)) as number[][];
	if (intsOf(node, "dilations").some((dilation) => dilation !== 1) || elementCount(kernel!) === 0) return undefined;
	const auto = stringOf(node, "auto_pad") ?? "NOTSET";
	const countsPads = intOf(node, "count_include_pad", 0) === 1;
	const axes: Windows[] = [];
	for (const [axis, length] of from.entries()) {
		const count = to[axis];
		if (typeof length !== "number" || typeof count !== "number") return undefined;
		const [size, stride] = [kernel![axis]!, strides![axis] ?? 1];
		const same = Math.max(0, (count - 1) * stride + size - length);
		const small = Math.floor(same / 2);
		const [begin, stated] =
			auto === "SAME_UPPER"
				? [small, same - small]
				: auto === "SAME_LOWER"
					? [same - small, small]
					: [given![axis] ?? 0, given![from.length + axis] ?? 0];
		const shares = Array.from({ length: count }, (_, window) => {
			const start = window * stride - begin;
			const [first, last] = countsPads ? [-begin, length + stated] : [0, length];
			return (Math.min(start + size, last) - Math.max(start, first)) / size;
		});
		if (shares.some((share) => share <= 0)) return undefined;
		axes.push({ begin, end: (count - 1) * stride + size - length - begin, shares });
	}
	return axes;
}
