import { describe, expect, it } from "vitest";
import { decide } from "../../src/recipe/decide.js";
import { parseLayers } from "../../src/recipe/layers.js";
import { parseRecipe } from "../../src/recipe/parse-recipe.js";
import { layerFromNames, roleFromNames } from "../../src/recipe/role.js";
import type { Unit } from "../../src/recipe/unit.js";

function unit(more: Partial<Unit>): Unit {
	return {
		...{ kind: "weight", node: "n", op: "MatMul", graph: "main", scope: "", weight: "w", shape: [64, 64] },
		...{ role: undefined, layer: undefined },
		...more,
	};
}

function precisions(rules: string, units: readonly Unit[]): string[] {
	const recipe = parseRecipe(`default: { precision: 16a4w }\nrules:\n${rules}`, "r.yaml");
	return decide(recipe, units).decisions.map(({ setting }) => setting.precision);
}

describe("decide", () => {
	it("lets the later rule win, unless another has more priority", () => {
		const rules = (first: string) =>
			`  - { match: { op: MatMul }, precision: 8a8w${first} }\n  - { match: { weight: "w*" }, precision: 16a8w }`;
		expect(precisions(rules(""), [unit({})])).toEqual(["16a8w"]);
		expect(precisions(rules(", priority: 1"), [unit({})])).toEqual(["8a8w"]);
	});

	it("wants all conditions of a rule, and any of a list", () => {
		const rules = "  - { match: { role: [q_proj, k_proj], layers: last }, precision: 16a8w }";
		const units = [
			unit({ role: "q_proj", layer: 3 }),
			unit({ role: "k_proj", layer: 2 }),
			unit({ role: "o_proj", layer: 3 }),
			unit({ role: "k_proj" }),
		];
		expect(precisions(rules, units)).toEqual(["16a8w", "16a4w", "16a4w", "16a4w"]);
	});

	it("matches names by glob, expression and shape", () => {
		const named = unit({ node: "/layers.1/mlp/MatMul", scope: "layers.1.mlp", shape: [64, 4096] });
		for (const match of [
			'node: "*/mlp/*"',
			"node: /mlp.MatMul$/",
			'scope: "layers.?.mlp"',
			'shape: ["*", ">=4096"]',
			"shape: [64, 4096]",
		]) {
			expect(precisions(`  - { match: { ${match} }, precision: keep }`, [named]), match).toEqual(["keep"]);
		}
		for (const match of ['node: "mlp"', "scope: /^mlp/", 'shape: ["*", "<4096"]', "shape: [64]", 'weight: "x"']) {
			expect(precisions(`  - { match: { ${match} }, precision: keep }`, [named]), match).toEqual(["16a4w"]);
		}
	});

	it("keeps tables, products and caches that no rule names", () => {
		const units = (["embedding", "attention-product", "kv-cache"] as const).map((kind) =>
			unit({ kind, role: "embedding" }),
		);
		expect(precisions("  - { match: { role: lm_head }, precision: 16a8w }", units)).toEqual(["keep", "keep", "keep"]);
		expect(precisions("  - { match: { role: embedding }, precision: 16a8w }", units.slice(0, 1))).toEqual(["16a8w"]);
	});

	it("tells who lost and what matched nothing", () => {
		const recipe = parseRecipe(
			"default: { precision: keep }\nrules:\n  - { match: { op: MatMul }, precision: 8a8w }\n  - { match: { op: MatMul }, precision: 16a8w }\n  - { match: { op: Conv }, precision: 16a8w }",
			"r.yaml",
		);
		const { decisions, unmatched } = decide(recipe, [unit({})]);
		expect(decisions[0]?.overruled.map(({ line }) => line)).toEqual([3]);
		expect(unmatched.map(({ line }) => line)).toEqual([5]);
	});
});

describe("parseLayers", () => {
	it.each([
		["0-3", [0, 1, 2, 3]],
		["7", [7]],
		["first, last", [0, 9]],
		["-2", [8]],
		["8-last", [8, 9]],
		["0, 4-5", [0, 4, 5]],
	])("'%s' of ten", (text, expected) => {
		const test = parseLayers(text);
		expect([...Array(10).keys()].filter((layer) => test?.(layer, 10))).toEqual(expected);
	});

	it.each(["", "a", "3-1", "1-", "1..3"])("refuses '%s'", (text) => expect(parseLayers(text)).toBeUndefined());
});

describe("roles and layers by name", () => {
	it.each([
		["model.layers.3.self_attn.q_proj.weight", "q_proj", 3],
		["/model/layers.12/mlp/down_proj/MatMul", "down_proj", 12],
		["layers.0.attention.wq_sha.0.weight", "q_proj", 0],
		["layers.7.attention.wv.weight", "v_proj", 7],
		["layers.2.feed_forward.w2_conv.weight", "down_proj", 2],
		["layers.2.feed_forward.w1_conv.weight", "gate_proj", 2],
		["blk.5.attn_output.weight", "o_proj", 5],
		["blk.5.ffn_up.weight", "up_proj", 5],
		["bert.encoder.layer.1.attention.self.query.weight", "q_proj", 1],
		["/encoder/layer.1/attention/output/dense/MatMul", "o_proj", 1],
		["encoder.layer.1.output.dense.weight", "down_proj", 1],
		["encoder.layer.1.intermediate.dense.weight", "up_proj", 1],
		["transformer.h.4.attn.c_attn.weight", "qkv_proj", 4],
		["transformer.h.4.mlp.c_proj.weight", "down_proj", 4],
		["model.layers.3.mlp.gate_up_proj.weight", "gate_up_proj", 3],
		["lm_head.weight", "lm_head", undefined],
		["/lm_head/MatMul", "lm_head", undefined],
		["output.weight", "lm_head", undefined],
		["output.conv.weight", "lm_head", undefined],
		["model.embed_tokens.weight", "embedding", undefined],
		["conv1.weight", undefined, undefined],
	])("%s", (name, role, layer) => {
		expect(layerFromNames([name])).toBe(layer);
		expect(roleFromNames([name], layer)).toBe(role);
	});
});
