import type {
	Diagnostic,
	Finding,
	ModelSummary,
	PassRecord,
	PipelineReport,
	Verification,
	WeightEntry,
} from "../index.js";
import { renderFindings } from "./findings.js";
import { byteText, decibelText, plain, table } from "./terminal.js";
import { renderVerification } from "./verification-text.js";

/** The report of `convert`; docs/report.md describes it. The version rises when a field changes its meaning or goes. */
export interface ConversionReport {
	readonly schema: "qgraph-report";
	readonly schemaVersion: 1;
	readonly input: string;
	readonly output: string | null;
	readonly written: boolean;
	readonly before: ModelSummary;
	readonly after: ModelSummary;
	readonly passes: readonly PassRecord[];
	readonly weights: readonly WeightEntry[];
	readonly diagnostics: readonly Diagnostic[];
	/** Only where a target was named. */
	readonly target?: string;
	/** What the target still finds fault with. */
	readonly findings?: readonly Finding[];
	/** Only with --verify. */
	readonly verification?: Verification;
}

/** What there is to say where a target was named. */
export type TargetReport = Pick<ConversionReport, "target" | "findings" | "verification">;

export function conversionReport(
	args: Readonly<Record<string, unknown>>,
	written: boolean,
	change: { readonly before: ModelSummary; readonly after: ModelSummary },
	result: PipelineReport,
	targeted: TargetReport,
): ConversionReport {
	return {
		schema: "qgraph-report",
		schemaVersion: 1,
		input: args.input as string,
		output: (args.output as string | undefined) ?? null,
		written,
		...change,
		passes: result.passes,
		weights: result.weights,
		diagnostics: result.diagnostics,
		...targeted,
	};
}

/** The report for people. */
export function renderReport(report: ConversionReport): string {
	const parts = [changeTable(report)];
	const converted = report.weights.filter((weight) => weight.status === "converted");
	if (converted.length > 0) parts.push(convertedTable(converted));
	const kept = report.weights.filter((weight) => weight.status === "kept");
	if (kept.length > 0) parts.push(keptTable(kept));
	const warnings = report.diagnostics.filter((diagnostic) => diagnostic.severity === "warning");
	if (warnings.length > 0) parts.push(warningLines(warnings));
	if (report.weights.length > 0) {
		parts.push(`${converted.length} of ${report.weights.length} weights converted, ${kept.length} kept as they were`);
	}
	const { target, findings = [] } = report;
	parts.push(...renderFindings(findings));
	if (target !== undefined && findings.every(({ consequence }) => consequence === "slow")) {
		parts.push(`legal on ${target}`);
	}
	if (report.verification !== undefined) parts.push(renderVerification(report.verification));
	parts.push(report.written ? `written: ${report.output}` : "nothing was written");
	return `${parts.join("\n\n")}\n`;
}

function changeTable({ before, after }: ConversionReport): string {
	const rows: (readonly (string | number)[])[] = [
		["nodes", before.nodes, after.nodes],
		["tensor bytes", byteText(before.bytes), byteText(after.bytes)],
	];
	for (const op of new Set([...Object.keys(before.ops), ...Object.keys(after.ops)])) {
		const counts = [before.ops[op] ?? 0, after.ops[op] ?? 0] as const;
		if (counts[0] !== counts[1]) rows.push([op, ...counts]);
	}
	for (const type of new Set([...Object.keys(before.tensors), ...Object.keys(after.tensors)])) {
		const bytes = [before.tensors[type]?.bytes ?? 0, after.tensors[type]?.bytes ?? 0] as const;
		if (bytes[0] !== bytes[1]) rows.push([`${type} bytes`, byteText(bytes[0]), byteText(bytes[1])]);
	}
	return table(["", "before", "after"], rows);
}

function convertedTable(weights: readonly WeightEntry[]): string {
	const hasLosses = weights.some(({ requantizedSqnrDb }) => requantizedSqnrDb !== undefined);
	const hasPrecision = weights.some(({ precision }) => precision !== undefined);
	const rows = weights.map((weight) => [
		weight.weight,
		weight.op,
		weight.shape.join("x"),
		...(hasPrecision ? [weight.precision ?? "", weight.bytes === undefined ? "" : byteText(weight.bytes)] : []),
		weight.blockSize ?? "",
		weight.form ?? "",
		weight.fit ?? "",
		decibelText(weight.sqnrDb),
		decibelText(weight.sqnrDbOfMax),
		...(hasLosses ? [decibelText(weight.requantizedSqnrDb)] : []),
	]);
	const first = ["converted weight", "operator", "shape", ...(hasPrecision ? ["precision", "size"] : [])];
	const heads = [...first, "block", "form", "fit", "SQNR", "SQNR of max"];
	return table(hasLosses ? [...heads, "made symmetric at"] : heads, rows);
}

/** One line a code; all of them are in the JSON. */
function warningLines(warnings: readonly Diagnostic[]): string {
	const byCode = new Map<string, Diagnostic[]>();
	for (const warning of warnings) byCode.set(warning.code, [...(byCode.get(warning.code) ?? []), warning]);
	return [...byCode]
		.map(
			([code, list]) =>
				`warning ${code}: ${plain(list[0]!.message)}${list.length > 1 ? ` (and ${list.length - 1} more)` : ""}`,
		)
		.join("\n");
}

/** One line a reason; each weight's own is in the JSON. */
function keptTable(weights: readonly WeightEntry[]): string {
	const byCode = new Map<string, WeightEntry[]>();
	for (const weight of weights) byCode.set(weight.code, [...(byCode.get(weight.code) ?? []), weight]);
	const rows = [...byCode].map(([code, list]) => [code, list.length, list[0]?.message ?? ""]);
	return table(["kept because", "weights", "for example"], rows);
}
