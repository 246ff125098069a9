import { isOnnxOp, isStandardDomain, type Node } from "../../ir/node.js";
import { bitsPerElement, DataType, dataTypeName, elementCount } from "../../ir/types.js";
import { numbersOf } from "../../weights/numbers.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import { operatorOutcome } from "../operator-outcome.js";
import { OPERATOR_TABLE, type OperatorOutcome, REFUSED_SIGNED, type TriedForm } from "../operator-table.js";
import type { RuleContext, RuleGroup } from "../rule.js";

/** Operators that have rules of their own, and those that only move or describe data. */
const ELSEWHERE = ["QuantizeLinear", "DequantizeLinear", "Constant", "MatMul", "Gemm", "Conv", "ConvTranspose", "Erf"];

/** Operators that carry graphs; their bodies stay on the CPU. */
const CONTROL_FLOW = ["If", "Loop", "Scan", "SequenceMap"];

function keyOf({ op }: Node): string {
	return isStandardDomain(op.domain) ? op.type : `${op.domain}:${op.type}`;
}

function isFloat(operand: OperandFacts | undefined): operand is OperandFacts {
	return operand?.dtype === DataType.FLOAT || operand?.dtype === DataType.FLOAT16;
}

/** Is the operator done away with before compilation, because ONNX Runtime computes it from constants? */
function isFolded({ inputs }: OperatorFacts): boolean {
	return inputs.every((input) => input === undefined || input.constant !== undefined);
}

/** How the operator would be compiled: between quantized values, or on floats; undefined where it does not compute on floats. */
function formOf(operator: OperatorFacts): TriedForm | undefined {
	const inputs = operator.inputs.filter((input) => isFloat(input) && input.constant === undefined) as OperandFacts[];
	const first = inputs.find(({ quantization }) => quantization !== undefined)?.quantization;
	if (inputs.length === 0) return undefined;
	const isQuantized = first !== undefined && operator.outputs[0]?.quantization !== undefined;
	if (!isQuantized || first.dtype === undefined) return "float";
	return bitsPerElement(first.dtype) === 16 ? "16 bits" : "8 bits";
}

const RMS_NORMS = ["RMSNormalization", "SimplifiedLayerNormalization"];

