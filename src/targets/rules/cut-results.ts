import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Interval } from "../../quant/grid.js";
import { fixedOutput } from "../fixed-outputs.js";
import type { OperandFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";
import { EIGHT_BITS } from "./code-types.js";
import { areMixed, areWide, rangeOf, reachOf } from "./operand-ranges.js";

/** A Softmax's logarithms, in symmetric codes of 16 bits and others. */
const LEAST_LOGARITHM = -0.5;
/** Results of a Sigmoid between codes of two types, and of one of 16 bits, reach up to that at least. */
const LEAST_SIGMOID = { mixed: 0.06, wide: 0.01 };
/** What of its width an encoding may cut off: 40 dB. */
const CUT_OFF = 0.01;

/** What a Sigmoid or Tanh makes of `range`. */
function resultsOf(node: Node, { lo, hi }: Interval): Interval {
	const of = isOnnxOp(node, "Tanh") ? Math.tanh : (x: number) => 1 / (1 + Math.exp(-x));
	return { lo: of(lo), hi: of(hi) };
}

function describe({ value }: OperandFacts, { lo, hi }: Interval): string {
	return `'${value.name}' is between ${lo.toPrecision(3)} and ${hi.toPrecision(3)}`;
}

export const CUT_RESULT_RULES: RuleGroup = {
	title: "Results that their codes cut off, and small ones",
	rules: [
		{
			id: "htp/cut-activation",
			about:
				"The output encoding of a Sigmoid or Tanh between codes of one type of 16 bits reaches as far as what it makes of its input's codes; that of a Sigmoid where these go beyond 0.",
			consequence: "wrong",
			measured:
				"nothing is cut off, on every architecture, as the compiler gives it its own encoding: Sigmoid of values up to 5 that ends at 0.3 -4 dB, at 0.1 -16; Tanh that begins at 0 and ends at 0.3 -11; right with 8 bits",
			remedy: "quantize it in codes for all that it makes, and limit these with Max and Min",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }) {
				if (!isOnnxOp(node, "Sigmoid", "Tanh") || !areWide(input, output)) return undefined;
				const [read, made] = [rangeOf(input), rangeOf(output)];
				const given = fixedOutput(node.op.type, output!.quantization!.dtype!);
				if (read === undefined || made === undefined || output!.quantization!.scale === given?.scale) return undefined;
				const { lo, hi } = resultsOf(node, read);
				if (isOnnxOp(node, "Sigmoid") && read.hi <= 0) return undefined;
				const tolerance = CUT_OFF * (made.hi - made.lo);
				if (hi <= made.hi + tolerance && lo >= made.lo - tolerance) return undefined;
				return describe(output!, { lo, hi });
			},
		},
		{
			id: "htp/small-sigmoid",
			about:
				"What a Sigmoid makes reaches up to 0.06 at least between codes of two types, up to 0.01 between 16 bits of one type.",
			consequence: "wrong",
			measured:
				"from v69 on, between two types, on floats: 35 dB up to 0.05, 27 up to 0.02, 19 up to 0.007, 6 up to 0.001; on every architecture, between 16 bits of one type 23 dB up to 0.001, 38 and more up to 0.007; right with 8 bits at both ends",
			remedy: "compute it between UINT16; write one whose results reach up to 0.01 as an Exp",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], outputs: [output] }, { architecture }) {
				const reach = isOnnxOp(node, "Sigmoid") ? reachOf(output) : undefined;
				if (reach === undefined) return undefined;
				const isMixed = areMixed(input, output) && architecture !== "v68";
				const least = isMixed ? LEAST_SIGMOID.mixed : areWide(input, output) ? LEAST_SIGMOID.wide : 0;
				return reach < least ? `its results reach up to ${reach.toPrecision(3)}` : undefined;
			},
		},
		{
			id: "htp/log-softmax-range",
			about:
				"The output encoding of a LogSoftmax of 8 bits, or in UINT16 codes that reach above 0, goes down to -0.5 at least.",
			consequence: "wrong",
			measured:
				"where that cuts off all values, they come out as 0 or as the other end: 0 dB with UINT8 from -0.3, -6 dB with UINT16 from -0.3 to 0.3; right from -0.5 on, and with UINT16 from -0.1 to 0; on v68 and v79",
			remedy: "quantize it in codes from -16 first",
			appliedBy: "legalize-operators",
			broken({ node, outputs: [output] }) {
				const range = isOnnxOp(node, "LogSoftmax") ? rangeOf(output) : undefined;
				if (range === undefined || range.lo <= LEAST_LOGARITHM) return undefined;
				const { dtype } = output!.quantization!;
				const isMeant = EIGHT_BITS.includes(dtype) || (dtype === DataType.UINT16 && range.hi > 0);
				return isMeant ? describe(output!, range) : undefined;
			},
		},
	],
};
