import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import type { Model } from "../../src/ir/model.js";
import { printModel } from "../../src/ir/print.js";
import { verifyModel } from "../../src/ir/verify.js";
import { parseModel, serializeModel } from "../../src/onnx/file.js";
import type { Pass } from "../../src/passes/infra/pass.js";
import type { PipelineOptions } from "../../src/passes/infra/pipeline.js";
import type { PipelineReport } from "../../src/passes/infra/report.js";
import { runPasses } from "../../src/run-passes.js";

const FOLDER = fileURLToPath(new URL("../golden/", import.meta.url));

/** Compares `text` with the golden file `name`; with UPDATE_GOLDEN=1 writes it instead. */
export function expectGolden(name: string, text: string): void {
	const file = path.join(FOLDER, name);
	if (process.env.UPDATE_GOLDEN === "1") {
		mkdirSync(path.dirname(file), { recursive: true });
		writeFileSync(file, text);
	}
	expect(existsSync(file), `no golden file ${name}: run 'npm run golden' and read what it wrote`).toBe(true);
	expect(text).toBe(readFileSync(file, "utf8"));
}

/**
 * Runs `pass` over `model` and compares the printed IR before and after, remarks, weights and figures with the golden file
 * `<pass>/<name>.txt`. Then the laws of every pass: what it says of having changed something is true, a second run changes
 * nothing, the result verifies, and it survives being written and read.
 */
export async function golden(
	pass: Pass,
	name: string,
	model: Model,
	options: PipelineOptions = {},
): Promise<PipelineReport> {
	const before = printModel(model, { digests: true });
	const report = await runPasses(model, [pass], options);
	const after = printModel(model, { digests: true });
	const [record] = report.passes;
	expect(record?.changed, `'${pass.name}' says changed = ${record?.changed}`).toBe(before !== after);
	expectGolden(`${pass.name}/${name}.txt`, goldenText(before, after, report));

	const again = await runPasses(model, [pass], options);
	expect(again.passes[0]?.changed, "a second run changed something").toBe(false);
	expect(printModel(model, { digests: true })).toBe(after);

	expect(verifyModel(model)).toEqual([]);
	const reread = printModel(parseModel(serializeModel(model)), { digests: true });
	expect(reread).toBe(withoutAnnotations(after));
	return report;
}

function goldenText(before: string, after: string, report: PipelineReport): string {
	const parts = ["--- before", before.trimEnd(), "--- after", before === after ? "(unchanged)" : after.trimEnd()];
	parts.push("--- remarks");
	for (const { code, severity, message, at, notes } of report.diagnostics) {
		const where = [at.graph, at.node, at.value].filter((part) => part !== undefined).join(" > ");
		parts.push(`${severity} ${code}: ${message} (${where})`, ...notes.map((note) => `  note: ${note}`));
	}
	parts.push("--- weights");
	for (const weight of report.weights) {
		const { sqnrDb, sqnrDbOfMax } = weight;
		const figures = [sqnrDb, sqnrDbOfMax].map((value) =>
			typeof value === "number" ? value.toFixed(1) : String(value),
		);
		parts.push(`${weight.status} ${weight.weight} at ${weight.node}: ${weight.code} sqnr=${figures.join("/")}`);
	}
	parts.push("--- figures");
	for (const [stat, value] of Object.entries(report.passes[0]?.stats ?? {})) parts.push(`${stat}: ${value}`);
	return `${parts.join("\n")}\n`;
}

/** Annotations that no pass saved are not in the file. */
function withoutAnnotations(printed: string): string {
	return printed.replace(/ annotations\{.*\}$/gm, "");
}
