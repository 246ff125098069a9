import { PRECISION_FACTS } from "../../src/recipe/precision.js";
import { settingOf } from "../../src/recipe/recipe.js";
import type { Analysis, AnalyzedUnit, UnitCandidate } from "../../src/sensitivity/analysis.js";

const CANDIDATES = ["16a4w_block:64", "16a4w_block:32", "16a4w_block:16", "16a8w"];
const LAYERS = 6;

/** A made-up analysis of a small language model whose second layer has a bad down projection. */
export function sampleAnalysis(): Analysis {
	const units = [
		unit({ name: "model.embed_tokens.weight", kind: "embedding", role: "embedding", op: "Gather", sqnrDb: 41 }),
		...Array.from({ length: LAYERS }, (_, layer) => layerUnits(layer)).flat(),
		unit({ name: "lm_head.weight", kind: "weight", role: "lm_head", op: "MatMul", sqnrDb: 19 }),
	];
	const point = (label: string, bytes: number, predictedSqnrDb: number) => ({
		label,
		bytes,
		bitsPerWeight: bytes / 1e4,
		predictedSqnrDb,
		measuredSqnrDb: predictedSqnrDb - 0.4,
		chanceDb: 0.6,
	});
	return {
		schema: "qgraph-analysis",
		schemaVersion: 1,
		version: "0.0.0",
		isPartial: false,
		model: { file: "model.onnx", bytes: 320_000, parameters: units.reduce((sum, { elements }) => sum + elements, 0) },
		options: {
			recipe: "16a4w_block:64",
			data: ["samples.npz"],
			samples: 12,
			heldOut: 2,
			target: "qnn-htp:v79",
			mode: { kind: "budget", budget: "4.5bpw" },
			headWeight: 4,
			loss: "noise",
		},
		candidates: CANDIDATES,
		units,
		groups: [
			{
				name: "layers.[0-1].mlp.down_proj",
				units: units.filter(({ name }) => /layers\.[01]\.mlp/.test(name)).map(({ name }) => name),
				avgDb: 14.2,
				medianDb: 14.2,
				minDb: 6.1,
				maxDb: 22.3,
				count: 2,
				isSensitive: true,
			},
		],
		points: [
			{ kind: "base", ...point("16a4w_block:64", 41_000, 15.1), isChosen: false },
			{ kind: "plan", ...point("plan 4.30 bits a weight", 43_000, 17.9), isChosen: false },
			{ kind: "greedy", ...point("greedy 4.50 bits a weight", 45_000, 19.6), isChosen: false },
			{ kind: "plan", ...point("plan 4.50 bits a weight", 45_000, 20.8), isChosen: true },
			{ kind: "single", ...point("16a4w_block:16", 47_000, 17.2), isChosen: false },
			{ kind: "plan", ...point("plan 6.00 bits a weight", 60_000, 25.3), isChosen: false },
			{ kind: "single", ...point("16a8w", 80_000, 33.2), isChosen: false },
		],
		suggestions: [
			{
				name: "model-4.5bpw",
				file: "recipe.yaml",
				description: "the least noise at the outputs within 4.5bpw",
				bytes: 45_000,
				bitsPerWeight: 4.5,
				predictedSqnrDb: 20.8,
				measuredSqnrDb: 20.4,
				chanceDb: 0.6,
				promoted: 3,
				demoted: 1,
			},
		],
		findings: [
			{
				rule: "htp/block-size",
				consequence: "slow",
				graph: "model",
				node: "/layers.1/mlp/down_proj/MatMul",
				op: "MatMul",
				message: "a made-up finding about </script> & 'quotes'",
				remedy: "use another block size",
			},
		],
		diagnostics: [
			{
				code: "calibrate/random",
				severity: "warning",
				message: "ranges of random inputs are not those of real ones",
				at: {},
				notes: [],
			},
		],
		perplexity: [
			{ recipe: "float", perplexity: 12.31, tokens: 4096 },
			{ recipe: "base", perplexity: 14.02, tokens: 4096, klDivergence: 0.131, topAgreement: 0.842 },
			{ recipe: "model-4.5bpw", perplexity: 12.64, tokens: 4096, klDivergence: 0.0274, topAgreement: 0.934 },
		],
	};
}

