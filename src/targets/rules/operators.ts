import { hasSubgraphs, intOf } from "../../ir/attribute.js";
import { isOnnxOp, isStandardDomain } from "../../ir/node.js";
import { DataType, dataTypeName, elementCount } from "../../ir/types.js";
import { numbersOf } from "../../weights/numbers.js";
import { fixedShape } from "../fixed-shape.js";
import type { OperatorFacts } from "../operator-facts.js";
import { operatorKey, operatorOutcome } from "../operator-outcome.js";
import {
	OPERATOR_TABLE,
	type OperatorOutcome,
	REFUSED_INTEGERS,
	REFUSED_SIGNED,
	type TriedForm,
} from "../operator-table.js";
import type { RuleContext, RuleGroup } from "../rule.js";
import { EIGHT_BITS } from "./code-types.js";
import { formOf } from "./compiled-form.js";
import { typeName } from "./type-name.js";

/** Operators that have rules of their own, and those that only move or describe data. */
const ELSEWHERE = ["QuantizeLinear", "DequantizeLinear", "Constant", "MatMul", "Gemm", "Conv", "ConvTranspose", "Erf"];

/** Is the operator done away with before compilation, because ONNX Runtime computes it from constants? */
function isFolded({ inputs }: OperatorFacts): boolean {
	return inputs.every((input) => input === undefined || input.constant !== undefined);
}

/** Normalizations by the root of the mean of squares. */
export const RMS_NORMS: readonly string[] = ["RMSNormalization", "SimplifiedLayerNormalization"];

/**
 * Forms that a v68 computes, other than those in the table: RMS normalization with a quantized scale, Gather of one index,
 * ScatterElements of quantized updates.
 */
function isRightOnV68({ node, inputs }: OperatorFacts, form: TriedForm): boolean {
	const [, second, third] = inputs;
	if (isOnnxOp(node, "ScatterElements")) return form !== "float" && third?.quantization !== undefined;
	if (RMS_NORMS.includes(node.op.type)) return form !== "float" && second?.quantization !== undefined;
	return isOnnxOp(node, "Gather") && second?.constant !== undefined && elementCount(second.constant.shape) === 1;
}

/** Least factor that float operators multiply with in fp16 and keep some digits, and the largest. */
const FACTORS = { least: 2 ** -19, largest: 65504 };

/** The constant that a Mul multiplies with, or a Div divides by, where it is one float, as a factor. */
function floatFactor({ node, inputs }: OperatorFacts): number | undefined {
	const [first, second] = inputs;
	const isDiv = isOnnxOp(node, "Div");
	if (!isDiv && !isOnnxOp(node, "Mul")) return undefined;
	const constant = second?.constant ?? (isDiv ? undefined : first?.constant);
	if (constant?.dtype !== DataType.FLOAT || elementCount(constant.shape) !== 1) return undefined;
	const value = Math.abs(numbersOf(constant)[0]!);
	return isDiv ? 1 / value : value;
}

/** Does a Gather read a constant that is float, at places that are computed? */
function readsFloatTable({ node, inputs: [table] }: OperatorFacts): boolean {
	return isOnnxOp(node, "Gather") && table?.constant?.dtype === DataType.FLOAT;
}

/** What was seen on the nearest architecture that was tried; undefined where the operator was not, or has rules of its own. */
function outcomeOf(operator: OperatorFacts, { architecture }: RuleContext): OperatorOutcome | undefined {
	if (isOnnxOp(operator.node, ...ELSEWHERE) || isFolded(operator)) return undefined;
	const isOnFloats = isOnnxOp(operator.node, ...REFUSED_INTEGERS) || readsFloatTable(operator);
	const form = formOf(operator) ?? (isOnFloats ? "float" : undefined);
	if (isOnnxOp(operator.node, "Gather") && keepsEncoding(operator)) return "right";
	if (form !== undefined && architecture === "v68" && isRightOnV68(operator, form)) return "right";
	return form && operatorOutcome(operatorKey(operator.node), form, architecture);
}

