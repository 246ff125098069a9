import path from "node:path";
import { parseBudget } from "../analysis/budget.js";
import { nodeLabel } from "../ir/walk.js";
import { serializedSize } from "../onnx/file.js";
import type { ErrorSum } from "../quant/measure.js";
import { findRecipe } from "../recipe/find-recipe.js";
import { ownVersion } from "../runtime/own-version.js";
import { targetName } from "../targets/target.js";
import type { Analysis, AnalysisMode, AnalyzedUnit, SqnrGroup, UnitCandidate } from "./analysis.js";
import {
	type AssembleOptions,
	DEFAULT_THRESHOLD_DB,
	type Measured,
	type SensitivityAnalysis,
} from "./analyze-options.js";
import { executorchSuggestion } from "./executorch-suggestion.js";
import { candidateName, type SensitivityUnit } from "./find-sensitivity-units.js";
import { codeHistogram, weightHistogram } from "./histograms.js";
import type { CandidateNoise } from "./isolated-noise.js";
import type { IsolatedUnit, QuantizedNoise } from "./measure-options.js";
import type { SensitivityMeasure } from "./measure-sensitivity.js";
import type { KnownUnit, Prediction } from "./prediction.js";
import { groupOperators, groupsCsv, meanSqnrDb } from "./sqnr-groups.js";
import { decibelsOf } from "./statistics.js";
import { suggestPrecisions } from "./suggest-precisions.js";

/** Makes the measurements and puts what comes of them together. */
export async function assembleAnalysis(
	measure: SensitivityMeasure,
	input: string,
	options: AssembleOptions,
): Promise<SensitivityAnalysis> {
	const measured: Measured = { isolated: new Map(), base: undefined, suggestion: undefined };
	const hasSamples = measure.samples !== undefined;
	const isAll = options.measures === "all";
	const mode: AnalysisMode =
		options.budget === undefined
			? {
					kind: "threshold",
					thresholdDb: options.thresholdDb ?? DEFAULT_THRESHOLD_DB,
					grouping: options.grouping ?? "executorch",
				}
			: { kind: "budget", budget: options.budget };
	if (options.budget !== undefined) parseBudget(options.budget);
	let isPartial = false;
	try {
		measured.isolated = await measure.isolated(options.settingsOf, isAll);
		if (isAll && hasSamples) measured.base = await measure.quantized(options.recipe, "base");
		if (isAll) {
			const groups = groupsOf(measure, measured.base, thresholdOf(mode));
			measured.suggestion = await suggestPrecisions(measure, measured, mode, groups, options);
		}
	} catch (error) {
		if (options.signal?.aborted !== true) throw error;
		isPartial = true;
		measured.isolated = measure.isolatedSoFar(options.settingsOf);
	}
	const groups = groupsOf(measure, measured.base, thresholdOf(mode));
	const analysis = await analysisOf(measure, measured, mode, groups, input, isPartial, options);
	const files = new Map(measured.suggestion?.files ?? []);
	if (groups.length > 0) {
		const name = path.basename(input).replace(/\.onnx$/, "");
		files.set(`${name}_quantization_error.csv`, groupsCsv(groups));
		const base = findRecipe(options.recipe);
		const suggestion = executorchSuggestion(name, base, groups, thresholdOf(mode), measure.units);
		if (suggestion !== undefined) files.set(`${name}_suggest_recipe.py`, suggestion);
	}
	return { analysis, files };
}

function thresholdOf(mode: AnalysisMode): number {
	return mode.kind === "threshold" ? mode.thresholdDb : DEFAULT_THRESHOLD_DB;
}

/** Operators with weights or of two activations, grouped as ExecuTorch does it. */
function groupsOf(
	{ units }: SensitivityMeasure,
	base: QuantizedNoise | undefined,
	thresholdDb: number,
): readonly SqnrGroup[] {
	if (base === undefined) return [];
	const operators = units.flatMap((unit) =>
		unit.parts.flatMap((part) =>
			part.operators.flatMap((node, index) => {
				const sqnrDb = meanSqnrDb(base.operators[nodeLabel(node)] ?? []);
				if (sqnrDb === undefined) return [];
				const named = part.units[index] ?? part.units[0]!;
				const isNamed = named.weight !== undefined && /[._/]/.test(named.weight) && !named.weight.includes("::");
				const path = (isNamed ? named.weight! : named.node).replace(/[._]weight$/, "");
				return [{ unit: unit.name, path, layer: unit.layer, sqnrDb }];
			}),
		),
	);
	return groupOperators(operators, thresholdDb);
}

