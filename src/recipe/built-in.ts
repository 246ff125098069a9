import type { BlockSize, Precision } from "./precision.js";
import { type Match, type Recipe, type Rule, type Setting, settingOf } from "./recipe.js";
import type { Role } from "./role.js";

/**
 * Recipes by model family: what ExecuTorch's examples found good enough at least size, by role and layer, so that names
 * of Hugging Face, ExecuTorch and llama.cpp fit alike. Source: ExecuTorch, August 2026, static_llm_quant_recipe.py.
 */
export const BUILT_IN_RECIPES: readonly Recipe[] = [
	family("llama3.2-1b", "Llama 3.2 1B", block(32), [head(), promote("down_proj", "0-3"), kv8()]),
	family("llama3.2-3b", "Llama 3.2 3B", block(32), [head(), promote("down_proj", "21-27"), kv8()]),
	family("qwen2.5-0.5b", "Qwen 2.5 0.5B", block(16), []),
	family("qwen2.5-1.5b", "Qwen 2.5 1.5B", block(16), [head()]),
	family("qwen3-0.6b", "Qwen 3 0.6B", block(32), [promote("down_proj")]),
	family("qwen3-1.7b", "Qwen 3 1.7B", block(16), [head(), kv8()]),
	family("gemma-2b", "Gemma 2B", block(64), [promote("v_proj"), head(), kv8()]),
	family("gemma2-2b", "Gemma 2 2B", block(32), [promote("v_proj"), kv8()]),
	family("gemma3-1b", "Gemma 3 1B", block(64), [promote("v_proj"), kv8()]),
	family("phi-4-mini", "Phi-4-mini", block(16), [promote("v_proj", undefined, "8a4w"), head(), kv8()]),
	family("smollm2-135m", "SmolLM 2 135M", settingOf("16a8w"), []),
	family("smollm3-3b", "SmolLM 3 3B", block(32), [
		promote("q_proj"),
		promote("k_proj"),
		promote("v_proj"),
		head(),
		kv8(),
	]),
	family("granite3.3-2b", "Granite 3.3 2B", block(64), [promote("v_proj"), kv8()]),
	family("glm-1.5b", "GLM 1.5B", block(32), [head(), kv8()]),
];

function family(name: string, models: string, standard: Setting, rules: readonly Rule[]): Recipe {
	return { name, description: `${models}: what ExecuTorch's example for it uses`, default: standard, rules };
}

function block(blockSize: BlockSize): Setting {
	return settingOf("16a4w_block", { blockSize });
}

function rule(match: Match, precision: Precision, reason: string): Rule {
	return { match, setting: settingOf(precision), priority: 0, reason, line: 0 };
}

function head(): Rule {
	return rule({ role: ["lm_head"] }, "16a8w", "errors of the head go into every logit");
}

function promote(role: Role, layers?: string, precision: Precision = "16a8w"): Rule {
	const match = layers === undefined ? { role: [role] } : { role: [role], layers };
	return rule(match, precision, "among the least exact at 4 bits");
}

/** Keys and values as 8-bit integers: the right side of both products of an attention. */
function kv8(): Rule {
	const role: readonly Role[] = ["attention_scores", "attention_values", "kv_cache"];
	return rule({ role }, "16a8w", "an 8-bit cache of keys and values");
}
