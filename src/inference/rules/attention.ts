import type { Dimension } from "../../ir/types.js";
import { product, quotient, sum } from "../dimension.js";
import { NOTHING, type Shape, tensorFact } from "../fact.js";
import type { OperatorCall, Rule, RuleTable } from "../operator-call.js";

/**
 * Attention of opset 23 on [batch, heads, sequence, size] or [batch, sequence, heads * size]: the result, the keys and values
 * with those of the past in front, and the scores.
 */
const attention: Rule = (call) => {
	const [query, key, value] = [0, 1, 2].map((index) => heads(call, index));
	const pastLength = call.has(4) ? call.shape(4)?.[2] : 0;
	const batch = query?.batch;
	const total = sum([pastLength, key?.length]);
	const result =
		call.shape(0)?.length === 3
			? [batch, query?.length, product([query?.heads, value?.size])]
			: [batch, query?.heads, query?.length, value?.size];
	return [
		tensorFact(call.elementType(0), query && result),
		tensorFact(call.elementType(1), key && [key.batch, key.heads, total, key.size]),
		tensorFact(call.elementType(2), value && [value.batch, value.heads, total, value.size]),
		tensorFact(call.elementType(0), query && [batch, query.heads, query.length, total]),
	];
};

interface Heads {
	readonly batch: Dimension;
	readonly heads: Dimension;
	readonly length: Dimension;
	readonly size: Dimension;
}

function heads(call: OperatorCall, index: number): Heads | undefined {
	const shape = call.shape(index);
	if (shape?.length === 4) return { batch: shape[0], heads: shape[1], length: shape[2], size: shape[3] };
	if (shape?.length !== 3) return undefined;
	const count = call.int(index === 0 ? "q_num_heads" : "kv_num_heads");
	return {
		batch: shape[0],
		heads: count,
		length: shape[1],
		size: count === undefined ? undefined : quotient([shape[2]], [count]),
	};
}

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
		present ?? NOTHING,
		present ?? NOTHING,
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

/**
 * Query, key and value [batch, sequence, heads * size], keys and values also [batch, heads, sequence, size], or packed:
 * queries, keys and values [batch, sequence, heads, 3, size], keys and values [batch, sequence, heads, 2, size].
 */
const multiHeadAttention: Rule = (call) => {
	const [query, key, value] = [call.shape(0), call.shape(1), call.shape(2)];
	if (query?.length !== 3 && query?.length !== 5) return [tensorFact(call.elementType(0), undefined)];
	const heads = call.int("num_heads");
	const packed = query.length === 5 ? query : key?.length === 5 ? key : undefined;
	const size = packed?.[4] ?? (value?.length === 4 ? value[3] : quotient([value?.[2]], [heads]));
	const own = packed?.[1] ?? (key?.length === 4 ? key[2] : key?.[1]);
	const past = call.has(6) ? call.shape(6)?.[2] : 0;
	// With the length of the past as an input, the cache is one buffer, longer than what is in it.
	const total = call.has(8) ? past : sum([past, own]);
	const present = tensorFact(call.elementType(0), [query[0], heads, total, size]);
	return [tensorFact(call.elementType(0), [query[0], query[1], product([heads, size])]), present, present];
};

/**
 * Input [batch, sequence, width] and weights [width, queries + keys + values] in one; the past and the present are keys and
 * values in one, [2, batch, heads, length, size].
 */
const packedAttention: Rule = (call) => {
	const [input, weight] = [call.shape(0), call.shape(1)];
	if (input?.length !== 3) return [tensorFact(call.elementType(0), undefined)];
	const sizes = call.ints("qkv_hidden_sizes");
	const width = sizes?.[2] ?? quotient([weight?.[1]], [3]);
	const heads = call.int("num_heads");
	const past = call.has(4) ? call.shape(4)?.[3] : 0;
	const total = call.has(6) ? past : sum([past, input[1]]);
	const present = [2, input[0], heads, total, quotient([width], [heads])];
	return [tensorFact(call.elementType(0), [input[0], input[1], width]), tensorFact(call.elementType(0), present)];
};

/**
 * Linear attention of packed heads: the result is as wide as the queries' heads times the size of a value, the state is
 * [batch, heads, size of a key, size of a value].
 */
const linearAttention: Rule = (call) => {
	const [query, key, value] = [call.shape(0), call.shape(1), call.shape(2)];
	const [queryHeads, heads] = [call.int("q_num_heads"), call.int("kv_num_heads")];
	if (queryHeads === undefined || heads === undefined) return [];
	const valueSize = quotient([value?.[2]], [heads]);
	return [
		tensorFact(call.elementType(0), [query?.[0], query?.[1], product([queryHeads, valueSize])]),
		tensorFact(call.elementType(3) ?? call.elementType(0), [
			query?.[0],
			heads,
			quotient([key?.[2]], [heads]),
			valueSize,
		]),
	];
};

/** The result, and the last kernel - 1 positions for the next call. */
const causalConvolution: Rule = (call) => {
	const input = call.shape(0);
	const kernel = call.shape(1)?.[2];
	const kept = typeof kernel === "number" ? kernel - 1 : undefined;
	return [{ type: call.type(0) }, tensorFact(call.elementType(0), [input?.[0], input?.[1], kept])];
};

export const ATTENTION_RULES: RuleTable = {
	Attention: attention,
	LinearAttention: linearAttention,
	CausalConvWithState: causalConvolution,
};

/** Those of com.microsoft. */
export const CONTRIB_ATTENTION_RULES: RuleTable = {
	GroupQueryAttention: groupQueryAttention,
	MultiHeadAttention: multiHeadAttention,
	Attention: packedAttention,
};
