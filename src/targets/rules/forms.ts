import { intOf, intsOf, stringOf } from "../../ir/attribute.js";
import { isOnnxOp, isStandardDomain, type Node } from "../../ir/node.js";
import { DataType, dataTypeName } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { isLopsided, isTakenEinsum } from "../einsum.js";
import { fixedShape } from "../fixed-shape.js";
import type { OperatorFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";
import { isDefault } from "./default-value.js";

/** Inputs that say how an operator works, rather than what it works on, by operator. */
const PARAMETERS: Readonly<Record<string, readonly number[]>> = {
	BatchNormalization: [1, 2, 3, 4],
	Clip: [1, 2],
	CumSum: [1],
	DequantizeLinear: [1, 2],
	Expand: [1],
	GRU: [4],
	LSTM: [4],
	Pad: [1, 2, 3],
	Pow: [1],
	QuantizeLinear: [1, 2],
	ReduceL2: [1],
	ReduceMax: [1],
	ReduceMean: [1],
	ReduceMin: [1],
	ReduceSum: [1],
	Reshape: [1],
	Resize: [1, 2, 3],
	Slice: [1, 2, 3, 4],
	Split: [1],
	Squeeze: [1],
	Tile: [1],
	TopK: [1],
	Unsqueeze: [1],
};

/** Operators that are refused whatever they work on. */
const NEVER_TAKEN: readonly string[] = [
	"AffineGrid",
	"BitCast",
	"BitwiseAnd",
	"BitwiseNot",
	"BitwiseOr",
	"BitwiseXor",
	"BlackmanWindow",
	"Col2Im",
	"ConcatFromSequence",
	"ConstantOfShape",
	"DFT",
	"DeformConv",
	"EyeLike",
	"HammingWindow",
	"HannWindow",
	"ImageDecoder",
	"MelWeightMatrix",
	"Multinomial",
	"Optional",
	"OptionalGetElement",
	"OptionalHasElement",
	"RandomNormal",
	"RandomNormalLike",
	"RandomUniform",
	"RandomUniformLike",
	"Range",
	"RegexFullMatch",
	"STFT",
	"SequenceAt",
	"SequenceConstruct",
	"SequenceEmpty",
	"SequenceErase",
	"SequenceInsert",
	"SequenceLength",
	"Size",
	"SoftmaxCrossEntropyLoss",
	"SplitToSequence",
	"StringNormalizer",
	"TensorScatter",
	"TfIdfVectorizer",
	"Unique",
];

/** Operators that are not taken where optional outputs have names. */
const WITH_OPTIONAL_OUTPUTS = ["LayerNormalization", "MaxPool"];

const isRead = (output: Value) => output.uses.length > 0 || output.isGraphOutput;

/** Operators that go through any number of inputs. */
const FOLDS = ["Max", "Mean", "Min", "Sum"];

/** What of a form is refused. */
function refusedForm({ node, inputs, outputs }: OperatorFacts): string | undefined {
	const shape = fixedShape(inputs[0]?.shape);
	const spatial = shape === undefined ? 0 : shape.length - 2;
	const isDilated = intsOf(node, "dilations").some((dilation) => dilation > 1);
	if (isOnnxOp(node, "LpPool") && isDilated) return "it has dilations";
	if (isOnnxOp(node, "InstanceNormalization", "GridSample") && spatial === 3) return "it has three spatial dimensions";
	if (isOnnxOp(node, "Conv") && spatial === 3 && isDilated) return "it has three spatial dimensions and dilations";
	if (isOnnxOp(node, "Conv") && isDilated && isStridedDepthwise(node, inputs))
		return "it is depthwise and has both steps and dilations";
	if (isOnnxOp(node, "GridSample") && ["cubic", "bicubic"].includes(stringOf(node, "mode") ?? "")) return "it is cubic";
	if (isOnnxOp(node, "GridSample") && inputs[0]?.dtype !== inputs[1]?.dtype) return "its grid is of another type";
	if (isOnnxOp(node, "NegativeLogLikelihoodLoss") && (inputs[0]?.shape?.length ?? 0) > 4) return "it has rank 5";
	if (isOnnxOp(node, "GatherND") && intOf(node, "batch_dims", 0) !== 0) return "it has batch dimensions";
	const largest = [...inputs, ...outputs].find((operand) => (operand?.shape?.length ?? 0) > 4);
	if (isOnnxOp(node, "GatherND") && largest !== undefined) return `'${largest.value.name}' has rank 5`;
	if (isOnnxOp(node, ...FOLDS) && node.inputs.length === 1) return "it has one input";
	if (isOnnxOp(node, "LpPool", "LpNormalization") && intOf(node, "p", 2) !== 2) return "its p is not 2";
	if (isOnnxOp(node, "GRU", "LSTM") && node.attributes.has("clip")) return "it clips";
	if (isOnnxOp(node, "LayerNormalization", "RMSNormalization") && shape !== undefined) {
		const axis = intOf(node, "axis", -1);
		if (axis !== -1 && axis !== shape.length - 1) return "it normalizes over more than the last axis";
		if (isOnnxOp(node, "RMSNormalization") && shape.at(-1) === 1) return "it normalizes single numbers";
		if (node.outputs.slice(1).some(isRead)) return "it puts out means or deviations, too";
	}
	if (isOnnxOp(node, "SimplifiedLayerNormalization") && shape?.at(-1) === 1) return "it normalizes single numbers";
	if (isOnnxOp(node, "SimplifiedLayerNormalization") && (inputs[1]?.shape?.length ?? 1) !== 1)
		return "its scale is no vector";
	if (intOf(node, "noop_with_empty_axes", 0) === 1 && hasNoAxes(inputs[1])) return "it reduces no axis";
	return undefined;
}

function hasNoAxes(axes: OperatorFacts["inputs"][number]): boolean {
	return axes === undefined || axes.constant?.shape[0] === 0;
}

/** A depthwise Conv with steps, where it is not the one that is taken with dilations: 3x3 on codes, steps and dilations of 2. */
function isStridedDepthwise(node: Node, [input, weight]: OperatorFacts["inputs"]): boolean {
	const shape = fixedShape(weight?.shape);
	const strides = intsOf(node, "strides");
	if (shape?.[1] !== 1 || shape[0] !== intOf(node, "group", 1) || !strides.some((stride) => stride > 1)) return false;
	const isOf = (numbers: readonly number[], wanted: number) =>
		numbers.length === 2 && numbers.every((number) => number === wanted);
	const isTaken = isOf(shape.slice(2), 3) && isOf(strides, 2) && isOf(intsOf(node, "dilations"), 2);
	return !isTaken || input?.quantization === undefined;
}

export const FORM_RULES: RuleGroup = {
	title: "Forms of operators",
	rules: [
		{
			id: "htp/operator-never",
			about: `These operators are not taken, whatever they work on, unless they are computed from constants: ${NEVER_TAKEN.join(", ")}; nor is a Dropout that makes an output of the graph.`,
			consequence: "refused",
			measured: "models of one operator, on v73",
			remedy:
				"compute it outside of the model, or write it with other operators, as lower-fourier does with STFT and DFT of fixed lengths; only a Dropout that drops nothing is mended, it goes",
			appliedBy: "legalize-operators",
			broken({ node }, { known }) {
				const isListed =
					(isStandardDomain(node.op.domain) && NEVER_TAKEN.includes(node.op.type)) ||
					(isOnnxOp(node, "Dropout") && node.outputs.some((output) => output.isGraphOutput));
				return isListed && !known.isFolded(node) ? `operator ${node.op.type}` : undefined;
			},
		},
		{
			id: "htp/computed-parameter",
			about: `What says how an operator works is constant, or follows from fixed shapes: ${Object.keys(PARAMETERS).join(", ")} take axes, shapes, lengths, limits, exponents, scales and zero points so.`,
			consequence: "refused",
			measured: "models of one operator whose second input is one of the model, with a default and without",
			remedy: "make it a constant; that is done for what has a default, which stays",
			appliedBy: "legalize-operators",
			broken({ node }, { irVersion, known }) {
				if (!isStandardDomain(node.op.domain)) return undefined;
				const parameters = PARAMETERS[node.op.type]?.map((index) => node.inputs[index]);
				const input = irVersion < 4 ? undefined : parameters?.find(isDefault);
				if (input !== undefined) return `'${input.name}' is an input of the graph, with a default`;
				const computed = parameters?.find((value) => !known.has(value));
				return computed === undefined || known.isFolded(node)
					? undefined
					: `'${computed.name}' is computed when the model runs`;
			},
		},
		{
			id: "htp/operator-form",
			about:
				"InstanceNormalization, GridSample and dilated Conv have two spatial dimensions at most; a depthwise Conv has not both steps and dilations, but for a kernel of 3x3 with both 2, between codes; GridSample is not cubic, and its grid of the type of its input; GatherND has no batch dimensions, and rank 4 at most; NegativeLogLikelihoodLoss rank 4 at most; Max, Min, Sum and Mean have two inputs or more; LpPool has no dilations; p is 2; GRU and LSTM do not clip; LayerNormalization and RMSNormalization are over the last axis, the latter of two numbers or more, and have one output; the scale of a SimplifiedLayerNormalization is a vector; means, sums and extremes are over one axis or more.",
			consequence: "refused",
			measured:
				"models of one operator, on v73; depthwise Convs of kernels from 1x1 to 7x7, steps and dilations from 1 to 4 on v79, some on all four",
			remedy:
				"write it in another form, or with other operators; that is done for normalizations over several axes, dilations of Conv, GatherND, one input, no axes and the grid",
			appliedBy: "legalize-operators",
			broken(operator, { known }) {
				const what = known.isFolded(operator.node) ? undefined : refusedForm(operator);
				return what && `${operator.node.op.type} is not taken as ${what}`;
			},
		},
		{
			id: "htp/unused-output",
			about: `${WITH_OPTIONAL_OUTPUTS.join(" and ")} have one output, names that nobody reads included.`,
			consequence: "refused",
			measured:
				"a LayerNormalization with means or deviations that nobody reads and a MaxPool with such indices are left to the CPU on v68, v73, v79 and v81; without the names 71 dB and more; those of TopK, Split, LSTM and GRU make no difference",
			remedy: "take the names away",
			appliedBy: "legalize-operators",
			broken({ node }, { known }) {
				if (!isOnnxOp(node, ...WITH_OPTIONAL_OUTPUTS) || known.isFolded(node)) return undefined;
				const unused = node.outputs.slice(1).find((output) => output.name !== "" && !isRead(output));
				return unused && `nobody reads output '${unused.name}' of ${node.op.type}`;
			},
		},
		{
			id: "htp/einsum",
			about:
				"An Einsum is a product of two matrices, or of as many of equal shape as each side has: 'bik,bkj->bij' and 'bhqd,bhkd->bhqk'; or 'bhwc,hkc->bhwk'. Codes of 16 bits on its right have the zero point in the middle.",
			consequence: "refused",
			measured:
				"models of one Einsum, on v73: those 49 to 70 dB on floats and UINT16; refused with axes in another order, such as 'bqhd,bkhd->bhqk', with one operand, a matrix beside several, lengths of 1 that are repeated, and without a common axis that is summed over; on v73, v79 and v81 also with UINT16 on the right whose zero point is not 32768, or INT16 whose is not 0, while one that is not in the middle is right on the left and in the result, and of 8 bits",
			remedy: "write it with Transpose, Reshape and MatMul, or Mul",
			appliedBy: "legalize-operators",
			broken(operator, { known }) {
				const { node } = operator;
				if (!isOnnxOp(node, "Einsum") || known.isFolded(node) || isTakenEinsum(operator)) return undefined;
				const zero = isLopsided(operator.inputs[1])
					? `, with the zero point ${operator.inputs[1]!.quantization!.zeroPoint} on its right`
					: "";
				return `Einsum is not taken as '${stringOf(node, "equation")}'${zero}`;
			},
		},
		{
			id: "htp/exponent-type",
			about: "The exponent of a Pow of floats is FLOAT or DOUBLE.",
			consequence: "refused",
			measured:
				"INT32, INT64 and FLOAT16 refused on floats, INT64 between codes of 16 and 8 bits, on v68 and v81; FLOAT is right with exponents 0.5 to 4 and bases of both signs, 65 dB and more",
			remedy: "store the exponent as FLOAT",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [base, exponent] }, { known }) {
				if (!isOnnxOp(node, "Pow") || known.isFolded(node) || base?.dtype !== DataType.FLOAT) return undefined;
				const dtype = exponent?.dtype;
				if (dtype === undefined || dtype === DataType.FLOAT || dtype === DataType.DOUBLE) return undefined;
				return `the exponent '${exponent!.value.name}' of ${node.op.type} is ${dataTypeName(dtype)}, expected FLOAT`;
			},
		},
	],
};