function layerUnits(layer: number): AnalyzedUnit[] {
	const prefix = `model.layers.${layer}`;
	return [
		unit({ name: `${prefix}.self_attn.qkv`, kind: "fused", layer, op: "MatMul", sqnrDb: 22 + layer }),
		unit({
			name: `/${prefix}/self_attn/MatMul`,
			kind: "attention-product",
			role: "attention_scores",
			layer,
			op: "MatMul",
			sqnrDb: 60,
		}),
		unit({
			name: `${prefix}.mlp.down_proj.weight`,
			kind: "weight",
			role: "down_proj",
			layer,
			op: "MatMul",
			sqnrDb: layer === 1 ? 6.1 : 20 + layer / 2,
		}),
	];
}

interface Draft {
	readonly name: string;
	readonly kind: AnalyzedUnit["kind"];
	readonly role?: AnalyzedUnit["role"];
	readonly layer?: number;
	readonly op: string;
	readonly sqnrDb: number;
}

function unit({ name, kind, role = null, layer, op, sqnrDb }: Draft): AnalyzedUnit {
	const hasWeights = kind !== "attention-product" && kind !== "kv-cache";
	const elements = hasWeights ? 4096 : 0;
	const names = hasWeights ? (kind === "embedding" ? ["16a8w"] : CANDIDATES) : ["16a8w", "16a16w"];
	const candidates = names.map((candidate, index) => candidateOf(candidate, elements, sqnrDb + 3 * index));
	const isBad = sqnrDb < 10;
	const suggested = isBad ? candidates.at(-1)! : candidates[0]!;
	return {
		name,
		kind,
		role,
		layer: layer ?? null,
		ops: [op],
		nodes: [`/${name}`],
		weights: hasWeights ? [{ name, shape: [64, 64] }] : [],
		elements,
		floatBytes: 4 * elements,
		lossWeight: role === "lm_head" || role === "embedding" ? 4 : 1,
		base: candidates[0]!.name,
		isolatedSqnrDb: sqnrDb,
		cumulativeSqnrDb: sqnrDb - 3,
		endToEndSqnrDb: sqnrDb + 5,
		endToEndMeasured: isBad,
		klDivergence: null,
		candidates,
		suggestion: {
			name: suggested.name,
			setting: suggested.setting,
			change: isBad ? "promoted" : "same",
			reason: isBad ? `${candidates[0]!.name} has ${sqnrDb} dB, below 10 dB` : "as the base recipe says",
		},
		causes: isBad ? ["input channel 17 is 41 times as large as the median one"] : [],
		notFiniteSamples: 0,
		weightHistogram: hasWeights ? { min: -0.5, max: 0.5, counts: [2, 40, 900, 2212, 900, 40, 2] } : null,
		codeHistograms: hasWeights
			? [{ candidate: candidates[0]!.name, first: -8, step: 1, counts: Array.from({ length: 16 }, () => 256) }]
			: [],
	};
}

function candidateOf(name: string, elements: number, sqnrDb: number): UnitCandidate {
	const [precision, size] = name.split(":") as ["16a4w_block" | "16a8w" | "16a16w", string | undefined];
	const blockSize = size === undefined ? 64 : (Number(size) as 16 | 32 | 64);
	return {
		name,
		setting: settingOf(precision, { blockSize }),
		bytes: (elements * PRECISION_FACTS[precision].weightBits!) / 8 + (size === undefined ? 64 : elements / blockSize),
		weightSqnrDb: elements === 0 ? null : sqnrDb - 1,
		isolatedSqnrDb: sqnrDb,
		endToEndSqnrDb: sqnrDb + 5,
		endToEndMeasured: false,
	};
}
