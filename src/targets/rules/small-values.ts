import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, DataType } from "../../ir/types.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import type { RuleContext, RuleGroup } from "../rule.js";
import { gatedInput } from "./gated-input.js";
import { areMixed, areWide, reachOf } from "./operand-ranges.js";

/** Below these an angle is its own sine, and the other way round, as far as 16 bits tell. */
const LEAST_ANGLE = { coarse: 0.01, fine: 0.002 };
/** Least steps of what is rounded up, and down, to an integer. */
const LEAST_STEPS: Readonly<Record<string, number>> = { Ceil: 2 ** -18, Floor: 2 ** -26 };
const LEAST_GELU_STEP = 3e-9;
const LEAST_ELU_STEP = 0.01 / 2 ** 15;
/** Of what floats of 16 bits still tell the exponential from 1. */
const LEAST_EXPONENT: Readonly<Record<string, number>> = { Elu: 0.006, Selu: 0.007 };
/** A scale of 8 bits is rounded to a float of 16 bits, of which so much of it may be lost: 36 dB. */
const SCALE_ERROR = 1 / 64;
/** Of results of operators on floats of 16 bits: what is below has hardly a digit. */
const LEAST_HALF_RESULT = 2 ** -18;
/** The least float of 16 bits. */
const LEAST_HALF = 2 ** -24;
/** Steps of the output in one of the input, from which on requantizing loses zero points above the middle of the codes. */
const LARGEST_STEP = 2 ** 12;
/** What requantizes codes of 16 bits. */
const REQUANTIZING: readonly string[] = ["Relu", "Clip", "Neg", "Transpose", "Slice", "Concat", "ReduceMax"];
const ARITHMETIC: readonly string[] = ["Add", "Sub", "Mul", "Max", "Min", "Neg", "Abs", "LeakyRelu"];
/** What moves values between codes of 8 bits as floats of 16 bits, where their encodings differ. */
const MOVING: readonly string[] = ["MaxPool", "Transpose", "Reshape"];
/** What is computed on floats of 16 bits between codes of two types. */
const ON_FLOATS: readonly string[] = [
	...ARITHMETIC,
	"Relu",
	"Clip",
	"Sqrt",
	"Tanh",
	"Gelu",
	"PRelu",
	"Pow",
	"Div",
	"Concat",
	"ReduceMean",
	"ReduceMax",
	"AveragePool",
	"Pad",
	"Slice",
];

/** The least that the codes in front of a Sin, Asin or Atan reach up to; undefined where it does not matter. */
function leastAngle({ node, inputs: [input], outputs: [output] }: OperatorFacts, { architecture }: RuleContext) {
	const isMixed = areMixed(input, output);
	if (!isOnnxOp(node, "Sin", "Asin", "Atan") || (!isMixed && !areWide(input, output))) return undefined;
	if (isMixed && architecture === "v68") return undefined;
	return isMixed || isOnnxOp(node, "Sin") ? LEAST_ANGLE.coarse : LEAST_ANGLE.fine;
}

/** Codes of 8 bits that an operator makes floats of. */
function narrowOnFloats(operator: OperatorFacts): readonly (OperandFacts | undefined)[] {
	const { node, inputs, outputs } = operator;
	const [input, output] = [inputs[0], outputs[0]];
	const isRead = isOnnxOp(node, "PRelu", "Pow") && isNarrow(output);
	const isMoved = isOnnxOp(node, ...MOVING) && isNarrow(output) && !areAlike(input, output);
	if (isRead || isMoved) return [input];
	const gated = isNarrow(output) ? gatedInput(operator) : undefined;
	if (gated !== undefined) return [gated];
	return isOnnxOp(node, ...ON_FLOATS, ...MOVING) ? inputs.filter((one) => areMixed(one, output)) : [];
}

/** Have both the same codes for the same values? */
function areAlike(a: OperandFacts | undefined, b: OperandFacts | undefined): boolean {
	const [from, to] = [a?.quantization, b?.quantization];
	return from?.scale === to?.scale && from?.zeroPoint === to?.zeroPoint && from?.dtype === to?.dtype;
}

/** What of a scale is lost as a float of 16 bits. */
function scaleError(scale: number): number {
	return Math.abs(Math.round(scale / LEAST_HALF) * (LEAST_HALF / scale) - 1);
}

function isNarrow(operand: OperandFacts | undefined): boolean {
	const dtype = operand?.quantization?.dtype;
	return dtype !== undefined && bitsPerElement(dtype) === 8;
}

function describeReach(input: OperandFacts, reach: number): string {
	return `'${input.value.name}' reaches up to ${reach.toPrecision(3)}`;
}

function describeSteps(input: OperandFacts, scale: number): string {
	return `'${input.value.name}' has steps of ${scale.toPrecision(3)}`;
}

