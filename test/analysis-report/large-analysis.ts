import { settingOf } from "../../src/recipe/recipe.js";
import type { Analysis, AnalyzedUnit, ParetoEntry } from "../../src/sensitivity/analysis.js";
import { mixedSource } from "../support/random.js";
import { sampleAnalysis } from "../support/sample-analysis.js";

const BLOCKS = [128, 64, 32, 16] as const;
const CANDIDATES = [...BLOCKS.map((size) => `16a4w_block:${size}`), "16a4w", "16a8w"];
const ROLES = [
	"qkv_proj",
	"attention_scores",
	"attention_values",
	"o_proj",
	"gate_proj",
	"up_proj",
	"down_proj",
] as const;

/** A made-up analysis of a decoder of so many layers, 8 units each. */
export function largeAnalysis(layers: number): Analysis {
	const random = mixedSource(layers);
	const units = [
		unitOf("model.embed_tokens.weight", "embedding", "embedding", null, random),
		...Array.from({ length: layers }, (_, layer) => [
			...ROLES.map((role) => {
				const isProduct = role.startsWith("attention");
				const part = isProduct
					? `self_attn.${role}`
					: /qkv|o_proj/.test(role)
						? `self_attn.${role}.weight`
						: `mlp.${role}.weight`;
				return unitOf(`model.layers.${layer}.${part}`, isProduct ? "attention-product" : "weight", role, layer, random);
			}),
			unitOf(`model.layers.${layer}.kv_cache`, "kv-cache", "kv_cache", layer, random),
		]).flat(),
		unitOf("lm_head.weight", "weight", "lm_head", null, random),
	];
	const bytesOf = (bits: number) => units.length * 1e6 * (bits / 8) + 4e6;
	const point = (
		kind: ParetoEntry["kind"],
		label: string,
		bits: number,
		db: number,
		isChosen = false,
	): ParetoEntry => ({
		kind,
		label,
		bytes: bytesOf(bits),
		bitsPerWeight: bits,
		predictedSqnrDb: db,
		chanceDb: null,
		measuredSqnrDb: isChosen || kind === "single" || kind === "base" ? db - 0.7 : null,
		isChosen,
	});
	return {
		...sampleAnalysis(),
		model: { file: "llama-3.2-1b.onnx", bytes: units.length * 4e6, parameters: units.length * 1e6 },
		candidates: CANDIDATES,
		units,
		suggestions: [
			{
				...sampleAnalysis().suggestions[0]!,
				bytes: bytesOf(4.5),
				predictedSqnrDb: 19.6,
				measuredSqnrDb: 18.9,
				chanceDb: 0.4,
				promoted: units.filter(({ suggestion }) => suggestion?.change === "promoted").length,
				demoted: units.filter(({ suggestion }) => suggestion?.change === "demoted").length,
			},
		],
		points: [
			point("single", "16a4w", 4.02, 9.8),
			point("single", "16a4w_block:128", 4.13, 12.4),
			point("plan", "plan 4.15 bits a weight", 4.15, 14.2),
			point("base", "16a4w_block:64", 4.25, 13.3),
			point("single", "16a4w_block:64", 4.25, 13.3),
			point("plan", "plan 4.30 bits a weight", 4.3, 17.1),
			point("greedy", "greedy 4.40 bits a weight", 4.4, 15.6),
			point("plan", "plan 4.50 bits a weight", 4.5, 19.6, true),
			point("single", "16a4w_block:32", 4.5, 14.9),
			point("greedy", "greedy 4.80 bits a weight", 4.8, 18.7),
			point("plan", "plan 4.80 bits a weight", 4.8, 21.8),
			point("single", "16a4w_block:16", 5, 16.3),
			point("plan", "plan 5.40 bits a weight", 5.4, 24.9),
			point("greedy", "greedy 5.60 bits a weight", 5.6, 23.5),
			point("plan", "plan 6.20 bits a weight", 6.2, 28.6),
			point("plan", "plan 7.10 bits a weight", 7.1, 32.2),
			point("single", "16a8w", 8.02, 37.5),
		],
	};
}

