import { DataType } from "../../ir/types.js";
import { product, quotient, sum } from "../dimension.js";
import { type Fact, type Shape, tensorFact } from "../fact.js";
import { all, type OperatorCall, type Rule, type RuleTable } from "../operator-call.js";
import { likeInput } from "./elementwise.js";
import { gatherShape } from "./gather.js";
import { matMulShape } from "./linear.js";
import { statisticsShape } from "./normalization.js";
import { shaped } from "./shape.js";

/** A matrix multiplication by packed weights: [..., K] becomes [..., N]. */
const matMulPacked: Rule = (call) => {
	const input = call.shape(0);
	return [tensorFact(call.elementType(0), input && [...input.slice(0, -1), call.int("N")])];
};

function fusedMatMul(call: OperatorCall): Shape | undefined {
	if (call.int("transBatchA") || call.int("transBatchB")) return undefined;
	const a = transposed(call.shape(0), call.int("transA") === 1);
	return matMulShape(a, transposed(call.shape(1), call.int("transB") === 1));
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

/** Queries [batch, sequence, heads * size], or all three packed into that input where keys are absent. */
const groupQueryAttention: Rule = (call) => {
	const query = call.shape(0);
	const heads = call.int("num_heads");
	const keyHeads = call.int("kv_num_heads");
	const width = call.has(1) ? query?.[2] : packedWidth(query, heads, keyHeads);
	const size = heads === undefined ? undefined : quotient([width], [heads]);
	const total = presentLength(call);
	const present = query && tensorFact(call.elementType(3) ?? call.elementType(0), [query[0], keyHeads, total, size]);
	return [
		tensorFact(call.elementType(0), query && [query[0], query[1], width]),
		present ?? { type: undefined },
		present ?? { type: undefined },
	];
};

/** How much of [batch, sequence, (heads + 2 * key heads) * size] is queries. */
function packedWidth(
	query: Shape | undefined,
	heads: number | undefined,
	keyHeads: number | undefined,
): number | undefined {
	const width = query?.[2];
	if (typeof width !== "number" || heads === undefined || keyHeads === undefined) return undefined;
	return (width / (heads + 2 * keyHeads)) * heads;
}

/** The cache is as long as it was where past and present share it, else at least as long as the sequence in total. */
function presentLength(call: OperatorCall): Shape[number] {
	if (!call.has(3)) return undefined;
	const past = call.shape(3)?.[2];
	const total = call.elements(6)?.[0];
	if (typeof past === "number" && typeof total === "number") return Math.max(past, total);
	return undefined;
}

/** Query, key and value apart: the result is as wide as the value. */
const multiHeadAttention: Rule = (call) => {
	const [query, key, value] = [call.shape(0), call.shape(1), call.shape(2)];
	const heads = call.int("num_heads");
	if (query?.length !== 3) return [tensorFact(call.elementType(0), undefined)];
	const width = value?.length === 3 ? value[2] : value?.length === 4 ? product([value[1], value[3]]) : query[2];
	const size = heads === undefined ? undefined : quotient([width], [heads]);
	const length = key?.length === 3 ? key[1] : key?.length === 4 ? key[2] : undefined;
	const past = call.has(6) ? call.shape(6)?.[2] : 0;
	const present = tensorFact(call.elementType(0), [query[0], heads, sum([past, length]), size]);
	return [tensorFact(call.elementType(0), [query[0], query[1], width]), present, present];
};

/** Input [batch, sequence, width] and weights [width, queries + keys + values] in one. */
const packedAttention: Rule = (call) => {
	const [input, weight] = [call.shape(0), call.shape(1)];
	const sizes = call.ints("qkv_hidden_sizes");
	const width = sizes?.[2] ?? quotient([weight?.[1]], [3]);
	return [tensorFact(call.elementType(0), input?.length === 3 ? [input[0], input[1], width] : undefined)];
};

/** Rows of a table of packed integers: 4-bit codes in bytes take two a byte. */
const gatherBlockQuantized: Rule = (call) => {
	const data = call.shape(0);
	const bits = call.int("bits") ?? 4;
	const isPacked = call.elementType(0) === DataType.UINT8;
	const codes = data && isPacked ? data.with(-1, product([data.at(-1), 8 / bits])) : data;
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
	...all(
		"Gelu FastGelu BiasGelu QuickGelu BiasSoftmax RotaryEmbedding Rotary BiasAdd GroupNorm QLinearLeakyRelu QLinearSigmoid QLinearSoftmax",
		likeInput,
	),
	...all("SkipLayerNormalization SkipSimplifiedLayerNormalization EmbedSkipLayerNormalization", skipLayerNormalization),
	SimplifiedLayerNormalization: simplifiedLayerNormalization,
	GroupQueryAttention: groupQueryAttention,
	MultiHeadAttention: multiHeadAttention,
	Attention: packedAttention,
	GatherBlockQuantized: gatherBlockQuantized,
	EmbedLayerNormalization: embedLayerNormalization,
	BiasSplitGelu: biasSplitGelu,
	DynamicQuantizeMatMul: dynamicQuantizeMatMul,
	MatMulIntegerToFloat: matMulIntegerToFloat,
};