/** Forms that a v68 computes, other than those in the table: RMS normalization with a quantized scale, Gather of one index. */
function isRightOnV68({ node, inputs }: OperatorFacts, form: TriedForm): boolean {
	const [, second] = inputs;
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

/** What was seen on the nearest architecture that was tried; undefined where the operator was not, or has rules of its own. */
function outcomeOf(operator: OperatorFacts, { architecture }: RuleContext): OperatorOutcome | undefined {
	if (isOnnxOp(operator.node, ...ELSEWHERE) || isFolded(operator)) return undefined;
	const form = formOf(operator);
	if (isOnnxOp(operator.node, "Gather") && keepsEncoding(operator)) return "right";
	if (form !== undefined && architecture === "v68" && isRightOnV68(operator, form)) return "right";
	return form && operatorOutcome(keyOf(operator.node), form, architecture);
}

/** A Gather from one encoding to the same is right on v68, too: 89 dB and more; to another one the graph fails to compile. */
function keepsEncoding({ inputs: [input], outputs: [output] }: OperatorFacts): boolean {
	const [before, after] = [input?.quantization, output?.quantization];
	if (before?.scale === undefined || before.zeroPoint === undefined) return false;
	return before.dtype === after?.dtype && before.scale === after?.scale && before.zeroPoint === after.zeroPoint;
}

function describe(operator: OperatorFacts): string {
	const form = formOf(operator);
	const dtype = operator.inputs.find((input) => input?.quantization !== undefined)?.quantization?.dtype;
	const of = form === "float" || dtype === undefined ? "on floats" : `on ${dataTypeName(dtype)}`;
	return `operator ${keyOf(operator.node)} ${of}`;
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
			about: "The compiler takes the operator, in the form that it has: between quantized values, or on floats.",
			consequence: "refused",
			measured: "the table of operators below: a model of this operator alone",
			remedy: "quantize its input and output, or write it with other operators",
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
			measured: "models of one operator, on v68 and v81; the same with UINT16 or UINT8 are taken",
			remedy: "quantize input and output to UINT16",
			broken(operator) {
				const form = isFolded(operator) ? undefined : formOf(operator);
				const dtype = operator.inputs.find((input) => input?.quantization !== undefined)?.quantization?.dtype;
				if (form === undefined || form === "float" || (dtype !== DataType.INT16 && dtype !== DataType.INT8))
					return undefined;
				const refused = REFUSED_SIGNED[dtype === DataType.INT16 ? "INT16" : "INT8"];
				return refused.includes(keyOf(operator.node)) ? `${describe(operator)} is not taken` : undefined;
			},
		},
		{
			id: "htp/operator-wrong",
			about: "The compiler computes the operator right.",
			consequence: "wrong",
			measured: "the table of operators below: below 30 dB in a model of this operator alone",
			remedy: "write it with other operators, or quantize it otherwise",
			broken(operator, context) {
				return outcomeOf(operator, context) === "wrong" ? `${describe(operator)} is computed wrong` : undefined;
			},
		},
		{
			id: "htp/norm-scale-type",
			about: "The scale of an RMS normalization is quantized with 8 bits where its input is, or float.",
			consequence: "refused",
			measured: "UINT8 with a UINT16 scale refused; UINT16 with UINT8 81 dB",
			remedy: "quantize the scale with the type of the input",
			broken({ node, inputs }) {
				const [input, scale] = inputs.map((operand) => operand?.quantization?.dtype);
				if (!RMS_NORMS.includes(node.op.type) || input === undefined || scale === undefined) return undefined;
				if (bitsPerElement(input) !== 8 || bitsPerElement(scale) === 8) return undefined;
				return `the input is ${dataTypeName(input)} and the scale ${dataTypeName(scale)}`;
			},
		},
		{
			id: "htp/scatter-updates",
			about: "The quantized updates of a ScatterElements have the encoding of its data.",
			consequence: "wrong",
			measured: "3 dB with another, 139 dB with the same, 74 dB with float updates",
			remedy: "quantize both alike",
			broken({ node, inputs }) {
				const [data, , updates] = inputs.map((operand) => operand?.quantization);
				if (!isOnnxOp(node, "ScatterElements") || data === undefined || updates === undefined) return undefined;
				const isAlike = data.scale === updates.scale && data.zeroPoint === updates.zeroPoint;
				return isAlike ? undefined : `data have the scale ${data.scale} and updates ${updates.scale}`;
			},
		},
		{
			id: "htp/float-factor",
			about:
				"A float constant that values are multiplied with is between 2^-19 and 65504; one that they are divided by, the reverse.",
			consequence: "wrong",
			since: "v69",
			measured: "fp16: 33 dB with 1e-6, 0 dB with 1e-9, 19 dB with 7e4; divided by 1e-5 9 dB",
			remedy: "put the factor into the quantizer or into a weight",
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
			remedy: "take the branch that is meant, or unroll the loop",
			broken({ node }) {
				return isOnnxOp(node, ...CONTROL_FLOW) ? `operator ${node.op.type}` : undefined;
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
				const isKnown = isStandardDomain(node.op.domain) || OPERATOR_TABLE[keyOf(node)] !== undefined;
				return isKnown || KNOWN_OTHERS.includes(node.op.type) ? undefined : `operator ${keyOf(node)}`;
			},
		},
	],
};

/** Operators of other domains that were seen to be taken, in tests of their weights. */
const KNOWN_OTHERS = ["MatMulNBits", "QuantizeLinear", "DequantizeLinear"];
