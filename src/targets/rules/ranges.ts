import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, DataType } from "../../ir/types.js";
import { constantOf } from "../../weights/constant.js";
import { eachNumber, scalarOf } from "../../weights/numbers.js";
import type { OperandFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";
import { areMixed, areWide, rangeOf, reachOf } from "./operand-ranges.js";

/** What a Log of floats makes of 0. */
const LOG_OF_ZERO = -11 * Math.LN2;
/** A Reciprocal between codes of one type is that much smaller than it should be where what it reads ends below 1: 40 dB. */
const LEAST_RECIPROCAL_END = 0.99;
/** How wide what a Reciprocal reads may be, and up to where its results reach, between codes of one type, by bits. */
const RECIPROCAL_WIDTH: Readonly<Record<number, number>> = { 8: 6, 16: 5000 };
const LARGEST_RECIPROCAL: Readonly<Record<number, number>> = { 8: 255, 16: Number.POSITIVE_INFINITY };
const LARGEST_HALF = 65504;
/** The inverse of larger ones is no normal half float. */
const LARGEST_DIVISOR = 2 ** 14;
/** Largest results of a Pow that half floats tell apart. */
const POWERS = { least: 2 ** -18, most: 2 ** 16 };
/** Between what a square is no fraction, and no overflow, of a float of 16 bits. */
const SQUARED = { least: 2 ** -9, most: 2 ** 8 };
/** Of what the sum of squares is no fraction, and no overflow, of a float of 16 bits. */
const NORMS = { least: 2 ** -8, most: 2 ** 8 };
const LARGEST_ELU = 20_000;
/** Computed on floats between two types. */
const ON_FLOATS: readonly string[] = [
	...["Relu", "Add", "Concat", "Pad", "Slice", "AveragePool", "GlobalAveragePool", "ReduceMean", "MatMul"],
];
/** Computed on floats between two encodings. */
const MOVING: readonly string[] = ["Identity", "Reshape", "Flatten", "Transpose", "MaxPool", "Resize"];

/** Does each reader of the result of `log` set it elsewhere where the input is equal to a constant? */
function isSetElsewhere(log: Node, output: OperandFacts): boolean {
	const readers = output.quantization!.node.outputs[0]!.uses.flatMap(({ node }) => node.outputs[0]?.uses ?? []);
	return (
		readers.length > 0 &&
		readers.every(({ node }) => {
			const condition = isOnnxOp(node, "Where") ? node.inputs[0]?.producer : undefined;
			return condition !== undefined && isOnnxOp(condition, "Equal") && condition.inputs[0] === log.inputs[0];
		})
	);
}

/** Does `node` square what it reads? */
function isSquare(node: Node): boolean {
	return isOnnxOp(node, "Pow") && scalarOf(constantOf(node.inputs[1])) === 2;
}

/** The largest number, without its sign, of a float constant. */
function largestOf({ constant }: OperandFacts): number | undefined {
	if (constant?.dtype !== DataType.FLOAT) return undefined;
	let largest = 0;
	eachNumber(constant, (number) => {
		largest = Math.max(largest, Math.abs(number));
		return true;
	});
	return largest;
}

export const RANGE_RULES: RuleGroup = {
	title: "Ranges of values",
	rules: [
		{
			id: "htp/log-zero",
			about:
				"What a Log makes of 0 is set by a Where, if it has other types at its input and output, so that it is computed on floats, and can make less than 11 ln 2 below 0.",
			consequence: "wrong",
			since: "v73",
			measured:
				"-7.62 for 0, whatever the smallest code stands for: 9 to 12 dB with zeros in every tenth place, from UINT16 to INT16 and between 16 and 8 bits; 72 to 78 dB without zeros, 85 dB with the Where; right from 8 bits to the same type, and on v68; a pitch tracker (basic-pitch) loses 12 dB by the silent places of a spectrogram",
			remedy: "set what the input 0 gives to the smallest code",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }) {
				const range = isOnnxOp(node, "Log") && output !== undefined ? rangeOf(output) : undefined;
				const dtype = input?.quantization?.dtype;
				if (range === undefined || dtype === undefined || dtype === output!.quantization!.dtype) return undefined;
				if (range.lo >= LOG_OF_ZERO || isSetElsewhere(node, output!)) return undefined;
				return `0 gives ${LOG_OF_ZERO.toFixed(2)} instead of ${range.lo.toPrecision(3)}`;
			},
		},
		{
			id: "htp/reciprocal-range",
			about:
				"What a Reciprocal between codes of one type reads ends at 0.99 or above, and is 5000 wide at most, of 8 bits 6; its results reach up to 65504, of 8 bits between one type up to 255.",
			consequence: "wrong",
			measured:
				"on every architecture, 16 and 8 bits: results are as much too small as the end is below 1, 40 dB with 0.99, 20 with 0.9, 14 with 0.8, 6 with 0.5, whatever they reach up to, 0 with 0; 16 bits: 42 dB up to 5000, 21 up to 60000; 8 bits: 37 to 46 dB up to 6, 33 and 34 up to 10 and 20, off by up to 5 codes, 24 up to 30 and 60, 22 up to 100, although right up to 8 and 16; results above 255 of 8 bits stay there; 60 to 80 dB from UINT16 to INT16, which is computed on floats, where nothing is above 65504",
			remedy: "read it as UINT16 and quantize its output as INT16 first",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }) {
				const largest = isOnnxOp(node, "Reciprocal") ? reachOf(output) : undefined;
				const [read, dtype] = [rangeOf(input), input?.quantization?.dtype];
				if (largest === undefined || read === undefined || dtype === undefined) return undefined;
				const isOnIntegers = dtype === output!.quantization!.dtype;
				const bits = bitsPerElement(dtype) ?? 0;
				const limit = (isOnIntegers && LARGEST_RECIPROCAL[bits]) || LARGEST_HALF;
				if (largest > limit) return `its results reach up to ${largest.toPrecision(3)}`;
				if (!isOnIntegers || (read.hi >= LEAST_RECIPROCAL_END && read.hi - read.lo <= RECIPROCAL_WIDTH[bits]!))
					return undefined;
				return `'${input!.value.name}' reaches from ${read.lo.toPrecision(3)} to ${read.hi.toPrecision(3)}`;
			},
		},
		{
			id: "htp/square-range",
			about: "A Pow with the exponent 2 between codes reads values up to 256, and down to 2^-9 at least.",
			consequence: "wrong",
			since: "v73",
			measured:
				"it is computed on floats of 16 bits: 66 dB up to 300, 24 up to 395, 11 up to 500, 2 up to 1000; 62 dB below 0.01, 43 below 0.003, 25 below 0.001; 90 dB on v68; a Mul is right with all of these, 52 dB with 8 bits and 140 dB with 16",
			remedy: "multiply it with itself",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }) {
				const largest = isSquare(node) && output?.quantization !== undefined ? reachOf(input) : undefined;
				if (largest === undefined || (largest >= SQUARED.least && largest <= SQUARED.most)) return undefined;
				return `'${input!.value.name}' reaches up to ${largest.toPrecision(3)}`;
			},
		},
		{
			id: "htp/power-range",
			about:
				"The results of a Pow between codes with one exponent other than 2 reach up to 2^16 at most, and down to 2^-18 at least.",
			consequence: "wrong",
			since: "v73",
			measured:
				"it is computed on floats of 16 bits: cubes of values up to 300 and 20000, powers of 1.5 up to 20000 and of -2 from 5e-5 0 to 1 dB, of -2 from 0.0025 and from 1000 20 dB; 61 dB and more within, with 8 bits too but for their rounding",
			remedy: "multiply what it reads with a power of 2, and what it gives with that to the exponent, inverted",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }) {
				const exponent = isOnnxOp(node, "Pow") ? scalarOf(constantOf(node.inputs[1])) : undefined;
				const largest = exponent === undefined || exponent === 2 || !input?.quantization ? undefined : reachOf(output);
				if (largest === undefined || (largest >= POWERS.least && largest <= POWERS.most)) return undefined;
				return `its results reach up to ${largest.toPrecision(3)}`;
			},
		},
		{
			id: "htp/float-dividend",
			about: "Codes that a float constant is divided by reach up to 2^14, and the constant up to 65504.",
			consequence: "wrong",
			since: "v69",
			measured:
				"it is multiplied with an inverse in half floats: 2 dB with divisors up to 50000, 1 dB with a dividend of 600000; 62 dB and more with a dividend of codes",
			remedy: "quantize the constant",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [dividend, divisor] }) {
				const constant = isOnnxOp(node, "Div") && dividend ? largestOf(dividend) : undefined;
				const reach = reachOf(divisor);
				if (constant === undefined || reach === undefined) return undefined;
				if (constant > LARGEST_HALF) return `the dividend is ${constant.toPrecision(3)}`;
				return reach > LARGEST_DIVISOR ? `'${divisor!.value.name}' reaches up to ${reach.toPrecision(3)}` : undefined;
			},
		},
		{
			id: "htp/norm-range",
			about: "The results of a ReduceL2 between codes reach up to 256, and down to 2^-8 at least.",
			consequence: "wrong",
			since: "v73",
			measured:
				"it is computed on floats of 16 bits: 72 dB up to 300, 31 up to 400, 10 up to 600; 54 dB up to 0.008, 39 up to 0.004, 24 up to 0.002, 7 up to 0.001; the same with 8 bits but for their rounding",
			remedy: "multiply what it reads with a power of 2, and what it gives with the inverse",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }) {
				const largest = isOnnxOp(node, "ReduceL2") && input?.quantization ? reachOf(output) : undefined;
				if (largest === undefined || (largest >= NORMS.least && largest <= NORMS.most)) return undefined;
				return `its results reach up to ${largest.toPrecision(3)}`;
			},
		},
		{
			id: "htp/elu-range",
			about: "An Elu between codes of one type of 16 bits reads values up to 20000.",
			consequence: "wrong",
			measured: "3 dB up to 30000, 81 dB up to 20000, on every architecture; 68 dB from UINT16 to INT16",
			remedy: "quantize its output with another type, and that as it was",
			appliedBy: "legalize-operators",
			since: "v69",
			broken({ node, inputs: [input], outputs: [output] }) {
				const largest = isOnnxOp(node, "Elu") && areWide(input, output) ? reachOf(input) : undefined;
				if (largest === undefined || largest <= LARGEST_ELU) return undefined;
				return `'${input!.value.name}' reaches up to ${largest.toPrecision(5)}`;
			},
		},
		{
			id: "htp/half-range",
			about:
				"Codes between two types, of views, MaxPool and Resize also between two encodings, do not stand for values beyond 65504 at input and output.",
			consequence: "wrong",
			since: "v69",
			measured:
				"computed on floats of 16 bits, which end there: with values of 10^5 and a few times as much 4 to 12 dB, MatMul -12 to -8, on v69, v73, v79 and v81; Relu, Add, Concat, Pad, Slice, averages and MatMul between encodings of one type 81 to 105 dB, whatever they reach; 86 to 103 dB on v68",
			remedy:
				"quantize the result in the type of the input first, of 16 bits; of one type in its encoding; values between 8 and 16 bits must be smaller",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }) {
				const [front, behind] = [input?.quantization, output?.quantization];
				const isMoved =
					isOnnxOp(node, ...MOVING) && (front?.scale !== behind?.scale || front?.zeroPoint !== behind?.zeroPoint);
				if (!isMoved && (!isOnnxOp(node, ...ON_FLOATS, ...MOVING) || !areMixed(input, output))) return undefined;
				const [read, made] = [reachOf(input), reachOf(output)];
				if (read === undefined || made === undefined || Math.min(read, made) <= LARGEST_HALF) return undefined;
				return `the input reaches up to ${read.toPrecision(3)}, the output up to ${made.toPrecision(3)}`;
			},
		},
	],
};
