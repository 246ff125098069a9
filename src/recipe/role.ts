/**
 * What an operator does in a transformer. `attention_scores` and `attention_values` are the products of two activations
 * before and behind the softmax; the others are named after Hugging Face's modules.
 */
export const ROLES = [
	"q_proj",
	"k_proj",
	"v_proj",
	"qkv_proj",
	"o_proj",
	"gate_proj",
	"up_proj",
	"gate_up_proj",
	"down_proj",
	"lm_head",
	"embedding",
	"attention_scores",
	"attention_values",
	"kv_cache",
] as const;
export type Role = (typeof ROLES)[number];

/** Names of one role, as they stand between dots, slashes and underscores; the first row that matches wins. */
const NAMES: readonly (readonly [Role, readonly string[]])[] = [
	["qkv_proj", ["qkv_proj", "c_attn", "query_key_value", "wqkv", "attn_qkv", "in_proj"]],
	["gate_up_proj", ["gate_up_proj"]],
	["q_proj", ["q_proj", "wq", "attn_q", "q_lin", "self.query", "attention.query", "query_proj"]],
	["k_proj", ["k_proj", "wk", "attn_k", "k_lin", "self.key", "attention.key", "key_proj"]],
	["v_proj", ["v_proj", "wv", "attn_v", "v_lin", "self.value", "attention.value", "value_proj"]],
	[
		"o_proj",
		["o_proj", "wo", "attn_output", "out_lin", "out_proj", "attention.output.dense", "attention.dense", "attn.c_proj"],
	],
	["gate_proj", ["gate_proj", "ffn_gate", "feed_forward.w1"]],
	["up_proj", ["up_proj", "ffn_up", "feed_forward.w3", "intermediate.dense", "mlp.c_fc", "mlp.fc1", "ffn.lin1"]],
	["down_proj", ["down_proj", "ffn_down", "feed_forward.w2", "output.dense", "mlp.c_proj", "mlp.fc2", "ffn.lin2"]],
	[
		"embedding",
		["embed_tokens", "tok_embeddings", "word_embeddings", "position_embeddings", "token_embd", "wte", "wpe"],
	],
];

/** The head has no layer around it: ExecuTorch and llama.cpp call it plainly `output`. */
const HEAD_NAMES = ["lm_head", "embed_out", "output", "output.conv", "cls.predictions.decoder"];

const PATTERNS = NAMES.map(([role, names]) => [role, namesPattern(names)] as const);
const HEAD_PATTERN = namesPattern(HEAD_NAMES, "(?:[._](?:weight|conv|matmul|gemm|quant\\w*))*$");

/** The role of the operator whose names are given (its weight's, its own, its scope); undefined where none tells. */
export function roleFromNames(names: readonly string[], layer: number | undefined): Role | undefined {
	const plain = names.map((name) => name.replace(/[/:\\]+/g, ".").toLowerCase());
	const found = PATTERNS.find(([, pattern]) => plain.some((name) => pattern.test(name)))?.[0];
	if (found !== undefined) return found;
	return layer === undefined && plain.some((name) => HEAD_PATTERN.test(name)) ? "lm_head" : undefined;
}

/** The number of the layer that a name lies in: `model.layers.3.mlp`, `/encoder/layer.3/`, `blk.3.attn_q`, `h.3.attn`. */
export function layerFromNames(names: readonly string[]): number | undefined {
	for (const name of names) {
		const match = /(?:^|[._/])(?:layers?|blocks?|blk|h)[._/](\d+)(?=[._/]|$)/i.exec(name);
		if (match !== null) return Number(match[1]);
	}
	return undefined;
}

function namesPattern(names: readonly string[], end = "(?:_conv)?(?=[._]|$)"): RegExp {
	const alternatives = names.map((name) => name.replaceAll(".", "\\.")).join("|");
	return new RegExp(`(?:^|[._])(?:${alternatives})${end}`);
}