/** The scale of what a node of one of `types` between 16 bits of one type reads. */
function wideScale({ node, inputs: [input], outputs: [output] }: OperatorFacts, isMeant: (node: Node) => boolean) {
	return isMeant(node) && areWide(input, output) ? input!.quantization!.scale : undefined;
}

/** Is the zero point of `input` above the middle of its codes, and are its steps too wide for those of `output`? */
function isFar(input: OperandFacts | undefined, output: OperandFacts | undefined): boolean {
	const [from, to] = [input?.quantization, output?.quantization];
	if (from?.scale === undefined || to?.scale === undefined || from.zeroPoint === undefined) return false;
	const middle = from.dtype === DataType.UINT16 ? 2 ** 15 : 0;
	return areWide(input, output) && from.zeroPoint > middle && from.scale / to.scale > LARGEST_STEP;
}

export const SMALL_VALUE_RULES: RuleGroup = {
	title: "Small values",
	rules: [
		{
			id: "htp/small-angle",
			about:
				"What a Sin of 16 bits reads reaches up to 0.01, an Asin or Atan up to 0.002, an Atan between two types up to 0.01.",
			consequence: "wrong",
			measured:
				"on every architecture: Sin 0 dB up to 0.0001, 12 up to 0.0005, 16 to 19 up to 0.001, 32 up to 0.005, 38 up to 0.01; Asin and Atan 10 dB up to 0.0001, 31 up to 0.001, 36 up to 0.002; from UINT16 to INT16 Sin 18 dB and Atan 16 dB up to 0.001, 33 and 32 up to 0.005, right on v68; right with 8 bits at both ends",
			remedy: "leave it out: such an angle is its sine, to a part in 60,000 at most",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				const [input] = operator.inputs;
				const [least, reach] = [leastAngle(operator, context), reachOf(input)];
				return least !== undefined && reach !== undefined && reach < least ? describeReach(input!, reach) : undefined;
			},
		},
		{
			id: "htp/rounded-steps",
			about:
				"The steps of what a Ceil between UINT16 reads are not below 2^-18, of what a Floor reads not below 2^-26.",
			consequence: "wrong",
			measured:
				"on every architecture, whatever the output encoding is: Ceil of values up to 0.2 0 dB, all zeros, of values up to 0.25 exact; Floor of values from -0.0005 3 dB, from -0.0005 to 0.0005 exact; right between two types and with 8 bits",
			remedy: "choose by the sign: what is above 0, and below 1, is rounded up to 1",
			appliedBy: "legalize-operators",
			broken(operator) {
				const [input] = operator.inputs;
				const least = LEAST_STEPS[operator.node.op.type];
				const scale = wideScale(operator, (node) => isOnnxOp(node, "Ceil", "Floor"));
				if (scale === undefined || scale >= least! || input!.quantization!.dtype !== DataType.UINT16) return undefined;
				return describeSteps(input!, scale);
			},
		},
		{
			id: "htp/gelu-small",
			about: "The steps of what a Gelu between codes of one type of 16 bits reads are not below 3e-9.",
			consequence: "wrong",
			measured:
				"on every architecture, 0 dB from -0.00016 to 0 and 6 dB from 0 to 0.00016, 80 dB from -0.0001 to 0.0001 and up to 0.0002",
			remedy: "multiply with a half: so small values are halved, to a part in 6,000",
			appliedBy: "legalize-operators",
			broken(operator) {
				const scale = wideScale(operator, ({ op }) => op.type === "Gelu");
				return scale !== undefined && scale < LEAST_GELU_STEP ? describeSteps(operator.inputs[0]!, scale) : undefined;
			},
		},
		{
			id: "htp/elu-small",
			about:
				"The steps of what an Elu between codes of one type of 16 bits reads are not below 0.01 / 2^15; between two types it reads values up to 0.006.",
			consequence: "wrong",
			measured:
				"-7 to 0 dB with steps of 3.04e-7 and less, whatever those of the output and the zero point are, 42 to 49 dB with 3.06e-7, on every architecture; from UINT16 to INT16, on floats of 16 bits, 20 dB up to 0.001, 30 up to 0.003, 37 up to 0.006",
			remedy: "write it as a LeakyRelu: so small an exponential is a line",
			appliedBy: "legalize-operators",
			broken(operator, { architecture }) {
				const { node, inputs, outputs } = operator;
				const scale = wideScale(operator, (one) => isOnnxOp(one, "Elu"));
				if (scale !== undefined && scale < LEAST_ELU_STEP) return describeSteps(inputs[0]!, scale);
				const reach = isOnnxOp(node, "Elu") && areMixed(inputs[0], outputs[0]) ? reachOf(inputs[0]) : undefined;
				if (reach === undefined || architecture === "v68" || reach >= LEAST_EXPONENT.Elu!) return undefined;
				return describeReach(inputs[0]!, reach);
			},
		},
		{
			id: "htp/selu-small",
			about: "A Selu reads codes up to 0.007 at least.",
			consequence: "wrong",
			since: "v69",
			measured:
				"it is computed on floats of 16 bits: 1 dB up to 0.0001, 19 up to 0.001, 33 up to 0.005, 36 up to 0.007, with 8 bits and two types too",
			remedy: "write it as a LeakyRelu times its factor: so small an exponential is a line",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }) {
				const reach = isOnnxOp(node, "Selu") && output?.quantization !== undefined ? reachOf(input) : undefined;
				return reach !== undefined && reach < LEAST_EXPONENT.Selu! ? describeReach(input!, reach) : undefined;
			},
		},
		{
			id: "htp/half-scale",
			about:
				"The steps of codes of 8 bits that become floats of 16 bits, rounded to a multiple of 2^-24, stay what they are to a part in 64: what a PRelu, a Pow, or a Mul with the Sigmoid of the same, no codes in between, reads, a MaxPool, Transpose or Reshape whose encodings differ, and most operators whose output is of another type.",
			consequence: "wrong",
			since: "v69",
			measured:
				"as much is lost as by that rounding: 0 dB up to 0.000002, 9 to 14 up to 0.00001, 26 from -0.00004 to 0.00004, 24 up to 0.0001, 38 up to 0.00003 and 0.00006, whose steps are nearly 2 and 4 times 2^-24, 38 and more from 0.00012 on; right with 16 bits, and between 8 bits of one type for all others",
			remedy: "compute it between UINT16",
			appliedBy: "legalize-operators",
			broken(operator) {
				const input = narrowOnFloats(operator).find((one) => {
					const scale = isNarrow(one) ? one?.quantization?.scale : undefined;
					return scale !== undefined && scaleError(scale) > SCALE_ERROR;
				});
				return input && describeSteps(input, input.quantization!.scale!);
			},
		},
		{
			id: "htp/half-results",
			about: `The results of ${ARITHMETIC.slice(0, -1).join(", ")} and ${ARITHMETIC.at(-1)!} between codes of two types, and of a PRelu between any, reach up to 2^-18 at least.`,
			consequence: "wrong",
			since: "v69",
			measured:
				"they are computed on floats of 16 bits: 25 to 31 dB up to 0.000001 from UINT16 to INT16, 50 and more up to 0.00001; right between UINT16, but for PRelu",
			remedy: "compute it between UINT16, a PRelu on values that are a power of 2 as large",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs: [output] }) {
				const isMixed = isOnnxOp(node, ...ARITHMETIC) && inputs.some((input) => areMixed(input, output));
				const isMeant = isMixed || (isOnnxOp(node, "PRelu") && output?.quantization !== undefined);
				const reach = isMeant ? reachOf(output) : undefined;
				if (reach === undefined || reach >= LEAST_HALF_RESULT) return undefined;
				return `its results reach up to ${reach.toPrecision(3)}`;
			},
		},
		{
			id: "htp/far-zero",
			about: `Codes of 16 bits that ${REQUANTIZING.slice(0, -1).join(", ")} and ${REQUANTIZING.at(-1)!} give in another encoding of that type have no zero point above the middle of the codes where their steps are more than 4096 times as wide.`,
			consequence: "wrong",
			measured:
				"zeros, and what is just below, become the largest code on every architecture, -999 to 20 dB: a Relu from -6.5 to 0 whose output has steps of 1e-8, as where samples saw zeros only, or of 2e-8, from -60 to 0 with 1e-7, UINT16 and INT16; exact with quotients up to 4000, with zero points up to the middle, with 8 bits, for Reshape, MaxPool, Add, Abs and LeakyRelu, and for a Relu behind a Mul, which computes both",
			remedy: "quantize the result as the other type of 16 bits first, by a 1024th of the steps of the input",
			appliedBy: "legalize-operators",
			broken({ node, inputs, outputs: [output] }) {
				if (!isOnnxOp(node, ...REQUANTIZING)) return undefined;
				const far = inputs.find((input) => isFar(input, output));
				if (far === undefined) return undefined;
				const { zeroPoint, scale } = far.quantization!;
				const given = output!.quantization!.scale!.toPrecision(3);
				return `the zero point of '${far.value.name}' is ${zeroPoint}, in steps of ${scale!.toPrecision(3)}, and the result has steps of ${given}`;
			},
		},
		{
			id: "htp/log-small",
			about: "The steps of what a Log between codes of two types reads are not below 2^-24.",
			consequence: "wrong",
			since: "v69",
			measured:
				"it is computed on floats of 16 bits, to which less is 0: 8 dB up to 0.0001 and 13 up to 0.001 in steps of a 65535th, zeros aside, 50 up to 0.005; right with 8 bits at both ends",
			remedy: "multiply what it reads with a power of 2, and subtract the logarithm of that",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }) {
				const scale = isOnnxOp(node, "Log") && areMixed(input, output) ? input!.quantization!.scale : undefined;
				return scale !== undefined && scale < LEAST_HALF ? describeSteps(input!, scale) : undefined;
			},
		},
	],
};
