import { DataType } from "../../ir/types.js";
import { broadcast, product, quotient } from "../dimension.js";
import { type Fact, type Shape, tensorFact } from "../fact.js";
import { all, type OperatorCall, type Rule, type RuleTable } from "../operator-call.js";
import { CONTRIB_ATTENTION_RULES } from "./attention.js";
import { likeInput } from "./elementwise.js";
import { gatherShape } from "./gather.js";
import { matMulShape, quantizedLstm } from "./linear.js";
import { statisticsShape } from "./normalization.js";
import { concatShapes, shaped } from "./shape.js";

/** A matrix multiplication by packed weights: [..., K] becomes [..., N]. */
const matMulPacked: Rule = (call) => {
	const input = call.shape(0);
	return [tensorFact(call.elementType(0), input && [...input.slice(0, -1), call.int("N")])];
};

function fusedMatMul(call: OperatorCall): Shape | undefined {
	const operand = (index: number, letter: string): Shape | undefined => {
		const shape = call.int(`transBatch${letter}`) ? rowsBehindBatch(call.shape(index)) : call.shape(index);
		return transposed(shape, call.int(`trans${letter}`) === 1);
	};
	return matMulShape(operand(0, "A"), operand(1, "B"));
}

/** [rows, batch ..., columns] becomes [batch ..., rows, columns]. */
function rowsBehindBatch(shape: Shape | undefined): Shape | undefined {
	return shape && shape.length > 2 ? [...shape.slice(1, -1), shape[0], shape.at(-1)] : shape;
}

/** The last two dimensions swapped; vectors stay. */
function transposed(shape: Shape | undefined, swaps: boolean): Shape | undefined {
	if (!swaps || shape === undefined || shape.length < 2) return shape;
	return [...shape.slice(0, -2), shape.at(-1), shape.at(-2)];
}

/** Y, mean, inverse deviation, and the sum that was normalized. */
const skipLayerNormalization: Rule = (call) => {
	const statistics = tensorFact(DataType.FLOAT, statisticsShape(call, call.shape(0)));
	const like: Fact = { type: call.type(0) };
	return [like, statistics, statistics, like];
};

/** Y has the type of the scale. */
const simplifiedLayerNormalization: Rule = (call) => [
	tensorFact(call.elementType(1) ?? call.elementType(0), call.shape(0)),
	tensorFact(call.int("stash_type") ?? DataType.FLOAT, statisticsShape(call, call.shape(0))),
];

/** Rows of a table of packed integers: 4-bit codes in bytes take two a byte. */
const gatherBlockQuantized: Rule = (call) => {
	const data = call.shape(0);
	const bits = call.int("bits") ?? 4;
	const isPacked = call.elementType(0) === DataType.UINT8;
	const codes = data && isPacked ? [...data.slice(0, -1), product([data.at(-1), 8 / bits])] : data;
	return [tensorFact(call.elementType(2), gatherShape(codes, call.shape(1), call.int("gather_axis") ?? 0))];
};

const embedLayerNormalization: Rule = (call) => {
	const ids = call.shape(0);
	const width = call.shape(2)?.[1];
	const embedded = tensorFact(call.elementType(2), ids && [ids[0], ids[1], width]);
	return [embedded, tensorFact(DataType.INT32, ids && [ids[0]]), embedded];
};

const biasSplitGelu: Rule = (call) => {
	const input = call.shape(0);
	return [tensorFact(call.elementType(0), input && [...input.slice(0, -1), quotient([input.at(-1)], [2])])];
};

/** A, its scale and zero point, then the same of B. */
const quantizedArithmetic: Rule = (call) => [
	tensorFact(call.elementType(0), broadcast([call.shape(0), call.shape(3)])),
];

/** Scale and zero point of the result, then each input with its own two. */
const quantizedConcat: Rule = (call) => {
	const count = Math.floor((call.inputCount - 2) / 3);
	const shapes = Array.from({ length: count }, (_, index) => call.shape(2 + 3 * index));
	return [tensorFact(call.elementType(2), concatShapes(shapes, call.int("axis") ?? 0))];
};

const quantizedGlobalPool: Rule = (call) => {
	const input = call.shape(0);
	const isChannelsLast = call.int("channels_last") === 1;
	const isKept = (axis: number): boolean => axis === 0 || axis === (isChannelsLast ? input!.length - 1 : 1);
	return [
		tensorFact(
			call.elementType(0),
			input?.map((dimension, axis) => (isKept(axis) ? dimension : 1)),
		),
	];
};

const dynamicQuantizeMatMul: Rule = (call) => [
	tensorFact(call.elementType(0), matMulShape(call.shape(0), call.shape(1))),
];

const matMulIntegerToFloat: Rule = (call) => [
	tensorFact(call.elementType(2), matMulShape(call.shape(0), call.shape(1))),
];

/** Operators of the domain com.microsoft, as ONNX Runtime's optimizer and exporters write them. */
export const CONTRIB_RULES: RuleTable = {
	...all("MatMulNBits MatMulBnb4 MatMulFpQ4", matMulPacked),
	FusedMatMul: shaped(fusedMatMul),
	TransposeMatMul: shaped(fusedMatMul),
	...CONTRIB_ATTENTION_RULES,
	...all(
		"Gelu FastGelu BiasGelu QuickGelu BiasSoftmax RotaryEmbedding BiasAdd GroupNorm QLinearLeakyRelu QLinearSigmoid " +
			"QLinearSoftmax",
		likeInput,
	),
	...all("QLinearAdd QLinearMul", quantizedArithmetic),
	QLinearConcat: quantizedConcat,
	QLinearGlobalAveragePool: quantizedGlobalPool,
	...all("SkipLayerNormalization SkipSimplifiedLayerNormalization", skipLayerNormalization),
	SimplifiedLayerNormalization: simplifiedLayerNormalization,
	GatherBlockQuantized: gatherBlockQuantized,
	EmbedLayerNormalization: embedLayerNormalization,
	BiasSplitGelu: biasSplitGelu,
	DynamicQuantizeLSTM: quantizedLstm,
	DynamicQuantizeMatMul: dynamicQuantizeMatMul,
	MatMulIntegerToFloat: matMulIntegerToFloat,
};
