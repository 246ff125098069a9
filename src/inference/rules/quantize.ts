import { DataType } from "../../ir/types.js";
import { tensorFact } from "../fact.js";
import type { OperatorCall, Rule, RuleTable } from "../operator-call.js";

const quantizeLinear: Rule = (call) => [tensorFact(quantizedType(call), call.shape(0))];

/** The zero point's type, else what `output_dtype` says, else uint8. */
function quantizedType(call: OperatorCall): DataType | undefined {
	if (call.has(2)) return call.elementType(2);
	return call.int("output_dtype") || DataType.UINT8;
}

/** Floats of the type that `output_dtype` says, else of the scale's, which before opset 19 was always float. */
const dequantizeLinear: Rule = (call) => [tensorFact(call.int("output_dtype") || call.elementType(1), call.shape(0))];

const dynamicQuantizeLinear: Rule = (call) => [
	tensorFact(DataType.UINT8, call.shape(0)),
	tensorFact(DataType.FLOAT, []),
	tensorFact(DataType.UINT8, []),
];

export const QUANTIZE_RULES: RuleTable = {
	QuantizeLinear: quantizeLinear,
	DequantizeLinear: dequantizeLinear,
	DynamicQuantizeLinear: dynamicQuantizeLinear,
};
