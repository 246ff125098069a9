import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, DataType } from "../../ir/types.js";
import type { Interval } from "../../quant/grid.js";
import type { OperandFacts, OperatorFacts } from "../operator-facts.js";
import type { RuleContext, RuleGroup } from "../rule.js";
import { gatedInput } from "./gated-input.js";
import { areMixed, areWide, rangeOf, reachOf } from "./operand-ranges.js";

/** How many times as wide as its results what a Gelu or SiLU reads may be, and what the least of its results is. */
const GATE_WIDTH = 16;
const DEEPEST: Readonly<Record<string, number>> = { Gelu: 0.17, Mul: 0.28 };
/** From where on that matters: for codes of 16 bits of one type, others, and a SiLU that makes codes of 8 bits. */
const GATE_START = { gelu: -8, other: -128, narrowSilu: -16 };
/** What a Softplus or Mish that ends below it, and begins below -1, makes too little of. */
const LEAST_END: Readonly<Record<string, number>> = { Softplus: 1, Mish: 2 };
/** Above that they are wrong, and what they should make is what they read. */
const LARGEST_SOFTPLUS: Readonly<Partial<Record<DataType, number>>> = { [DataType.UINT16]: 200, [DataType.INT16]: 88 };
const LARGEST_MISH = 80;
/** Below these what they should make is 0. */
const LOWEST: Readonly<Record<string, number>> = { Softplus: -220, Mish: -88 };
/** Of others, those of 8 bits and those of a v68. */
const EXACT_LIMITS: Interval = { lo: -950, hi: Number.POSITIVE_INFINITY };
/** What operators between two types, on floats of 16 bits, may read. */
const LARGEST_ANGLE = 50;
const LOWEST_EXPONENT = -200;
const LEAST_HARD_SWISH = 0.002;
const LEAST_ROUNDED = 16;

/** Is a Softplus or Mish computed with an exponential of too few digits? */
function isCoarse({ node, inputs: [input], outputs: [output] }: OperatorFacts, { architecture }: RuleContext): boolean {
	const [from, to] = [input?.quantization?.dtype, output?.quantization?.dtype];
	if (from === undefined || to === undefined || !isOnnxOp(node, "Softplus", "Mish")) return false;
	const isOld = architecture === "v68";
	if (isOnnxOp(node, "Mish")) return !isOld;
	return from === to ? bitsPerElement(from) === 16 : !isOld;
}

/** What a Softplus or Mish between codes may read where it has an exponential of too few digits. */
function limitsOf(node: Node, from: DataType): Interval {
	const lo = LOWEST[node.op.type]!;
	return isOnnxOp(node, "Mish")
		? { lo, hi: LARGEST_MISH }
		: { lo, hi: LARGEST_SOFTPLUS[from] ?? Number.POSITIVE_INFINITY };
}

/** What a Gelu or SiLU reads that begins too far below 0 for its results. */
function wideGateInput(operator: OperatorFacts): OperandFacts | undefined {
	const {
		node,
		inputs,
		outputs: [output],
	} = operator;
	const isGelu = node.op.type === "Gelu";
	const input = isGelu ? inputs[0] : gatedInput(operator);
	const [range, dtype] = [rangeOf(input), output?.quantization?.dtype];
	if (range === undefined || dtype === undefined) return undefined;
	if (range.hi - range.lo <= GATE_WIDTH * Math.max(range.hi, DEEPEST[node.op.type]!)) return undefined;
	const isNarrow = bitsPerElement(dtype) === 8;
	if (isGelu && isNarrow && !areMixed(input, output)) return undefined;
	const first = isGelu && areWide(input, output) ? GATE_START.gelu : GATE_START.other;
	return range.lo < (!isGelu && isNarrow ? GATE_START.narrowSilu : first) ? input : undefined;
}

function describeRange({ value }: OperandFacts, { lo, hi }: Interval): string {
	return `'${value.name}' reaches from ${lo.toPrecision(4)} to ${hi.toPrecision(4)}`;
}