function unitOf(
	name: string,
	kind: AnalyzedUnit["kind"],
	role: AnalyzedUnit["role"],
	layer: number | null,
	random: () => number,
): AnalyzedUnit {
	const hasWeights = kind === "weight" || kind === "embedding";
	const elements = hasWeights ? 2048 * 512 : 0;
	const isBad = random() < 0.06;
	const base = isBad ? 2 + random() * 7 : 14 + random() * 12 + (hasWeights ? 0 : 25);
	const candidates = (hasWeights ? CANDIDATES : ["16a8w", "16a16w"]).map((candidate, index) => {
		const [precision, size] = candidate.split(":") as [
			"16a4w" | "16a8w" | "16a16w" | "16a4w_block",
			string | undefined,
		];
		const blockSize = Number(size ?? 64) as (typeof BLOCKS)[number];
		const gain = candidate === "16a8w" ? 23 : candidate === "16a4w" ? -4 : index * 1.8;
		return {
			name: candidate,
			setting: settingOf(precision, { blockSize }),
			bytes: elements * (candidate === "16a8w" ? 1 : 0.5) + (size === undefined ? 512 : elements / blockSize),
			weightSqnrDb: hasWeights ? base + gain + 2 : null,
			isolatedSqnrDb: base + gain,
			endToEndSqnrDb: base + gain + 8,
			endToEndMeasured: isBad,
		};
	});
	const suggested = isBad ? candidates.at(-1)! : (candidates[Math.floor(random() * 2)] ?? candidates[0]!);
	const own = candidates.find((candidate) => candidate.name === "16a4w_block:64") ?? candidates[0]!;
	return {
		name,
		kind,
		role,
		layer,
		ops: [kind === "embedding" ? "Gather" : "MatMul"],
		nodes: [`/${name.replaceAll(".", "/")}`],
		weights: hasWeights ? [{ name, shape: [2048, 512] }] : [],
		elements,
		floatBytes: 4 * elements,
		lossWeight: role === "lm_head" || role === "embedding" ? 4 : 1,
		base: own.name,
		isolatedSqnrDb: own.isolatedSqnrDb,
		cumulativeSqnrDb: own.isolatedSqnrDb - 2 - random() * 3,
		endToEndSqnrDb: own.endToEndSqnrDb,
		endToEndMeasured: isBad,
		klDivergence: 10 ** (-own.isolatedSqnrDb / 10),
		candidates,
		suggestion: {
			name: suggested.name,
			setting: suggested.setting,
			change: isBad ? "promoted" : suggested.bytes < own.bytes ? "demoted" : "same",
			reason: isBad
				? `${own.name} has ${own.isolatedSqnrDb.toFixed(1)} dB, ${suggested.name} ${suggested.isolatedSqnrDb.toFixed(1)} dB`
				: "no other choice within the budget is better",
		},
		causes: isBad ? [`input channel ${Math.floor(random() * 2048)} is 41 times as large as the median one`] : [],
		notFiniteSamples: 0,
		weightHistogram: hasWeights ? bellHistogram(isBad ? 0.6 : 0.15, elements, 64) : null,
		codeHistograms: hasWeights
			? [
					{ candidate: own.name, first: -8, step: 1, counts: bellHistogram(0.2, elements, 16).counts },
					...(suggested === own
						? []
						: [
								{
									candidate: suggested.name,
									first: -128,
									step: suggested.name === "16a8w" ? 4 : 16,
									counts: bellHistogram(0.2, elements, suggested.name === "16a8w" ? 64 : 16).counts,
								},
							]),
				]
			: [],
	};
}

function bellHistogram(max: number, elements: number, bins: number) {
	const weights = Array.from({ length: bins }, (_, bin) => Math.exp(-((((bin + 0.5) / bins - 0.5) * 7) ** 2) / 2));
	const sum = weights.reduce((total, weight) => total + weight, 0);
	return { min: -max, max, counts: weights.map((weight) => Math.round((elements * weight) / sum)) };
}
