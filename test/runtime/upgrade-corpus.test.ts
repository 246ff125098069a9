import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { QGraphError } from "../../src/diagnostics.js";
import type { Model } from "../../src/ir/model.js";
import { elementCount } from "../../src/ir/types.js";
import { readModel, serializeModel } from "../../src/onnx/file.js";
import { upgradeOpset } from "../../src/passes/upgrade-opset.js";
import { runPasses } from "../../src/run-passes.js";
import { inputsOf } from "../../src/runtime/model-inputs.js";
import { storedFeeds, suitableFeeds } from "../support/feeds.js";
import type { Tensors } from "../support/ort.js";
import { OrtProcess } from "../support/ort-process.js";
import { differenceOf } from "../support/same-outputs.js";

/* The models of the folder beside the checkout, raised to operator set 21 and run in ONNX Runtime before and after. */

const corpus = fileURLToPath(new URL("../../../shared/corpus", import.meta.url));
const paths: readonly string[] = existsSync(corpus)
	? JSON.parse(readFileSync(path.join(corpus, "INVENTORY.json"), "utf8")).map((entry: { path: string }) => entry.path)
	: [];

/** Part of an output's range by which kernels of two operator sets may round differently. */
const TOLERANCE = 1e-5;

/** Of dimensions that a model leaves open. */
const OPEN_LENGTH = 3;

const MOST_ELEMENTS = 2 ** 23;

const runtime = new OrtProcess();
afterAll(() => runtime.close());

type Verdict = "same" | "current" | "refused" | "not run before" | "random" | { readonly fault: string };

async function verdictOn(file: string): Promise<Verdict> {
	const model = await readModel(file).catch(() => undefined);
	if (model === undefined) return "not run before";
	try {
		const report = await runPasses(model, [upgradeOpset()]);
		if (!report.passes[0]!.changed) return "current";
	} catch (error) {
		if (error instanceof QGraphError && error.code === "opset/unconvertible") return "refused";
		throw error;
	}
	const feeds = feedsFor(file, model);
	const before = feeds && (await runtime.run(file, feeds).catch(() => undefined));
	if (before === undefined) return "not run before";
	try {
		const fault = differenceOf(before, await runtime.run(serializeModel(model), feeds!), TOLERANCE);
		if (fault === undefined) return "same";
		return differenceOf(before, await runtime.run(file, feeds!), 0) === undefined ? { fault } : "random";
	} catch (error) {
		return { fault: String(error) };
	}
}

/** undefined: onnxruntime-node takes no sequences, and not all element types; and some inputs take minutes to make. */
function feedsFor(file: string, model: Model): Tensors | undefined {
	try {
		const stored = storedFeeds(file, model);
		if (stored !== undefined) return stored;
		return inputElements(model) > MOST_ELEMENTS ? undefined : suitableFeeds(model, () => OPEN_LENGTH);
	} catch {
		return undefined;
	}
}

function inputElements(model: Model): number {
	const shapes = inputsOf(model).map(({ shape = [] }) =>
		shape.map((dim) => (typeof dim === "number" ? dim : OPEN_LENGTH)),
	);
	return shapes.map(elementCount).reduce((a, b) => a + b, 0);
}

test.skipIf(paths.length === 0)("models compute the same in operator set 21", { timeout: 300_000 }, async () => {
	const counts: Record<string, number> = {};
	const faults: string[] = [];
	for (const file of paths) {
		const verdict = await verdictOn(path.join(corpus, file));
		if (typeof verdict !== "string") faults.push(`${file}: ${verdict.fault}`);
		const name = typeof verdict === "string" ? verdict : "wrong";
		counts[name] = (counts[name] ?? 0) + 1;
	}
	expect(faults).toEqual([]);
	// The others are of operator set 21 or newer, are refused, or run nowhere: many are meant to be wrong.
	expect(counts.same).toBeGreaterThan(1000);
});