async function analysisOf(
	measure: SensitivityMeasure,
	measured: Measured,
	mode: AnalysisMode,
	groups: readonly SqnrGroup[],
	input: string,
	isPartial: boolean,
	options: AssembleOptions,
): Promise<Analysis> {
	const { suggestion } = measured;
	const units: AnalyzedUnit[] = [];
	const known = new Map(suggestion?.known.map((one) => [one.unit.name, one] as const));
	for (const unit of measure.units) {
		const isolated = measured.isolated.get(unit.name);
		units.push(await unitOf(unit, isolated, measured, known.get(unit.name), options));
	}
	const sizes = new Map<string, number>();
	for (const { elements, candidates } of units) {
		if (elements === 0) continue;
		for (const { name, bytes } of candidates) sizes.set(name, (sizes.get(name) ?? 0) + bytes / elements);
	}
	const names = new Set(units.flatMap(({ candidates }) => candidates.map(({ name }) => name)));
	const { samples, units: found } = measure;
	return {
		schema: "qgraph-analysis",
		schemaVersion: 1,
		version: ownVersion(),
		isPartial,
		model: {
			file: path.basename(input),
			bytes: serializedSize(measure.model),
			parameters: found.reduce((sum, { elements }) => sum + elements, 0),
		},
		options: {
			recipe: findRecipe(options.recipe).name,
			data: (options.data ?? []).map((place) => path.basename(place)),
			samples: samples?.measured ?? 0,
			heldOut: samples === undefined || samples.firstHeldOut === 0 ? 0 : samples.heldOut,
			target: options.target === undefined ? null : targetName(options.target),
			mode,
			headWeight: options.headWeight,
			loss: suggestion?.loss ?? "noise",
		},
		candidates: [...names].sort((a, b) => (sizes.get(a) ?? 0) - (sizes.get(b) ?? 0)),
		units,
		groups,
		points: suggestion?.points ?? [],
		suggestions: suggestion?.suggestions ?? [],
		findings: measured.base?.findings ?? [],
		diagnostics: measure.diagnostics,
		perplexity: null,
	};
}

async function unitOf(
	unit: SensitivityUnit,
	isolated: IsolatedUnit | undefined,
	{ base, suggestion }: Measured,
	known: KnownUnit | undefined,
	{ headWeight, measures }: AssembleOptions,
): Promise<AnalyzedUnit> {
	const all = isolated?.candidates ?? [];
	const name = unit.base && candidateName(unit.base);
	const own = all.find(({ setting }) => candidateName(setting) === name);
	const suggested = suggestion?.units.get(unit.name);
	const shown = [own, suggested?.candidate].filter((candidate) => candidate !== undefined);
	const isCounted = measures === "all";
	const histograms = isCounted ? await Promise.all([...new Set(shown)].map(codeHistogram)) : [];
	const candidates = all.map((candidate) => candidateOf(candidate, known, suggestion?.prediction));
	const end = candidates[own === undefined ? -1 : all.indexOf(own)];
	return {
		name: unit.name,
		kind: unit.kind,
		role: unit.role ?? null,
		layer: unit.layer ?? null,
		ops: [...new Set(unit.parts.flatMap(({ operators }) => operators.map(({ op }) => op.type)))],
		nodes: [...unit.parts.flatMap(({ operators }) => operators.map(nodeLabel)), ...unit.caches],
		weights: unit.parts.flatMap(({ constant }) =>
			constant === undefined ? [] : [{ name: constant.value.name, shape: constant.tensor.shape }],
		),
		elements: unit.elements,
		floatBytes: unit.floatBytes,
		lossWeight: unit.isAtTheEnds ? headWeight : 1,
		base: own === undefined ? null : name!,
		isolatedSqnrDb: own === undefined ? null : localDb(own),
		cumulativeSqnrDb: base === undefined ? null : cumulativeDb(unit, base),
		endToEndSqnrDb: end?.endToEndSqnrDb ?? null,
		endToEndMeasured: end?.endToEndMeasured ?? false,
		klDivergence: suggestion?.divergences.get(unit.name) ?? null,
		candidates,
		suggestion:
			suggested === undefined
				? null
				: {
						name: candidateName(suggested.candidate.setting),
						setting: suggested.candidate.setting,
						change: suggested.change,
						reason: suggested.reason,
					},
		causes: isolated?.causes ?? [],
		notFiniteSamples: Math.max(isolated?.notFinite ?? 0, base === undefined ? 0 : notFiniteIn(unit, base)),
		weightHistogram: isCounted ? weightHistogram(unit) : null,
		codeHistograms: histograms.filter((histogram) => histogram !== null),
	};
}

function candidateOf(
	candidate: CandidateNoise,
	known: KnownUnit | undefined,
	prediction: Prediction | undefined,
): UnitCandidate {
	const { setting, bytes, weights, output } = candidate;
	const loss = known === undefined ? undefined : prediction?.alone(known, candidate);
	return {
		name: candidateName(setting),
		setting,
		bytes,
		weightSqnrDb: weights === null ? null : ratioDb(weights),
		isolatedSqnrDb: output === null ? null : ratioDb(output),
		endToEndSqnrDb: loss === undefined || prediction?.isEndToEnd !== true ? null : decibelsOf(loss),
		endToEndMeasured: known?.measured?.candidate === candidate,
	};
}

function localDb({ output, weights }: CandidateNoise): number | null {
	const sum = output ?? weights;
	return sum === null ? null : ratioDb(sum);
}

function ratioDb({ signal, error }: ErrorSum): number {
	return decibelsOf(error === 0 ? 0 : error / signal);
}

/** Noise over signal at the unit's outputs, both summed over samples. */
function cumulativeDb(unit: SensitivityUnit, base: QuantizedNoise): number | null {
	const samples = samplesOf(unit, base).filter((sample) => sample !== null);
	if (samples.length === 0) return null;
	const total = (key: "signal" | "error") => samples.reduce((sum, sample) => sum + sample[key], 0);
	return ratioDb({ signal: total("signal"), error: total("error") });
}

function notFiniteIn(unit: SensitivityUnit, base: QuantizedNoise): number {
	const counts = unit.parts.flatMap(({ operators }) =>
		operators.map((node) => (base.operators[nodeLabel(node)] ?? []).filter((sample) => sample === null).length),
	);
	return Math.max(0, ...counts);
}

function samplesOf({ parts }: SensitivityUnit, { operators }: QuantizedNoise): readonly (ErrorSum | null)[] {
	return parts.flatMap((part) => part.operators.flatMap((node) => operators[nodeLabel(node)] ?? []));
}
