import { describe, expect, it } from "vitest";
import { QGraphError } from "../../../src/diagnostics.js";
import type { Model } from "../../../src/ir/model.js";
import { definePass, type PassContext } from "../../../src/passes/infra/pass.js";
import { PipelineError, runPasses } from "../../../src/passes/infra/pipeline.js";
import type { WeightEntry } from "../../../src/passes/infra/report.js";
import { modelOf } from "../../support/build.js";

const relu = () =>
	modelOf((graph) => {
		graph.input("x");
		graph.node("Relu", ["x"], ["y"], {}, "relu");
		graph.output("y");
	});

type Run = (model: Model, context: PassContext<{ strength: number }>) => boolean | Promise<boolean>;

/** A pass that does what it is given. */
function passOf(run: Run, name = "try-it") {
	return definePass<{ strength: number }>({
		name,
		summary: "Try it.",
		options: { strength: { default: 1, describe: "how much" } },
		run,
	});
}

const ENTRY: WeightEntry = {
	weight: "w",
	node: "n",
	op: "MatMul",
	graph: "main",
	status: "converted",
	code: "weight/converted",
	message: "weight 'w' was converted",
	shape: [1],
	dtype: "INT4",
};

describe("runPasses", () => {
	it("records what passes did, in order", async () => {
		const rename = passOf((model, context) => {
			model.graph.name = `renamed ${context.options.strength}`;
			context.count("graphs");
			context.count("graphs", 2);
			context.report("pass/note", "a note", { node: "relu" }, ["more"]);
			return true;
		}, "rename");
		const look = passOf(() => false, "look");
		const seen: string[] = [];
		const report = await runPasses(relu(), [rename({ strength: 3 }), look()], {
			onBeforePass: (pass) => seen.push(`before ${pass.name}`),
			onAfterPass: (record, model) => seen.push(`after ${record.name} ${model.graph.name}`),
			onDiagnostic: ({ message }) => seen.push(message),
		});
		expect(seen).toEqual(["before rename", "a note", "after rename renamed 3", "before look", "after look renamed 3"]);
		expect(report.passes.map(({ name, changed, stats }) => ({ name, changed, stats }))).toEqual([
			{ name: "rename", changed: true, stats: { graphs: 3 } },
			{ name: "look", changed: false, stats: {} },
		]);
		expect(report.diagnostics).toEqual([
			{ code: "pass/note", severity: "remark", message: "a note", at: { node: "relu" }, notes: ["more"] },
		]);
	});

	it("refuses a model that is broken from the start", async () => {
		const broken = modelOf((graph) => {
			graph.node("Relu", ["nobody"], ["y"]);
			graph.output("y");
		});
		await expect(runPasses(broken, [])).rejects.toMatchObject({
			code: "verify/invalid",
			message: expect.stringContaining("the input is not a valid model"),
		});
	});

	it("stops at a pass that breaks the model, and says which", async () => {
		const breaks = passOf((model) => {
			model.graph.addOutput(model.graph.createValue("nobody"));
			return true;
		}, "breaks");
		const never = passOf(() => {
			throw new Error("must not run");
		});
		const run = runPasses(relu(), [breaks(), never()]);
		await expect(run).rejects.toThrow(PipelineError);
		await expect(run).rejects.toMatchObject({
			message: expect.stringContaining("the result of 'breaks'"),
			report: { passes: [{ name: "breaks" }] },
		});
	});

	it("stops after a pass that reports an error", async () => {
		const reports = passOf((_, context) => {
			context.report("pass/failed", "this cannot be done", { node: "relu" });
			return false;
		});
		await expect(runPasses(relu(), [reports()])).rejects.toMatchObject({
			code: "pass/failed",
			message: "try-it: this cannot be done",
			at: { node: "relu" },
		});
	});

	it("wraps what a pass throws for reasons outside, and leaves bugs as they are", async () => {
		const fails = passOf(() => {
			throw new QGraphError("data/short-read", "the file ends", { file: "w.data" });
		});
		await expect(runPasses(relu(), [fails()])).rejects.toMatchObject({
			name: "PipelineError",
			code: "data/short-read",
			message: "try-it: the file ends",
			at: { file: "w.data" },
		});
		const bug = new TypeError("a bug");
		const buggy = passOf(() => {
			throw bug;
		});
		await expect(runPasses(relu(), [buggy()])).rejects.toBe(bug);
	});

	it("ends when it is cancelled, between passes and in them", async () => {
		const controller = new AbortController();
		const cancels = passOf((_, { signal }) => {
			controller.abort();
			signal.throwIfAborted();
			return false;
		});
		await expect(runPasses(relu(), [cancels()], { signal: controller.signal })).rejects.toMatchObject({
			code: "pass/aborted",
			message: "'try-it' was cancelled",
		});
		await expect(runPasses(relu(), [cancels()], { signal: controller.signal })).rejects.toMatchObject({
			message: "cancelled before 'try-it'",
		});
	});

	it("says that it cannot read models when it was given no way to", async () => {
		const reads = passOf(async (_, context) => {
			await context.readModel("float.onnx");
			return false;
		});
		await expect(runPasses(relu(), [reads()])).rejects.toMatchObject({
			code: "pass/failed",
			message: expect.stringContaining("cannot read 'float.onnx'"),
		});
	});
});

describe("work that a pass puts off", () => {
	/** Measures a weight, when `go` lets it. */
	const measures = (go: Promise<void>) =>
		passOf((_, context) => {
			context.reportWeight(ENTRY);
			context.defer(go.then(() => context.reportWeight({ ...ENTRY, sqnrDb: 30 })));
			return false;
		})();

	it("is waited for", async () => {
		const report = await runPasses(relu(), [measures(Promise.resolve())]);
		expect(report.weights).toEqual([{ ...ENTRY, sqnrDb: 30 }]);
	});

	it("completes the report later for those who take it", async () => {
		let go = () => {};
		const deferred: Promise<void>[] = [];
		const gate = new Promise<void>((resolve) => {
			go = resolve;
		});
		const report = await runPasses(relu(), [measures(gate)], { onDeferred: (work) => deferred.push(work) });
		expect(report.weights).toEqual([ENTRY]);
		go();
		await Promise.all(deferred);
		expect(report.weights).toEqual([{ ...ENTRY, sqnrDb: 30 }]);
	});

	it("fails like the pass itself", async () => {
		const error = new QGraphError("data/file-changed", "the file was changed");
		await expect(runPasses(relu(), [measures(Promise.reject(error))])).rejects.toMatchObject({
			name: "PipelineError",
			code: "data/file-changed",
			message: "try-it: the file was changed",
		});
	});
});
