import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType, dataTypeName } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import type { OperatorFacts } from "../operator-facts.js";
import type { RuleContext, RuleGroup } from "../rule.js";

const { FLOAT, FLOAT16, UINT8, INT8, UINT16, INT16, INT32, INT64, UINT32, UINT64, BOOL } = DataType;

type Type = DataType | undefined;

const FLOATS: readonly Type[] = [FLOAT, FLOAT16];
const INTEGERS: readonly Type[] = [UINT8, INT32, UINT32, INT64];
const NOT_TAKEN: readonly Type[] = [INT8, UINT16, UINT64];

/** Operators that the compiler looks across, from one Cast to the other. */
const CROSSED: readonly string[] = ["Cast", "Transpose", "Unsqueeze", "Squeeze", "Identity"];

interface Types {
	readonly from: DataType;
	readonly to: DataType;
}

/** Between which types a Cast of computed values is. */
function castOf({ node, inputs: [input], outputs: [output] }: OperatorFacts): Types | undefined {
	if (!isOnnxOp(node, "Cast") || input?.constant !== undefined) return undefined;
	const [from, to] = [input?.dtype, output?.dtype];
	return from === undefined || to === undefined ? undefined : { from, to };
}

function isRefused({ from, to }: Types): boolean {
	if (from === INT16) return to !== INT32;
	return to === INT16 || NOT_TAKEN.includes(from) || NOT_TAKEN.includes(to);
}

/** The Cast from floats to integers that `value` comes out of, other Casts and operators that move values aside. */
function truncation(value: Value | undefined, { types }: RuleContext): Node | undefined {
	let producer = value?.producer;
	while (producer !== undefined && isOnnxOp(producer, ...CROSSED)) {
		const [from, to] = [producer.inputs[0], producer.outputs[0]].map((at) => at && types.elementTypeOf(at));
		if (isOnnxOp(producer, "Cast") && FLOATS.includes(from) && INTEGERS.includes(to)) return producer;
		producer = producer.inputs[0]?.producer;
	}
	return undefined;
}

const between = ({ from, to }: Types) => `from ${dataTypeName(from)} to ${dataTypeName(to)}`;

export const CAST_RULES: RuleGroup = {
	title: "Casts",
	rules: [
		{
			id: "htp/cast-type",
			about: "No Cast is from or to INT8, UINT16, INT16 or UINT64, but from INT16 to INT32.",
			consequence: "refused",
			measured: "models of one Cast, and of two, on v68 and v73",
			remedy: "cast to INT32, which holds the same numbers",
			broken(operator) {
				const cast = castOf(operator);
				return cast !== undefined && isRefused(cast) ? `Cast is not taken ${between(cast)}` : undefined;
			},
		},
		{
			id: "htp/cast-output",
			about: "A Cast to INT64 that is an output of the graph is from INT32 or UINT32.",
			consequence: "refused",
			measured:
				"refused from FLOAT, FLOAT16, UINT8 and BOOL, on every architecture; right by way of INT32, and in front of an Add",
			remedy: "cast to INT32 first",
			appliedBy: "legalize-operators",
			broken(operator) {
				const cast = castOf(operator);
				if (cast?.to !== INT64 || operator.node.outputs[0]?.isGraphOutput !== true) return undefined;
				return [...FLOATS, UINT8, BOOL].includes(cast.from)
					? `output '${operator.node.outputs[0].name}' is cast ${between(cast)}`
					: undefined;
			},
		},
		{
			id: "htp/cast-uint8",
			about: "No Cast is from UINT8 to FLOAT, but of what a QuantizeLinear makes.",
			consequence: "wrong",
			since: "v69",
			measured:
				"0 dB: an image as graph input, in front of Mul, Conv, Transpose and as output; right by way of INT32 or FLOAT16, 96 dB and more, behind a QuantizeLinear, and on v68",
			remedy: "cast to INT32 first",
			appliedBy: "legalize-operators",
			broken(operator) {
				const cast = castOf(operator);
				if (cast?.from !== UINT8 || cast.to !== FLOAT) return undefined;
				const producer = operator.node.inputs[0]?.producer;
				const isQuantized = producer !== undefined && isOnnxOp(producer, "QuantizeLinear");
				return isQuantized ? undefined : `it casts ${between(cast)}`;
			},
		},
		{
			id: "htp/cast-fractions",
			about:
				"No Cast reads integers that a Cast has made of floats, other Casts, Transpose, Squeeze and Unsqueeze aside: the compiler makes one Cast of both.",
			consequence: "wrong",
			measured:
				"fractions stay: 18 dB from FLOAT to INT32 or INT64 and back, 17 dB to INT32 and INT64; right with an Add, Reshape, Gather or Slice of the integers in between",
			remedy: "add 1 to the integers in between and take it off again",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				const cast = castOf(operator);
				const first = cast === undefined ? undefined : truncation(operator.node.inputs[0], context);
				return first && `it casts ${between(cast!)} what Cast '${first.name}' has made of floats`;
			},
		},
	],
};
