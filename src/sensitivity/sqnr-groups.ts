import type { ErrorSum } from "../quant/measure.js";
import { NO_NOISE_DB, type SqnrGroup } from "./analysis.js";
import { mean, median } from "./statistics.js";

/*
 * How ExecuTorch's PerLayerSqnrAnalyzer sums up: operators of a few neighbouring layers with the same name within their
 * layer are a group, whose SQNRs (means over samples, in dB) are sensitive if their average, median or least is below a
 * threshold. August 2026; layers fall into five buckets of the same length, the last one with what is left over.
 */

/** One operator and the mean of its samples' SQNRs. */
export interface ScoredOperator {
	/** Of the unit that it belongs to. */
	readonly unit: string;
	/** Module path or weight, `model.layers.3.mlp.down_proj`. */
	readonly path: string;
	readonly layer: number | undefined;
	readonly sqnrDb: number;
}

const BUCKETS = 5;

/** 20 log10(|x| / |x - y|) of one sample, as torchao's compute_error. */
export function sampleSqnrDb({ signal, error }: ErrorSum): number {
	if (error === 0) return NO_NOISE_DB;
	if (signal === 0) return -NO_NOISE_DB;
	return Math.max(-NO_NOISE_DB, Math.min(NO_NOISE_DB, 10 * Math.log10(signal / error)));
}

/** The mean over samples of their SQNRs; undefined where there is none. */
export function meanSqnrDb(samples: readonly (ErrorSum | null)[]): number | undefined {
	const figures = samples.filter((sample) => sample !== null).map(sampleSqnrDb);
	return figures.length === 0 ? undefined : mean(figures);
}

/** Puts operators into groups, the lowest median first. */
export function groupOperators(operators: readonly ScoredOperator[], thresholdDb: number): SqnrGroup[] {
	const layers = 1 + Math.max(-1, ...operators.map(({ layer }) => layer ?? -1));
	const groups = new Map<string, ScoredOperator[]>();
	for (const operator of operators) {
		const name = groupName(operator, layers);
		groups.set(name, [...(groups.get(name) ?? []), operator]);
	}
	return [...groups]
		.map(([name, members]) => groupOf(name, members, thresholdDb))
		.sort((a, b) => a.medianDb - b.medianDb);
}

/** Columns and rows as ExecuTorch's `{model}_quantization_error.csv` has them. */
export function groupsCsv(groups: readonly SqnrGroup[]): string {
	const rows = groups.map(({ name, avgDb, medianDb, minDb, maxDb, count }) =>
		[name.includes(",") ? `"${name}"` : name, avgDb, medianDb, minDb, maxDb, count].join(","),
	);
	return `${["group_name,avg_sqnr,median_sqnr,min_sqnr,max_sqnr,count", ...rows].join("\n")}\n`;
}

/** `layers.[0-3].mlp.down_proj`; what lies in no layer is a group of its own. */
function groupName({ path, layer }: ScoredOperator, layers: number): string {
	const plain = path.replace(/^[./]+/, "").replaceAll("/", ".");
	if (layer === undefined) return plain;
	const step = Math.max(1, Math.floor(layers / BUCKETS));
	const bucket = Math.min(Math.floor(layer / step), BUCKETS - 1);
	const last = bucket === BUCKETS - 1 ? layers - 1 : Math.min(layers - 1, (bucket + 1) * step - 1);
	const rest = new RegExp(`(?:^|.*?[._])(?:layers?|blocks?|blk|h)[._]${layer}[._](.*)$`, "i").exec(plain)?.[1];
	return `layers.[${bucket * step}-${last}].${rest ?? plain}`;
}

function groupOf(name: string, members: readonly ScoredOperator[], thresholdDb: number): SqnrGroup {
	const figures = members.map(({ sqnrDb }) => sqnrDb).sort((a, b) => a - b);
	const [avgDb, medianDb, minDb] = [mean(figures), median(figures), figures[0]!];
	return {
		name,
		units: [...new Set(members.map(({ unit }) => unit))],
		avgDb,
		medianDb,
		minDb,
		maxDb: figures.at(-1)!,
		count: figures.length,
		isSensitive: Math.min(avgDb, medianDb, minDb) < thresholdDb,
	};
}
