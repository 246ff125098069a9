import { type Analysis, type AnalyzedUnit, NO_NOISE_DB, type ParetoEntry } from "../index.js";
import { byteText, plain, table } from "./terminal.js";

/** Units that are printed: the worst. */
const SHOWN_UNITS = 15;

/** An analysis for people: the worst units, what recipes of several sizes lose, and the suggestion. */
export function renderAnalysis(analysis: Analysis): string {
	const { units, points, suggestions, findings, options, perplexity } = analysis;
	const ranked = [...units].sort((a, b) => worst(a) - worst(b)).slice(0, SHOWN_UNITS);
	const parts = [
		table(
			["unit", "kind", "is now", "alone", "together", "end to end", "suggested"],
			ranked.map((unit) => [
				unit.name,
				unit.kind,
				unit.base ?? "kept",
				decibels(unit.isolatedSqnrDb),
				decibels(unit.cumulativeSqnrDb),
				decibels(unit.endToEndSqnrDb),
				unit.suggestion?.change === "same" ? "" : (unit.suggestion?.name ?? ""),
			]),
		),
	];
	if (units.length > ranked.length) parts.push(`and ${units.length - ranked.length} better ones`);
	for (const { name, causes, notFiniteSamples } of units) {
		if (notFiniteSamples > 0) {
			const count = notFiniteSamples === 1 ? "1 sample" : `${notFiniteSamples} samples`;
			parts.push(`'${plain(name)}': ${count} had infinite noise or none that is a number, and is in no figure`);
		}
		if (causes.length > 0 && ranked.some((unit) => unit.name === name)) {
			parts.push(`'${plain(name)}': ${causes.join("; ")}`);
		}
	}
	if (points.length > 0)
		parts.push(table(["recipe", "bits a weight", "model", "predicted", "measured", "by chance"], points.map(row)));
	if (options.heldOut > 0) {
		const counts = `predicted from ${samplesText(options.samples)}, measured on ${samplesText(options.heldOut)} held out`;
		parts.push(`${counts}; by chance of these samples the two differ by what the last column says (standard error)`);
	}
	for (const { name, description, promoted, demoted, file, bytes, measuredSqnrDb, chanceDb } of suggestions) {
		const measured =
			measuredSqnrDb === null
				? ""
				: `; quantized whole ${decibels(measuredSqnrDb)}${byChance(chanceDb)} on what was held out`;
		const changes = `${promoted} promoted, ${demoted} demoted, ${byteText(bytes)}`;
		parts.push(`${plain(name)} (${file}): ${plain(description)}; ${changes}${measured}`);
	}
	if (perplexity !== null) {
		const share = (value: number | null | undefined) => (value == null ? "" : `${(100 * value).toFixed(1)} %`);
		const rows = perplexity.map((entry) => [
			entry.recipe,
			entry.perplexity?.toFixed(4) ?? "not finite",
			entry.klDivergence?.toPrecision(4) ?? "",
			share(entry.topAgreement),
		]);
		parts.push(table(["model", "perplexity", "KL, nats", "same best guess"], rows));
	}
	if (findings.length > 0)
		parts.push(`${options.target} has something to say of ${findings.length} operators; see analysis.json`);
	return parts.join("\n\n");
}

function row({ kind, label, bitsPerWeight, bytes, predictedSqnrDb, measuredSqnrDb, chanceDb, isChosen }: ParetoEntry) {
	const name = kind === "base" ? `${label}, the base recipe` : label;
	return [
		isChosen ? `* ${name}` : name,
		bitsPerWeight.toFixed(2),
		byteText(bytes),
		decibels(predictedSqnrDb),
		decibels(measuredSqnrDb),
		byChance(chanceDb).trim(),
	];
}

function samplesText(count: number): string {
	return count === 1 ? "1 sample" : `${count} samples`;
}

function byChance(error: number | null): string {
	return error === null ? "" : ` ± ${error.toFixed(1)} dB`;
}

/** By what it makes of the outputs, else of its own. */
function worst({ endToEndSqnrDb, isolatedSqnrDb }: AnalyzedUnit): number {
	return endToEndSqnrDb ?? isolatedSqnrDb ?? NO_NOISE_DB;
}

function decibels(figure: number | null): string {
	if (figure === null) return "";
	return figure >= NO_NOISE_DB ? "exact" : `${figure.toFixed(1)} dB`;
}
