import { DataType } from "../../ir/types.js";
import { broadcast } from "../dimension.js";
import { type Shape, tensorFact } from "../fact.js";
import { all, type OperatorCall, type Rule, type RuleTable } from "../operator-call.js";

/** The output is like the first input, sequences and optionals included. */
export const likeInput: Rule = (call) => [{ type: call.type(0) }];

const predicate: Rule = (call) => [tensorFact(DataType.BOOL, call.shape(0))];

const arithmetic: Rule = (call) => [tensorFact(call.elementType(0) ?? call.elementType(1), broadcastInputs(call))];

const power: Rule = (call) => [tensorFact(call.elementType(0), broadcastInputs(call))];

const comparison: Rule = (call) => [tensorFact(DataType.BOOL, broadcastInputs(call))];

const where: Rule = (call) => [tensorFact(call.elementType(1) ?? call.elementType(2), broadcast(call.shapes()))];

const cast: Rule = (call) => [tensorFact(castType(call), call.shape(0))];

const castLike: Rule = (call) => [tensorFact(call.elementType(1), call.shape(0))];

const dropout: Rule = (call) => {
	const maskType = call.version < 10 ? call.elementType(0) : DataType.BOOL;
	return [tensorFact(call.elementType(0), call.shape(0)), tensorFact(maskType, call.shape(0))];
};

/** Before opset 7 the second input was stretched to the shape of the first, at an axis if need be. */
function broadcastInputs(call: OperatorCall): Shape | undefined {
	return call.version < 7 ? call.shape(0) : broadcast(call.shapes());
}

/** Before opset 6 the type was spelled out. */
function castType(call: OperatorCall): DataType | undefined {
	const name = call.string("to")?.toUpperCase();
	return name === undefined ? call.int("to") : DataType[name as keyof typeof DataType];
}

export const ELEMENTWISE_RULES: RuleTable = {
	...all(
		"Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Celu Clip Cos Cosh CumProd CumSum Elu Erf Exp Floor Gelu " +
			"HardSigmoid HardSwish Hardmax Identity LeakyRelu Log LogSoftmax LpNormalization LRN MeanVarianceNormalization " +
			"Mish Neg Not PRelu Reciprocal Relu ReverseSequence Round Scatter ScatterElements ScatterND Selu Shrink Sigmoid " +
			"Sign Sin Sinh Softmax Softplus Softsign Sqrt SwiGLU Swish Tan Tanh TensorScatter ThresholdedRelu Trilu " +
			"GroupNormalization InstanceNormalization RotaryEmbedding Affine ImageScaler ParametricSoftplus Scale ScaledTanh",
		likeInput,
	),
	...all("Add BitShift BitwiseAnd BitwiseOr BitwiseXor Div Max Mean Min Mod Mul Sub Sum", arithmetic),
	Pow: power,
	...all("And Equal Greater GreaterOrEqual Less LessOrEqual Or Xor", comparison),
	...all("IsInf IsNaN RegexFullMatch", predicate),
	StringConcat: arithmetic,
	Where: where,
	...all("BitCast Cast", cast),
	CastLike: castLike,
	Dropout: dropout,
};
