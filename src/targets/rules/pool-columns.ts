import { intsOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { fixedShape } from "../fixed-shape.js";
import { fusedPads } from "../fused-pad.js";
import type { OperatorFacts } from "../operator-facts.js";
import { poolPads } from "../pool-pads.js";
import type { RuleGroup } from "../rule.js";
import { rangeOf } from "./operand-ranges.js";

/** Are the codes of the result those that the operator reads, but for a zero point? */
function isKept({ inputs: [input], outputs: [output], result }: OperatorFacts): boolean {
	const [from, to] = [input?.quantization, result ?? output?.quantization];
	return from?.scale !== undefined && from.scale === to?.scale && from.dtype === to.dtype;
}

/** Of a MaxPool by steps of 2 in an image: do its windows leave no column out, the first beginning with an odd number of pads? */
function coversColumns(operator: OperatorFacts): boolean {
	const { node, inputs, outputs } = operator;
	const [from, to] = [inputs[0], outputs[0]].map((operand) => fixedShape(operand?.shape)?.[3]);
	const [, columns] = poolPads(operator) ?? [];
	const [kernel, strides, dilations] = ["kernel_shape", "strides", "dilations"].map((name) =>
		intsOf(node, name),
	) as number[][];
	if (!isOnnxOp(node, "MaxPool") || fusedPads(node) !== undefined || dilations!.some((dilation) => dilation > 1))
		return false;
	if (from === undefined || to === undefined || columns === undefined) return false;
	if (kernel!.length !== 2 || kernel![1]! % 2 === 1 || strides!.length !== 2 || strides!.some((step) => step !== 2))
		return false;
	return columns.begin % 2 === 1 && 2 * (to - 1) + kernel![1]! >= columns.begin + from + columns.end;
}

export const POOL_COLUMN_RULES: RuleGroup = {
	title: "Columns of pools",
	rules: [
		{
			id: "htp/max-columns",
			about:
				"A MaxPool by steps of [2, 2] whose kernel has an even number of columns, with an odd number of pads in front of these, leaves a column of image and pads out, or gives codes of the scale and type that it reads, unless it reads nothing below 0.",
			consequence: "wrong",
			since: "v69",
			measured:
				"the windows behind the last whole ones have 0 among their elements: -2 to 17 dB where all values are below 0, 24 where half of them are, on floats, and between codes of 16 and 8 bits whose scales or types differ, on v69, v73 and v81, with kernels of 2, 4 and 6 columns and 1 to 4 rows, pads in front of 1, 3 and 5, images of 8 to 64 columns, and ceil_mode; 134 dB and more between codes of one scale and type, 72 with an even number of pads in front, with none behind where that leaves a column out, for any pads of rows, with three columns, other steps and one dimension",
			remedy: "put a Pad with the least number that the codes have in front",
			appliedBy: "legalize-operators",
			broken(operator, { known }) {
				const lowest = rangeOf(operator.inputs[0])?.lo ?? Number.NEGATIVE_INFINITY;
				if (lowest >= 0 || known.isFolded(operator.node) || isKept(operator) || !coversColumns(operator))
					return undefined;
				return "its last columns of windows are computed wrong where values are below 0";
			},
		},
	],
};
