import { isOnnxOp, type Node } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import { nodeLabel } from "../../ir/walk.js";
import { constantOf } from "../../weights/constant.js";
import { scalarOf } from "../../weights/numbers.js";
import type { RuleGroup } from "../rule.js";

/** Operators that make -0 of small negative numbers. */
const ROUNDING: readonly string[] = ["Round", "Ceil"];
/** Operators that make zeros of many numbers, of which others with a negative factor make -0. */
const MAKING_ZEROS: readonly string[] = ["Relu", "Max", "Min", "Clip", "Where", "Cast", "Floor", "Sign", ...ROUNDING];
const VIEWS: readonly string[] = ["Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"];

/** The operator that makes floats, views aside. */
function maker(value: Value | undefined): Node | undefined {
	let producer = value?.producer;
	while (producer !== undefined && isOnnxOp(producer, ...VIEWS)) producer = producer.inputs[0]?.producer;
	return producer;
}

/** What a Mul or Div multiplies with a negative number, or a Neg reads. */
function negated(node: Node): Value | undefined {
	const [first, second] = node.inputs;
	const isNegative = (value: Value | undefined) => (scalarOf(constantOf(value)) ?? 0) < 0;
	if (isOnnxOp(node, "Neg")) return first;
	if (!isOnnxOp(node, "Mul", "Div")) return undefined;
	if (isNegative(second)) return first;
	return isOnnxOp(node, "Mul") && isNegative(first) ? second : undefined;
}

function makesNegativeZeros(node: Node): boolean {
	const source = maker(negated(node));
	return isOnnxOp(node, ...ROUNDING) || (source !== undefined && isOnnxOp(source, ...MAKING_ZEROS));
}

export const NEGATIVE_ZERO_RULES: RuleGroup = {
	title: "Zeros below 0",
	rules: [
		{
			id: "htp/negative-zero",
			about: `A Pow of floats with the exponent 1 or an even one reads none of what makes -0: a Round or Ceil, or a Neg or negative factor behind ${MAKING_ZEROS.join(", ")}.`,
			consequence: "wrong",
			since: "v69",
			measured:
				"of -0 squares become -4, fourth powers 16 and first ones 131008: -32 to 6 dB, -100 with the exponent 1, matrices and images, with a Reshape between; right with the exponents 3 and 5, of Relu, Floor and Sign themselves, between codes, and as a Mul; an Add of 0 in front changes nothing",
			remedy: "put an Abs in front, or leave the first power out",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input] }) {
				const exponent = isOnnxOp(node, "Pow") ? scalarOf(constantOf(node.inputs[1])) : undefined;
				if (exponent === undefined || input?.quantization !== undefined) return undefined;
				if (exponent !== 1 && (exponent % 2 !== 0 || exponent === 0)) return undefined;
				const source = maker(input?.value);
				if (source === undefined || !makesNegativeZeros(source)) return undefined;
				return `it reads what ${source.op.type} '${nodeLabel(source)}' makes`;
			},
		},
	],
};