/** A Gather from one encoding to the same is right on v68, too: 89 dB and more; to another one the graph fails to compile. */
function keepsEncoding({ inputs: [input], outputs: [output] }: OperatorFacts): boolean {
	const [before, after] = [input?.quantization, output?.quantization];
	if (before?.scale === undefined || before.zeroPoint === undefined) return false;
	return before.dtype === after?.dtype && before.scale === after?.scale && before.zeroPoint === after.zeroPoint;
}

function describe(operator: OperatorFacts): string {
	const form = formOf(operator);
	const dtype = operator.inputs.find((input) => input?.moved !== undefined)?.moved?.dtype;
	const output = operator.outputs[0]?.moved?.dtype;
	const isMixed = form === "float" && dtype !== undefined && output !== undefined;
	const on = isMixed ? `from ${dataTypeName(dtype)} to ${dataTypeName(output)}` : "on floats";
	const of = form === "float" || dtype === undefined ? on : `on ${dataTypeName(dtype)}`;
	return form === undefined ? `operator ${operatorKey(operator.node)}` : `operator ${operatorKey(operator.node)} ${of}`;
}

export const OPERATOR_RULES: RuleGroup = {
	title: "Operators",
	rules: [
		{
			id: "htp/erf",
			about: "GELU is one operator, not written with Erf.",
			consequence: "refused",
			measured: "Erf is refused on floats and between quantized values, on every architecture",
			remedy: "make it the operator Gelu",
			appliedBy: "fuse-gelu",
			broken(operator) {
				return isOnnxOp(operator.node, "Erf") && !isFolded(operator) ? describe(operator) : undefined;
			},
		},
		{
			id: "htp/operator-refused",
			about:
				"The compiler takes the operator, in the form that it has: between quantized values of one type, or on floats, which it is too between two types.",
			consequence: "refused",
			measured:
				"the table of operators below: a model of this operator alone; Gelu from UINT16 to UINT8 fails to compile on v68 as on floats, and is right on v73",
			remedy:
				"quantize its input and output alike, or write it with other operators, as is done for Celu, Gather on floats, GroupNormalization, MeanVarianceNormalization, ReduceL1, ReduceLogSum, ReduceSumSquare, Softsign and Trilu",
			appliedBy: "legalize-operators",
			needsEncodings: true,
			broken(operator, context) {
				const outcome = outcomeOf(operator, context);
				return outcome === "refused" || outcome === "failed"
					? `${describe(operator)} is ${outcome === "failed" ? "taken, but the graph fails to compile" : "not taken"}`
					: undefined;
			},
		},
		{
			id: "htp/operator-signed",
			about: `Some operators take no signed codes: INT16 ${REFUSED_SIGNED.INT16.join(", ")}; INT8 ${REFUSED_SIGNED.INT8.join(", ")}.`,
			consequence: "refused",
			measured:
				"models of one operator, on v68 and v81; the same with UINT16 or UINT8 are taken; refused, too, with Transpose, Reshape, Squeeze, Unsqueeze, Slice or MaxPool in between, and right with Flatten",
			remedy: "quantize input and output to UINT16",
			appliedBy: "legalize-operators",
			broken(operator) {
				const form = isFolded(operator) ? undefined : formOf(operator);
				const dtype = operator.inputs.find((input) => input?.moved !== undefined)?.moved?.dtype;
				const isIndex = isOnnxOp(operator.node, "ArgMax", "ArgMin");
				if (
					(!isIndex && (form === undefined || form === "float")) ||
					(dtype !== DataType.INT16 && dtype !== DataType.INT8)
				)
					return undefined;
				const refused = REFUSED_SIGNED[dtype === DataType.INT16 ? "INT16" : "INT8"];
				return refused.includes(operatorKey(operator.node)) ? `${describe(operator)} is not taken` : undefined;
			},
		},
		{
			id: "htp/operator-wrong",
			about: "The compiler computes the operator right.",
			consequence: "wrong",
			measured: "the table of operators below: below 30 dB in a model of this operator alone",
			remedy: "write it with other operators, or quantize it otherwise",
			appliedBy: "legalize-operators",
			needsEncodings: true,
			broken(operator, context) {
				return outcomeOf(operator, context) === "wrong" ? `${describe(operator)} is computed wrong` : undefined;
			},
		},
		{
			id: "htp/scatter-updates",
			about:
				"The quantized data, updates and result of a ScatterElements have one encoding, where data and result have one type.",
			consequence: "wrong",
			measured:
				"-9 to 24 dB with others, 137 dB with the same, 74 dB with float updates; 69 dB from UINT16 to INT16 with any, which is computed on floats",
			remedy: "quantize the updates as data and result are; where these differ, the result with another type",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs }) {
				const [data, , updates] = inputs.map((operand) => operand?.quantization);
				if (!isOnnxOp(node, "ScatterElements") || data === undefined) return undefined;
				if (outputs[0]?.quantization?.dtype !== data.dtype) return undefined;
				for (const [name, other] of [
					["updates", updates] as const,
					["the result", outputs[0]?.quantization] as const,
				]) {
					if (other === undefined || other.dtype !== data.dtype) continue;
					if (data.scale === other.scale && data.zeroPoint === other.zeroPoint) continue;
					return `the data have the scale ${data.scale} and zero point ${data.zeroPoint}, ${name} ${other.scale} and ${other.zeroPoint}`;
				}
				return undefined;
			},
		},
		{
			id: "htp/gathered-images",
			about:
				"A GatherND between codes does not take whole images, by one number each, that have more than 8 channels, unless they have 16 or a multiple of that and less than 64 positions.",
			consequence: "wrong",
			measured:
				"-3 to 8 dB on every architecture, of 16 and 8 bits, for one image and several, of 9 x 4 x 8, 12 x 8 x 8, 16 x 12 x 7, 32 x 2 x 64 and 64 x 1 x 64; 73 dB with 8 channels and fewer, 32 x 7 x 7, 16 x 5 x 8, of rank 3, by two numbers, as Gather and on floats",
			remedy: "gather along the first axis",
			appliedBy: "legalize-operators",
			broken({ node, inputs }) {
				const [data, places] = inputs.map((input) => fixedShape(input?.shape));
				if (!isOnnxOp(node, "GatherND") || inputs[0]?.moved === undefined || data?.length !== 4) return undefined;
				if (places?.at(-1) !== 1 || intOf(node, "batch_dims", 0) !== 0) return undefined;
				const [, channels, height, width] = data as [number, number, number, number];
				if (channels <= 8 || (channels % 16 === 0 && height * width < 64)) return undefined;
				return `it takes images of [${data.slice(1).join(", ")}]`;
			},
		},
		{
			id: "htp/float-factor",
			about:
				"A float constant that values are multiplied with is between 2^-19 and 65504; one that they are divided by, the reverse.",
			consequence: "wrong",
			since: "v69",
			measured:
				"fp16: 33 dB with 1e-6, 0 dB with 1e-9, 19 dB with 7e4; divided by 1e-5 9 dB; 88 dB with the factor as a code, where values are quantized",
			remedy: "make the factor one code of the values' type and a scale",
			appliedBy: "legalize-operators",
			broken(operator) {
				const factor = isFolded(operator) ? undefined : floatFactor(operator);
				if (factor === undefined || factor === 0 || (factor >= FACTORS.least && factor <= FACTORS.largest))
					return undefined;
				return `values are multiplied by ${factor.toExponential(1)}`;
			},
		},
		{
			id: "htp/operator-crash",
			about: "The compiler survives the operator.",
			consequence: "crash",
			measured: "the table of operators below",
			remedy: "write it with other operators",
			broken(operator, context) {
				return outcomeOf(operator, context) === "crashed"
					? `${describe(operator)} ends the compiler's process`
					: undefined;
			},
		},
		{
			id: "htp/control-flow",
			about: "There are no operators with graphs in them.",
			consequence: "refused",
			measured: "If is refused, and its bodies stay on the CPU",
			remedy:
				"take the branch that is meant, compute both where neither fails for the other's input, or unroll the loop",
			appliedBy: "lower-if",
			broken({ node }) {
				return hasSubgraphs(node) ? `operator ${node.op.type}` : undefined;
			},
		},
		{
			id: "htp/operator-domain",
			about: "Operators are of the standard domain, or one of the others in the table of operators.",
			consequence: "refused",
			measured: "GroupQueryAttention and SkipSimplifiedLayerNormalization are refused",
			remedy:
				"write it with standard operators, as lower-group-query-attention, lower-rotary-embedding and lower-skip-layer-norm do",
			broken({ node }) {
				const isKnown = isStandardDomain(node.op.domain) || OPERATOR_TABLE[operatorKey(node)] !== undefined;
				return isKnown || KNOWN_OTHERS.includes(node.op.type) ? undefined : `operator ${operatorKey(node)}`;
			},
		},
		{
			id: "htp/packed-weight",
			about:
				"A MatMulNBits reads an input of rank 3, and its blocks divide K; not both what it reads and what it makes are UINT8, or INT8; on v68 it is not taken.",
			consequence: "refused",
			measured:
				"refused with UINT8 or INT8 at both ends on v69, v73, v75, v79 and v81, 37 dB and more with two types; refused with rank 1, 2 and 4, with K = 96 in blocks of 64, 100 in 32 and 16 in 32; 59 to 70 dB with 2, 4 and 8 bits, with zero points, blocks of 16 to 256, on v69 and v73",
			remedy: "unpack it",
			appliedBy: "lower-matmul-nbits",
			broken({ node, inputs: [input], outputs: [output] }, { architecture }) {
				if (node.op.type !== "MatMulNBits" || isStandardDomain(node.op.domain)) return undefined;
				if (architecture === "v68") return "MatMulNBits is not taken on v68";
				const [depth, blockSize, rank] = [intOf(node, "K", 0), intOf(node, "block_size", 32), input?.shape?.length];
				if (blockSize === 0 || depth % blockSize !== 0) return `K is ${depth} in blocks of ${blockSize}`;
				if (rank !== undefined && rank !== 3) return `the input has rank ${rank}, expected 3`;
				const [from, to] = [input?.quantization?.dtype, output?.quantization?.dtype];
				return EIGHT_BITS.includes(from) && from === to ? `it reads and makes ${typeName(from)}` : undefined;
			},
		},
		{
			id: "htp/packed-weight-v81",
			about:
				"No MatMulNBits without zero points, in blocks of 32 and more, N a multiple of 32, reads and makes UINT16.",
			consequence: "wrong",
			since: "v81",
			measured:
				"it is computed on integers there, and single elements are off by up to a tenth of the range: 28 to 53 dB where that happens, 85 to 98 otherwise; with one matrix in the batch and a Relu or LeakyRelu behind, out of memory; 60 to 68 dB with zero points, blocks of 16, N = 40, INT16 or another type at one end, and on v69 to v79",
			remedy: "unpack it",
			appliedBy: "lower-matmul-nbits",
			broken({ node, inputs, outputs: [output] }) {
				if (node.op.type !== "MatMulNBits" || isStandardDomain(node.op.domain) || inputs[3] !== undefined)
					return undefined;
				if (inputs[0]?.quantization?.dtype !== DataType.UINT16 || output?.quantization?.dtype !== DataType.UINT16)
					return undefined;
				const [blockSize, columns] = [intOf(node, "block_size", 32), intOf(node, "N", 0)];
				if (blockSize < 32 || columns % 32 !== 0) return undefined;
				return `it reads and makes UINT16, N is ${columns} in blocks of ${blockSize}`;
			},
		},
	],
};

/** Operators of other domains that were seen to be taken, in tests of their weights. */
const KNOWN_OTHERS = ["MatMulNBits", "QuantizeLinear", "DequantizeLinear"];
