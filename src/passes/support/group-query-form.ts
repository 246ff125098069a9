import type { TypeTable } from "../../inference/index.js";
import { floatOf, intOf } from "../../ir/attribute.js";
import type { Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import type { AttentionForm } from "./attention.js";
import { elementTypeOf, type Obstacle } from "./fusion.js";
import { isOutputUsed } from "./node-writer.js";
import type { RotaryForm, RotaryTables } from "./rotary.js";

/** A GroupQueryAttention that can be written with standard operators. */
export interface GroupQueryForm extends AttentionForm {
	readonly headSize: number;
	/** [batch, sequence, heads * size], or with keys and values behind it in one. */
	readonly query: Value;
	/** undefined: packed into the queries. */
	readonly key: Value | undefined;
	readonly value: Value | undefined;
	/** [batch, key heads, past, size]; undefined: there is no past. */
	readonly past: { readonly key: Value; readonly value: Value } | undefined;
	readonly rotary: (RotaryForm & { readonly caches: RotaryTables }) | undefined;
	/** [batch, sequence]; undefined: one after the other behind the past. */
	readonly positions: Value | undefined;
	readonly attentionBias: Value | undefined;
	readonly sink: Value | undefined;
	/** Is there a logit of 0 that has no value? */
	readonly isSmooth: boolean;
	/** An element sees so many, itself included; 0: all before it. */
	readonly window: number;
	/** Scales of RMS normalizations of each head's queries and keys. */
	readonly norm: { readonly query: Value; readonly key: Value; readonly epsilon: number } | undefined;
}

/** Inputs of GroupQueryAttention. */
const INPUT = {
	query: 0,
	key: 1,
	value: 2,
	pastKey: 3,
	pastValue: 4,
	lengths: 5,
	cos: 7,
	sin: 8,
	positions: 9,
	bias: 10,
	sink: 11,
	keyScale: 12,
	valueScale: 13,
	queryNorm: 14,
	keyNorm: 15,
} as const;

/** Of queries and keys. */
const DEFAULT_NORM_EPSILON = 1e-6;

/** What `node`, a GroupQueryAttention, computes, or why it stays. */
export function groupQueryForm(node: Node, types: TypeTable): GroupQueryForm | Obstacle {
	const at = (name: keyof typeof INPUT) => node.inputs[INPUT[name]];
	const [query, key, value] = [at("query"), at("key"), at("value")];
	const [heads, keyHeads] = [intOf(node, "num_heads", 0), intOf(node, "kv_num_heads", 0)];
	if (heads < 1 || keyHeads < 1 || heads % keyHeads !== 0) {
		return unsupported(
			`it has ${heads} heads for ${keyHeads} heads of keys, expected as many for each; set num_heads and kv_num_heads as the model has them`,
		);
	}
	if (query === undefined || (key === undefined) !== (value === undefined)) {
		const given = [query, key, value].map((input) => (input === undefined ? "none" : "some")).join(", ");
		return unsupported(
			`of queries, keys and values it has ${given}, expected all three, or the first alone with all in it; ${EXPORT_AGAIN}`,
		);
	}
	const refusal = refusalOf(node);
	if (refusal !== undefined) return unsupported(refusal);
	const dtype = elementTypeOf(query, types);
	if (dtype !== DataType.FLOAT && dtype !== DataType.FLOAT16)
		return unsupported(
			"its queries are neither FLOAT nor FLOAT16; 'qgraph llm' makes BFLOAT16 models FLOAT, other types are not covered",
		);
	const shape = types.shapeOf(query);
	const width = shape?.[2];
	const headSize = typeof width === "number" ? width / (key === undefined ? heads + 2 * keyHeads : heads) : undefined;
	if (headSize === undefined || !Number.isInteger(headSize)) {
		return {
			code: "lower/shape",
			message: `the width of its queries is ${String(width ?? "not known")}, expected a number of whole heads; ${width === undefined ? "give the shapes of inputs lengths ('qgraph convert --fix-shapes')" : "set num_heads and kv_num_heads as the model has them"}`,
		};
	}
	const [pastKey, pastValue] = [at("pastKey"), at("pastValue")];
	if ((pastKey === undefined) !== (pastValue === undefined))
		return unsupported(
			`it has a past of ${pastKey === undefined ? "values" : "keys"} alone, expected both or none; ${EXPORT_AGAIN}`,
		);
	const obstacle = pastKey && pastObstacle(node, pastKey, types);
	if (obstacle !== undefined) return obstacle;
	const rotary = rotaryOf(node, headSize, types);
	if (rotary !== undefined && "code" in rotary) return rotary;
	const [queryNorm, keyNorm] = [at("queryNorm"), at("keyNorm")];
	return {
		heads,
		keyHeads,
		headSize,
		dtype,
		scale: floatOf(node, "scale", 0) || 1 / Math.sqrt(headSize),
		softcap: floatOf(node, "softcap", 0),
		query,
		key,
		value,
		past: pastKey && pastValue && { key: pastKey, value: pastValue },
		rotary,
		positions: at("positions"),
		attentionBias: at("bias"),
		sink: at("sink"),
		isSmooth: intOf(node, "smooth_softmax", 0) > 0,
		window: Math.max(0, intOf(node, "local_window_size", -1)),
		norm: queryNorm &&
			keyNorm && { query: queryNorm, key: keyNorm, epsilon: floatOf(node, "qk_norm_epsilon", DEFAULT_NORM_EPSILON) },
	};
}

/** What to do where an input is missing that every exporter writes. */
const EXPORT_AGAIN = "export the model again";

function unsupported(message: string): Obstacle {
	return { code: "lower/unsupported", message };
}

function refusalOf(node: Node): string | undefined {
	if (node.inputs[INPUT.keyScale] !== undefined || node.inputs[INPUT.valueScale] !== undefined) {
		return "its cache is quantized, with scales of its own (k_scale, v_scale), expected one of floats; build the model without a quantized cache, 'qgraph llm --kv u8' quantizes it";
	}
	if ((node.inputs[INPUT.queryNorm] === undefined) !== (node.inputs[INPUT.keyNorm] === undefined)) {
		return "it normalizes queries or keys alone, expected q_norm_weight and k_norm_weight, or neither; give the other one a weight, or normalize in front of it";
	}
	return isOutputUsed(node, 3)
		? "its scores are used as an output, which its standard form does not give; remove what reads them"
		: undefined;
}

/** A past is put in front of the present, which is as much longer; only sequences that all have the same length have that. */
function pastObstacle(node: Node, past: Value, types: TypeTable): Obstacle | undefined {
	const batch = types.shapeOf(node.inputs[INPUT.query]!)?.[0] ?? types.shapeOf(past)?.[0];
	if (batch !== 1) {
		const message = `its batch is ${String(batch ?? "not known")}, expected 1: sequences of a batch may have pasts of different lengths; fix it ('qgraph convert --fix-shapes --dim ${typeof batch === "string" ? batch : "batch"}=1')`;
		return { code: "lower/shape", message };
	}
	const length = types.shapeOf(past)?.[2];
	const present = node.outputs[1] && types.shapeOf(node.outputs[1])?.[2];
	if (typeof length !== "number" || length !== present) return undefined;
	return unsupported(
		`past and present share a cache of ${length} positions, which only an operator that knows how many are filled can use, expected a present as much longer as there are new tokens; let the lengths of pasts be dynamic`,
	);
}

function rotaryOf(node: Node, headSize: number, types: TypeTable): GroupQueryForm["rotary"] | Obstacle {
	if (intOf(node, "do_rotary", 0) === 0) return undefined;
	const [cos, sin] = [node.inputs[INPUT.cos], node.inputs[INPUT.sin]];
	const pairs = cos && types.shapeOf(cos)?.[1];
	if (cos === undefined || sin === undefined || typeof pairs !== "number" || 2 * pairs > headSize) {
		return {
			code: "lower/shape",
			message: `it turns queries and keys by tables of ${typeof pairs === "number" ? pairs : "an unknown number of"} columns, expected ${headSize / 2} at most, half a head; make the tables constants ('qgraph convert --fold-constants')`,
		};
	}
	const isInterleaved = intOf(node, "rotary_interleaved", 0) !== 0;
	return { headSize, rotatedSize: 2 * pairs, isInterleaved, caches: { cos, sin } };
}
