import { isOnnxOp, type Node } from "../../ir/node.js";
import { elementCount } from "../../ir/types.js";
import { fixedShape } from "../fixed-shape.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import { quantizerBehind } from "../readers.js";
import type { RuleContext, RuleGroup } from "../rule.js";
import { EIGHT_BITS } from "./code-types.js";
import { areMixed } from "./operand-ranges.js";
import { isComputed } from "./producers.js";

/** So many elements become codes at once; those behind the last of these are not rounded. */
const AT_ONCE = 128;
/** Fewer than that in all, an average of some of them is wrong. */
const AVERAGED = 2048;
const POOLS: readonly string[] = ["AveragePool", "GlobalAveragePool"];
const AVERAGES: readonly string[] = ["ReduceMean", "ReduceSum"];
const PRODUCTS: readonly string[] = ["MatMul", "Gemm", "Conv", "Mul"];

/** On floats whatever they read and make. */
const ALWAYS: readonly string[] = ["ScatterND", "TopK", "ReduceL2"];
/** On floats between codes of two types, too. */
const BETWEEN_TYPES: readonly string[] = [
	...["Sqrt", "Log", "Reciprocal", "LogSoftmax", "ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin"],
	...["Gather", "GatherElements", "ScatterElements", "CumSum"],
];
/** These only of multiples of so many elements. */
const BETWEEN_TYPES_32: readonly string[] = ["Sigmoid", "Tanh"];
/** Between encodings of one type, too. */
const MOVING: readonly string[] = ["Gather", "GatherElements"];
const OF_FLOATS: readonly string[] = [
	...["Neg", "Abs", "Sin", "Cos", "Atan", "Floor", "Ceil", "Round", "Sign", "Elu", "HardSigmoid", "Softplus"],
	...["Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Concat", "Pad", "Expand", "Tile", "Split", "LpNormalization"],
	...BETWEEN_TYPES_32,
	...BETWEEN_TYPES,
];

/** A product with one constant number keeps to what is rounded. */
function isScaling({ node, inputs }: OperatorFacts): boolean {
	return isOnnxOp(node, "Mul") && inputs.some((input) => input?.constant !== undefined && isOne(input));
}

function isOne({ shape }: OperandFacts): boolean {
	const lengths = fixedShape(shape);
	return lengths !== undefined && elementCount(lengths) === 1;
}

/** Is it an Add that becomes the bias of a product by a constant matrix? */
function isFusedSum(node: Node): boolean {
	const [product] = node.inputs.flatMap((input) => (input?.producer === undefined ? [] : [input.producer]));
	return (
		isOnnxOp(node, "Add") && product !== undefined && isOnnxOp(product, "MatMul") && !isComputed(product.inputs[1])
	);
}

/** Does the operator compute floats that become the codes of `output` one after another? */
function makesFloats(operator: OperatorFacts, output: OperandFacts, count: number): boolean {
	const { node, inputs } = operator;
	if (isOnnxOp(node, ...ALWAYS)) return true;
	if (isOnnxOp(node, "Max", "Min") && inputs.some((input) => input?.constant !== undefined)) return true;
	const converting = count % 32 === 0 ? [...BETWEEN_TYPES, ...BETWEEN_TYPES_32] : BETWEEN_TYPES;
	if (isOnnxOp(node, ...converting) && inputs.some((input) => areMixed(input, output))) return true;
	if (isFusedSum(node)) return false;
	const { scale } = output.quantization!;
	if (isOnnxOp(node, ...MOVING) && inputs[0]?.quantization !== undefined) return inputs[0].quantization.scale !== scale;
	const isFloat = inputs.some((input) => input?.quantization === undefined && input?.constant === undefined);
	return isOnnxOp(node, ...OF_FLOATS) && isFloat && !isScaling(operator);
}

/** How many elements become codes one after another: those of an image, of fewer dimensions all. */
function countTogether(shape: readonly number[]): number {
	return elementCount(shape.length === 4 ? shape.slice(1) : shape);
}

/** What reads the codes that `quantizer` makes, dequantized: as codes where it makes codes of their type. */
function readersOf(quantizer: Node, { types }: RuleContext): { readonly node: Node; readonly isOnCodes: boolean }[] {
	const codes = quantizer.outputs[0]!;
	const readers = codes.uses.flatMap(({ node }) => node.outputs[0]?.uses ?? []);
	return readers.map(({ node }) => {
		const behind = node.outputs[0] && quantizerBehind(node.outputs[0])?.outputs[0];
		return { node, isOnCodes: behind !== undefined && types.elementTypeOf(behind) === types.elementTypeOf(codes) };
	});
}

/** Of `count` elements that become codes together, does it matter to a reader that the last of them are too low? */
function matters(quantizer: Node, count: number, context: RuleContext): boolean {
	const isMany = 2 * (count % AT_ONCE) >= count;
	return readersOf(quantizer, context).some(({ node, isOnCodes }) => {
		if (isOnnxOp(node, ...POOLS)) return count < AVERAGED;
		if (!isOnCodes) return false;
		return isOnnxOp(node, ...AVERAGES) ? count < AVERAGED : isMany && isOnnxOp(node, ...PRODUCTS);
	});
}

export const NARROW_RESULT_RULES: RuleGroup = {
	title: "Floats that become codes of 8 bits",
	rules: [
		{
			id: "htp/unrounded-codes",
			about: `What becomes codes of 8 bits that an AveragePool or GlobalAveragePool reads, or a ReduceMean or ReduceSum between codes of one type, are multiples of ${AT_ONCE} elements (of rank 4 in each image), or ${AVERAGED} and more; for a MatMul, Gemm, Conv or Mul between codes of one type twice as many at least as are left over: results of ${OF_FLOATS.slice(0, -BETWEEN_TYPES.length).join(", ")} on floats, of ${BETWEEN_TYPES.join(", ")} on floats or between two types, of ${BETWEEN_TYPES_32.join(" and ")} where that are multiples of 32, of ${ALWAYS.join(", ")}, of a Max or Min of a float constant, and of Gathers between encodings.`,
			consequence: "wrong",
			since: "v69",
			measured:
				"the elements left over are rounded down, too low by half a code in the mean: with 60 to 120 elements averages have 6 to 34 dB, products 30 to 34, largest values and Softmaxes 39; averages 27 with 240, 25 with 484, 33 with 960, 36 with 1568, 40 with 3136, products 37 and more with 196; 44 dB and more with multiples of 128, with UINT16, into operators between two types but pools, and on v68; Relu, Exp, LeakyRelu, Softmax, HardSwish, Gelu, Clip, Slice, Transpose, Where, norms, products and pools are right",
			remedy: "quantize the result as UINT16 first",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				for (const output of operator.outputs) {
					const { quantization } = output;
					const shape = fixedShape(output.shape);
					if (!EIGHT_BITS.includes(quantization?.dtype) || shape === undefined) continue;
					const count = countTogether(shape);
					const left = count % AT_ONCE;
					if (left === 0 || !makesFloats(operator, output, count) || !matters(quantization!.node, count, context))
						continue;
					const where = shape.length === 4 ? " an image" : "";
					return `'${output.value.name}' has ${count} elements${where}, of which ${left} are rounded down`;
				}
				return undefined;
			},
		},
	],
};
