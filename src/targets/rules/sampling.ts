import { intOf, stringOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType, type Dimension, dataTypeName } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { isView } from "../../weights/activation.js";
import { fixedShape } from "../fixed-shape.js";
import type { OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";

/** Elements of an axis up to which half floats say well enough where a sample, and where a box is. */
const SAMPLED_LENGTH = 128;
const BOXED_LENGTH = 64;

const isLonger = (shape: readonly Dimension[], most: number) =>
	shape.slice(2).some((length) => typeof length === "number" && length > most);

/** A GridSample of floats whose coordinates, which are half floats, are too coarse for its image. */
function coarseGrid({ node, inputs: [image, grid], outputs: [output] }: OperatorFacts): string | undefined {
	if (!isOnnxOp(node, "GridSample") || image?.shape === undefined) return undefined;
	const isOnCodes = [image, grid, output].every((operand) => operand?.quantization !== undefined);
	const isNearest = stringOf(node, "mode") === "nearest";
	if (isOnCodes || !isLonger(image.shape, isNearest ? 1 : SAMPLED_LENGTH)) return undefined;
	const size = image.shape.slice(2).join(" x ");
	return `coordinates of ${size} elements are half floats${isNearest ? ", and the nearest element is taken" : ""}`;
}

/** What computes `value`, views aside; undefined for inputs and constants. */
function computedBy(value: Value) {
	let producer = value.producer;
	while (producer !== undefined && isView(producer)) producer = producer.inputs[0]?.producer;
	return producer;
}

/** A RoiAlign with boxes that are half floats, too coarse for its image. */
function coarseBoxes({ node, inputs: [image, boxes] }: OperatorFacts): string | undefined {
	if (!isOnnxOp(node, "RoiAlign") || image?.shape === undefined || boxes === undefined) return undefined;
	const source = computedBy(boxes.value);
	if (source === undefined || !isLonger(image.shape, BOXED_LENGTH)) return undefined;
	return `boxes in ${image.shape.slice(2).join(" x ")} elements come out of ${source.op.type} as half floats`;
}

/** The input of the graph that says which elements to take or to write, by operators that do not know negative numbers. */
function givenIndices({ node, inputs: [, indices] }: OperatorFacts): Value | undefined {
	if (!isOnnxOp(node, "GatherElements", "ScatterElements", "ScatterND")) return undefined;
	let value = indices?.value;
	while (value?.producer !== undefined && isView(value.producer)) value = value.producer.inputs[0];
	return value?.isGraphInput && value.initializer === undefined ? value : undefined;
}

/** A TopK whose indices, the second output, are read. */
function readsOrder({ node, outputs: [, indices] }: OperatorFacts): boolean {
	if (!isOnnxOp(node, "TopK") || indices === undefined) return false;
	return indices.value.uses.length > 0 || indices.value.isGraphOutput;
}

const COMPARISONS: readonly string[] = ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"];
const PARTS: readonly string[] = ["QuantizeLinear", "DequantizeLinear", "Slice", "Gather", "Split", "Identity"];

/** What `value` says in codes or another shape. */
function quantizedFrom(value: Value | undefined): Value | undefined {
	const producer = value?.producer;
	const isSame =
		producer !== undefined && (isOnnxOp(producer, "QuantizeLinear", "DequantizeLinear") || isView(producer));
	return isSame ? quantizedFrom(producer.inputs[0]) : value;
}

/** The comparison of `numbers`, or some of them, with `source`. */
function comparisonWith(numbers: Value, source: Value | undefined): Node | undefined {
	for (const { node, index } of numbers.uses) {
		if (isOnnxOp(node, ...COMPARISONS) && quantizedFrom(node.inputs[1 - index]) === source) return node;
		if (index !== 0 || !(isOnnxOp(node, ...PARTS) || isView(node))) continue;
		const found = node.outputs.map((output) => comparisonWith(output, source)).find((one) => one !== undefined);
		if (found !== undefined) return found;
	}
	return undefined;
}

export const SAMPLING_RULES: RuleGroup = {
	title: "Samples",
	rules: [
		{
			id: "htp/top-k-ties",
			about: "Nobody reads the indices of a TopK, or no two of its numbers are equal.",
			consequence: "slow",
			measured:
				"of equal numbers the last one comes first, where ONNX has the first: 80 to 100 % of the indices are others where numbers are one of six, with axes of 32 to 5,000, the largest and the smallest, on floats and on codes of 16 and 8 bits, on v68, v73, v79 and v81; the numbers themselves are right, as are ArgMax and ArgMin",
			remedy:
				"turn the axis around with a Slice in front of the TopK and take its indices from the last one: the HTP gives what ONNX says then, and ONNX Runtime's CPU does not",
			broken(operator, { known }) {
				if (known.isFolded(operator.node) || !readsOrder(operator)) return undefined;
				return "of equal numbers the last comes first";
			},
		},
		{
			id: "htp/gather-signed",
			about: "A GatherElements along an axis of one element does not read signed codes.",
			consequence: "refused",
			since: "v69",
			measured:
				"refused by QNN on INT16 and INT8, on v69 and v81; 134 dB and more on UINT16 and UINT8, 38 to 75 dB along longer axes on all of them",
			remedy: "make the codes unsigned",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input] }, { known }) {
				const dtype = input?.quantization?.dtype;
				if (!isOnnxOp(node, "GatherElements") || known.isFolded(node)) return undefined;
				const shape = fixedShape(input?.shape);
				if (shape?.at(intOf(node, "axis", 0)) !== 1 || (dtype !== DataType.INT16 && dtype !== DataType.INT8))
					return undefined;
				return `'${input!.value.name}' is ${dataTypeName(dtype)}`;
			},
		},
		{
			id: "htp/compared-top-k",
			about: "Nothing compares what a TopK of codes makes with what it reads.",
			consequence: "wrong",
			since: "v69",
			measured:
				"its numbers are half floats, 74 dB, so that none of them is equal to the one that it comes from: 3 to 8 dB for `x >= TopK(x)[k]` of 16 bits, 16 dB of 8 bits, as routers of mixtures of experts choose; exact on v68, with the numbers gathered by the indices, and with ReduceMax in its place",
			remedy: "gather the numbers with the indices",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [numbers] }) {
				if (!isOnnxOp(node, "TopK") || input?.quantization === undefined || numbers === undefined) return undefined;
				const comparison = comparisonWith(numbers.value, quantizedFrom(input.value));
				return comparison && `'${comparison.name}' compares its numbers with '${input.value.name}'`;
			},
		},
		{
			id: "htp/negative-indices",
			about:
				"Indices that GatherElements, ScatterElements and ScatterND are given as an input of the graph are not negative.",
			consequence: "slow",
			measured:
				"-7 to 6 dB with negative ones, on floats and UINT16 and with INT64 and INT32 on v79, and so is a Gather between codes; constant ones are right, 73 dB and more",
			remedy: "give indices from 0 on",
			broken(operator) {
				const indices = givenIndices(operator);
				return indices && `'${indices.name}' must not be negative`;
			},
		},
		{
			id: "htp/grid-sample-floats",
			about:
				"A GridSample on floats interpolates, in images of 128 elements at most on each axis; one of 16 bits may do both.",
			consequence: "slow",
			measured:
				"coordinates are half floats: of noise 60 dB with 8 x 8, 48 with 32 x 32, 35 with 128 x 128, 30 with 256 x 256, 24 with 512 x 512, of waves eight elements long 70, 64, 56, 51 and 46; the nearest of noise 18 dB with 64 x 64, 11 with 256 x 256; between UINT16 82 to 65 and 90 to 83 dB, the nearest 110 and more; where two elements are equally near, another one may be taken",
			remedy: "quantize image, grid and result with 16 bits",
			broken: coarseGrid,
		},
		{
			id: "htp/roi-boxes",
			about:
				"Boxes of a RoiAlign over more than 64 elements on an axis are an input of the graph or constants, on floats, Reshape and its like aside.",
			consequence: "slow",
			measured:
				"other boxes are half floats: of noise 48 dB with 16 x 20, 37 with 50 x 76, 25 with 200 x 300, of waves eight elements long 68, 58 and 51, whether a DequantizeLinear, a Mul or a Clip makes them and whatever codes the image has; 70 dB for all of these with boxes that are inputs or constants",
			remedy: "give the boxes as an input of the graph, cutting the model in two there",
			broken: coarseBoxes,
		},
	],
};
