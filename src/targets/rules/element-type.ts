import { hasSubgraphs } from "../../ir/attribute.js";
import { isOnnxOp, isStandardDomain } from "../../ir/node.js";
import { DataType, dataTypeName } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { TAKEN_TYPES } from "../element-types.js";
import type { KnownValues } from "../known-values.js";
import type { OperatorFacts } from "../operator-facts.js";
import { REFUSED_INTEGERS } from "../operator-table.js";
import type { RuleGroup } from "../rule.js";

/** Operators that have rules of their own, or none about the types of what they compute on. */
const ELSEWHERE = ["Cast", "CastLike", "Constant", "QuantizeLinear", "DequantizeLinear", "Shape", "Size"];

const {
	BFLOAT16,
	FLOAT8E4M3FN,
	FLOAT8E4M3FNUZ,
	FLOAT8E5M2,
	FLOAT8E5M2FNUZ,
	FLOAT8E8M0,
	FLOAT4E2M1,
	INT4,
	UINT4,
	INT2,
	UINT2,
	STRING,
	COMPLEX64,
	COMPLEX128,
} = DataType;

/** Types that the compiler has no operator for. */
const UNKNOWN_TYPES: readonly (DataType | undefined)[] = [
	...[BFLOAT16, FLOAT8E4M3FN, FLOAT8E4M3FNUZ, FLOAT8E5M2, FLOAT8E5M2FNUZ, FLOAT8E8M0, FLOAT4E2M1, INT2, UINT2],
	...[STRING, COMPLEX64, COMPLEX128],
];

const FOUR_BITS: readonly (DataType | undefined)[] = [INT4, UINT4];

/** A type of what the operator reads or makes that none takes; of four bits only quantizers and dequantizers do. */
function unknownType({ node, inputs, outputs }: OperatorFacts): DataType | undefined {
	const isQuantizer = isOnnxOp(node, "QuantizeLinear", "DequantizeLinear");
	const types = [...inputs, ...outputs].map((operand) => operand?.dtype);
	return types.find((dtype) => UNKNOWN_TYPES.includes(dtype) || (!isQuantizer && FOUR_BITS.includes(dtype)));
}

const CODES: readonly (DataType | undefined)[] = [DataType.INT8, DataType.UINT8, DataType.INT16, DataType.UINT16];

/** Has `value` to do with quantizers: does it come out of one, or go into one, other operators in between aside? */
function isCode(value: Value): boolean {
	for (let at: Value | undefined = value; at?.producer !== undefined; at = at.producer.inputs[0]) {
		if (isOnnxOp(at.producer, "QuantizeLinear")) return true;
	}
	for (let at: Value | undefined = value; at !== undefined; at = at.uses[0]?.node.outputs[0]) {
		if (at.uses.some(({ node }) => isOnnxOp(node, "DequantizeLinear"))) return true;
	}
	return false;
}

/** The element type that the operator is refused with. */
function refusedType(operator: OperatorFacts): DataType | undefined {
	const { node, inputs, outputs } = operator;
	const [output] = outputs;
	const unknown = isStandardDomain(node.op.domain) ? unknownType(operator) : undefined;
	if (unknown !== undefined) return unknown;
	if (isOnnxOp(node, "Cast", "CastLike")) {
		return [inputs[0]?.dtype, output?.dtype].find((dtype) => dtype === DataType.DOUBLE);
	}
	if (
		node.op.type.startsWith("QLinear") ||
		isOnnxOp(node, ...ELSEWHERE, ...REFUSED_INTEGERS) ||
		hasSubgraphs(node) ||
		!isStandardDomain(node.op.domain)
	)
		return undefined;
	const data = inputs[isOnnxOp(node, "Where") ? 1 : 0];
	const taken = data?.dtype === undefined ? undefined : TAKEN_TYPES[data.dtype];
	if (data === undefined || taken === undefined || taken.includes(node.op.type)) return undefined;
	return CODES.includes(data.dtype) && isCode(data.value) ? undefined : data.dtype;
}

/** What an operand is, where it is no tensor: a sequence, say. */
function kindOf({ node, inputs, outputs }: OperatorFacts): string | undefined {
	if (hasSubgraphs(node)) return undefined;
	const kinds = [...inputs, ...outputs].map((operand) => operand?.value.type?.kind);
	return kinds.find((kind) => kind !== undefined && kind !== "tensor" && kind !== "unknown");
}

/** What is at fault where the type that the operator is refused with is one that `matches`. */
function notTaken(
	operator: OperatorFacts,
	known: KnownValues,
	matches: (dtype: DataType) => boolean,
): string | undefined {
	const dtype = known.isFolded(operator.node) ? undefined : refusedType(operator);
	if (dtype === undefined || !matches(dtype)) return undefined;
	return `operator ${operator.node.op.type} is not taken on ${dataTypeName(dtype)}`;
}

export const ELEMENT_TYPE_RULES: RuleGroup = {
	title: "Types of numbers",
	rules: [
		{
			id: "htp/double",
			about: "Nothing is computed in DOUBLE.",
			consequence: "refused",
			measured: "every operator between inputs and outputs of DOUBLE, among 1,573 models of one operator, on v73",
			remedy: "compute it in FLOAT; inputs of DOUBLE, which callers give, are yours to change",
			appliedBy: "narrow-doubles",
			broken: (operator, { known }) => notTaken(operator, known, (dtype) => dtype === DataType.DOUBLE),
		},
		{
			id: "htp/element-type",
			about:
				"Only tensors are taken, not sequences, optionals and sparse tensors. Nothing is computed in UINT64, BFLOAT16, FLOAT8, FLOAT4, STRING, complex numbers or of 2 bits, and of 4 bits only codes are. What are no codes of quantizers is FLOAT, FLOAT16, or of an integer type that the operator takes: INT32 and INT64 for arithmetic, comparisons, sums and what moves elements, not for MatMul, Pow, Neg, Pad, Relu, Sign, Resize, means, TopK and ArgMin; UINT32 and BOOL for what moves elements and little else; INT8, UINT8, INT16 and UINT16 hardly at all.",
			consequence: "refused",
			measured:
				"models of one operator between inputs and outputs of one type, 1,573 of them, on v73; 160 with small types on v79",
			remedy: "compute it in FLOAT or INT32",
			broken(operator, { known }) {
				const kind = kindOf(operator);
				if (kind !== undefined) return `operator ${operator.node.op.type} is not taken on a value of kind ${kind}`;
				return notTaken(operator, known, (dtype) => dtype !== DataType.DOUBLE);
			},
		},
	],
};