export const WIDE_VALUE_RULES: RuleGroup = {
	title: "Values far from 0",
	rules: [
		{
			id: "htp/large-input",
			about:
				"No Softplus between codes of UINT16 reads values above 200, of INT16 above 88, nor, but for 8 bits at both ends, below -220, no Mish above 80 or below -88, and none of them below -1000.",
			consequence: "wrong",
			measured:
				"Softplus of UINT16 96 dB up to 195, 4 up to 299, on floats too but for v68, of INT16 88 dB up to 88, 13 up to 90, 62 dB from -220 to 10, -8 from -300, right with 8 bits from -1000 on, 0 from -10000; Mish 73 dB up to 79, 11 up to 90, of 8 bits 6 dB up to 100, 62 dB from -88 to 10, 3 from -90, -8 from -100, right on v68 from -1000 on, 0 from -10000",
			remedy: "limit what it reads to 16 on either side, and add what is above",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				const { node, inputs, outputs } = operator;
				const range = isOnnxOp(node, "Softplus", "Mish") && outputs[0]?.quantization ? rangeOf(inputs[0]) : undefined;
				if (range === undefined) return undefined;
				const limits = isCoarse(operator, context) ? limitsOf(node, inputs[0]!.quantization!.dtype!) : EXACT_LIMITS;
				return range.hi > limits.hi || range.lo < limits.lo ? describeRange(inputs[0]!, range) : undefined;
			},
		},
		{
			id: "htp/small-results",
			about:
				"A Softplus that reads values below -1 reads some of 1 and more, but for 8 bits at both ends, and a Mish some of 2 and more.",
			consequence: "wrong",
			measured:
				"they are off by 0.012 and 0.02: Softplus of 16 bits 33 dB from -3, -5 and -50 to 0, 30 from -200, 38 from -1 to 0 and 37 from -3 to 1; Mish 28 dB from -2, -5 and -200 to 0, 31 from -3 to 1, 38 from -3 to 2, with 8 bits too; Mish of any type, and a Softplus between two types, are right on v68",
			remedy: "write it with Exp and Div, in UINT16",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				const range = isCoarse(operator, context) ? rangeOf(operator.inputs[0]) : undefined;
				if (range === undefined || range.lo >= -1 || range.hi >= LEAST_END[operator.node.op.type]!) return undefined;
				return describeRange(operator.inputs[0]!, range);
			},
		},
		{
			id: "htp/gelu-range",
			about:
				"What a Gelu, but for 8 bits of one type, or a Mul with the Sigmoid of the same, no codes in between, reads is at most 16 times as wide as its results are large where it begins below -8 (Gelu of 16 bits of one type), -16 (such a Mul that makes codes of 8 bits) or -128 (others).",
			consequence: "wrong",
			measured:
				"on every architecture; Gelu of 16 bits is off by a part in 4,000 of that width: 36 dB from -8 to 0, 32 from -10, 12 from -50, -5 from -200; 33 dB from -20 to 1, 43 to 2; 34 dB from -50 to 3, 43 to 5; between two types 35 dB from -200, -1 to 25 from -1000; a SiLU of 8 bits 34 dB from -20 to 1, 31 from -50 to 1, 24 to 34 from -200 to 0, off by up to 7 codes, of 16 bits 35 from -200 to 1, 14 from -1000 to 0.5",
			remedy: "limit what it reads to -5 (Gelu) or -16 and more, below which it makes 0",
			appliedBy: "legalize-operators",
			broken(operator) {
				const input = wideGateInput(operator);
				return input && describeRange(input, rangeOf(input)!);
			},
		},
		{
			id: "htp/mixed-range",
			about:
				"Between codes of two types a Sin or Cos reads values up to 50, an Exp none below -200, a HardSwish some of 0.002 and more, and a Ceil or Floor some of 16 and more.",
			consequence: "wrong",
			since: "v69",
			measured:
				"they are computed on floats of 16 bits: Sin and Cos 37 to 39 dB up to 50, 33 up to 70, 26 up to 200, 13 up to 1000, from UINT8 to UINT16 too; Exp 60 dB from -200, -14 from -300; HardSwish 41 dB up to 0.002, 27 up to 0.001, 0 up to 0.0001; Ceil from -5 to 0 29, Floor from -5 to 5 33, as values beside an integer become that; right between UINT16, and on v68",
			remedy: "read it as UINT16 and quantize its output as UINT16 first",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }) {
				const range = areMixed(input, output) ? rangeOf(input) : undefined;
				if (range === undefined) return undefined;
				const reach = reachOf(input)!;
				const isWrong =
					(isOnnxOp(node, "Sin", "Cos") && reach > LARGEST_ANGLE) ||
					(isOnnxOp(node, "Exp") && range.lo < LOWEST_EXPONENT) ||
					(isOnnxOp(node, "HardSwish") && reach < LEAST_HARD_SWISH) ||
					(isOnnxOp(node, "Ceil", "Floor") && reach < LEAST_ROUNDED);
				return isWrong ? describeRange(input!, range) : undefined;
			},
		},
	],
};
