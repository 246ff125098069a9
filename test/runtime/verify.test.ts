import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { zipSync } from "fflate";
import { describe, expect, test } from "vitest";
import { readNpz } from "../../src/arrays/npz.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { readModel, writeModel } from "../../src/onnx/file.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { runPasses } from "../../src/run-passes.js";
import { compileForHtp } from "../../src/runtime/compile-for-htp.js";
import { setupHtp } from "../../src/runtime/htp-environment.js";
import { verifyModels } from "../../src/runtime/verify-models.js";
import { parseTarget } from "../../src/targets/target.js";
import { qgraph } from "../cli/run.js";
import { repoFile } from "../repo/repo.js";
import { temporaryFolder } from "../repo/run.js";
import { modelOf } from "../support/build.js";
import { HTP_HOME, prepareHtp } from "../support/htp.js";
import { type LinearSpec, linearModel } from "./models.js";
import { OPERATOR_MODELS, operatorModel } from "./operator-models.js";

const setup = await prepareHtp();
const hasHtp = !("missing" in setup);
const V79 = parseTarget("qnn-htp:v79");

/** y = (x + b) * c, in two nodes; `factor` is c. */
function twoSteps(factor: number, batch: number | string = 2): Model {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, [batch, 4]);
		b.initializer("b", floatTensor([4], [1, 2, 3, 4]));
		b.initializer("c", floatTensor([1], [factor]));
		b.node("Add", ["x", "b"], ["sum"], {}, "add");
		b.node("Mul", ["sum", "c"], ["y"], {}, "mul");
		b.output("y");
	});
}

async function saved(model: Model, name: string, folder = temporaryFolder()): Promise<string> {
	const file = path.join(folder, name);
	await writeModel(model, file);
	return file;
}

function npy(descr: string, shape: string, data: Uint8Array, order = "False"): Uint8Array {
	const text = `{'descr': '${descr}', 'fortran_order': ${order}, 'shape': (${shape}), }`.padEnd(117);
	const head = Buffer.from(`\x93NUMPY\x01\x00\x00\x00${text}\n`, "latin1");
	head.writeUInt16LE(text.length + 1, 8);
	return Buffer.concat([head, data]);
}

const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);

describe("verifyModels on the CPU", () => {
	test("finds equal models equal, and says how far others are apart", async () => {
		const [a, b] = [await saved(twoSteps(2), "a.onnx"), await saved(twoSteps(2.2), "b.onnx")];
		expect(await verifyModels(a, a, { samples: 2 })).toMatchObject({ passed: true, worstSqnrDb: null, samples: 2 });
		const result = await verifyModels(a, b, { minSqnrDb: 30 });
		expect(result).toMatchObject({ passed: false, failure: null });
		expect(result.worstSqnrDb).toBeCloseTo(20, 3);
	});

	test("says the worst of all samples, and all of them together", async () => {
		const [a, b] = [await saved(twoSteps(2), "a.onnx"), await saved(twoSteps(2.2), "b.onnx")];
		const { worstSqnrDb, overallSqnrDb, outputs } = await verifyModels(a, b, { samples: 4 });
		expect(overallSqnrDb).toBeCloseTo(20, 3);
		expect(outputs[0]!.overallSqnrDb).toBe(overallSqnrDb);
		expect(worstSqnrDb).toBeLessThanOrEqual(overallSqnrDb!);
	});

	test("the same seed gives the same inputs, another one others", async () => {
		const [a, b] = [await saved(twoSteps(2), "a.onnx"), await saved(twoSteps(2.2), "b.onnx")];
		const error = async (seed: number) => (await verifyModels(a, b, { seed })).outputs[0]!.maxAbsError;
		expect(await error(1)).toBe(await error(1));
		expect(await error(1)).not.toBe(await error(2));
	});

	test("finds the node that goes wrong first", async () => {
		const broken = twoSteps(2);
		const [add] = [...broken.graph.nodes];
		add!.inputs[1]!.initializer = floatTensor([4], [1, 2, 3, 5]);
		const [a, b] = [await saved(twoSteps(2), "a.onnx"), await saved(broken, "b.onnx")];
		const { inner, firstWrong } = await verifyModels(a, b, { perNode: true });
		expect(inner.map(({ name, op }) => [name, op])).toEqual([
			["sum", "Add"],
			["y", "Mul"],
		]);
		expect(firstWrong).toBe("sum");
		expect(inner[1]!.lostDb).toBeCloseTo(0, 3);
	});

	test("compares what has lost an axis, and what is only quantized by its codes", async () => {
		const quantized = (offset: number, shape: readonly number[]) =>
			modelOf((b) => {
				b.input("x", DataType.FLOAT, [2, 4]);
				b.initializer("shape", int64Tensor([shape.length], shape));
				b.initializer("back", int64Tensor([2], [2, 4]));
				b.initializer("offset", floatTensor([], [offset]));
				b.initializer("s", floatTensor([], [0.25]));
				b.initializer("z", codesTensor(DataType.UINT8, [], [128]));
				b.node("Reshape", ["x", "shape"], ["view"]);
				b.node("Round", ["view"], ["round"]);
				b.node("Add", ["round", "offset"], ["sum"]);
				b.node("QuantizeLinear", ["sum", "s", "z"], ["q"]);
				b.node("DequantizeLinear", ["q", "s", "z"], ["dq"]);
				b.node("Reshape", ["dq", "back"], ["y"]);
				b.output("y");
			});
		const a = await saved(quantized(0, [1, 2, 4]), "a.onnx");
		const b = await saved(quantized(0.1, [8]), "b.onnx");
		const { inner, firstWrong } = await verifyModels(a, b, { perNode: true });
		expect(inner.map(({ name, sqnrDb, problem }) => [name, sqnrDb, problem])).toEqual(
			["view", "round", "sum", "dq", "y"].map((name) => [name, null, null]),
		);
		expect([inner[0]!.shape, firstWrong]).toEqual([[1, 2, 4], null]);
		const wrong = await verifyModels(a, await saved(quantized(0.4, [8]), "c.onnx"), { perNode: true });
		expect(wrong.firstWrong).toBe("sum");
	});

	test("fails for another shape, a missing output, and numbers that are not finite", async () => {
		const a = await saved(twoSteps(2), "a.onnx");
		const infinite = await saved(twoSteps(Number.POSITIVE_INFINITY), "b.onnx");
		expect((await verifyModels(a, infinite)).outputs[0]!.problem).toContain("infinite");
		const other = twoSteps(2);
		const y = other.graph.outputs[0]!;
		const flat = other.graph.createValue("flat");
		other.graph.createNode({ op: "Flatten", inputs: [y], outputs: [flat] });
		y.name = "hidden";
		flat.name = "y";
		other.graph.setOutput(
			0,
			other.graph.createNode({
				op: "Unsqueeze",
				inputs: [flat, axes(other)],
				outputs: [other.graph.createValue("z")],
			}).outputs[0]!,
		);
		const result = await verifyModels(a, await saved(other, "c.onnx"));
		expect(result.outputs[0]!.problem).toContain("its shape is [1, 2, 4], expected [2, 4]");
		expect(result.passed).toBe(false);
	});

	test("a model that ONNX Runtime refuses is a finding", async () => {
		const a = await saved(twoSteps(2), "a.onnx");
		const bad = modelOf((b) => {
			b.input("x", DataType.FLOAT, [2, 4]);
			b.node("NoSuchOperator", ["x"], ["y"]);
			b.output("y");
		});
		const result = await verifyModels(a, await saved(bad, "bad.onnx"));
		expect(result).toMatchObject({ passed: false, failure: { model: "converted", status: "failed", stage: "load" } });
	});

	test("asks for lengths of symbolic dimensions, and takes those of the other model", async () => {
		const [dynamic, fixed] = [await saved(twoSteps(2, "batch"), "a.onnx"), await saved(twoSteps(2, 3), "b.onnx")];
		await expect(verifyModels(dynamic, dynamic)).rejects.toThrow("--dim batch=LENGTH");
		const [output] = (await verifyModels(dynamic, dynamic, { dimensions: { batch: 5 } })).outputs;
		expect(output!.shape).toEqual([5, 4]);
		expect((await verifyModels(dynamic, fixed)).outputs[0]!.shape).toEqual([3, 4]);
	});

	test("reads inputs from .npz files, stored or deflated, in any float type and order", async () => {
		const folder = temporaryFolder();
		const model = await saved(twoSteps(2, "batch"), "a.onnx", folder);
		const write = (name: string, entry: Uint8Array, level: 0 | 6) => {
			const file = path.join(folder, name);
			writeFileSync(file, zipSync({ "x.npy": entry }, { level }));
			return file;
		};
		const file = write("a.npz", npy("<f4", "1, 4", floats(1, 2, 3, 4)), 0);
		expect((await verifyModels(model, model, { inputs: [file] })).outputs[0]!.shape).toEqual([1, 4]);
		const double = new Uint8Array(Float64Array.of(1, 2, 3, 4).buffer);
		const other = write("b.npz", npy("<f8", "1, 4", double), 6);
		expect(await verifyModels(model, model, { inputs: [file, other] })).toMatchObject({ samples: 2, passed: true });
		const order = write("c.npz", npy("<f4", "2, 2", floats(1, 2, 3, 4), "True"), 6);
		expect(new Float32Array(readNpz(order).get("x")!.bytes.buffer)).toEqual(Float32Array.of(1, 3, 2, 4));
		const rank = write("d.npz", npy("<f4", "4,", floats(1, 2, 3, 4)), 0);
		await expect(verifyModels(model, model, { inputs: [rank] })).rejects.toThrow(
			"array 'x' is [4], but the input is [batch, 4]",
		);
		const big = write("e.npz", npy(">f4", "1, 4", floats(1, 2, 3, 4)), 0);
		await expect(verifyModels(model, model, { inputs: [big] })).rejects.toMatchObject({ code: "runtime/npz" });
		const cut = write("f.npz", npy("<f4", "1, 4", floats(1, 2)), 0);
		await expect(verifyModels(model, model, { inputs: [cut] })).rejects.toThrow("has 8 bytes of data, expected 16");
		writeFileSync(file, "no archive");
		await expect(verifyModels(model, model, { inputs: [file] })).rejects.toMatchObject({ code: "runtime/npz" });
	});
});

function axes(model: Model) {
	const value = model.graph.createValue("axes");
	model.graph.setInitializer(value, {
		...floatTensor([1], [0]),
		dtype: DataType.INT64,
		data: { byteLength: 8, read: (start, end) => new Uint8Array(8).subarray(start, end) },
	});
	return value;
}

const linear: LinearSpec = {
	op: "MatMul",
	activations: "integer",
	rows: 8,
	depth: 128,
	channels: 40,
	blockSize: 32,
};

describe.skipIf(!hasHtp)("on the HTP", () => {
	test("verify compares, also inside", async () => {
		const model = linearModel(linear);
		await runPasses(model, [bqToLpbq()]);
		const file = await saved(model, "a.onnx");
		const result = await verifyModels(file, file, { on: V79, htpHome: HTP_HOME, perNode: true, minSqnrDb: 40 });
		expect(result).toMatchObject({
			passed: true,
			on: "qnn-htp:v79",
			failure: null,
			innerFailure: null,
			firstWrong: null,
		});
		expect(result.inner.length).toBeGreaterThan(1);
	});

	test("a time limit is a finding", async () => {
		const file = await saved(linearModel(linear), "a.onnx");
		const output = path.join(temporaryFolder(), "ctx.onnx");
		const result = await compileForHtp(file, output, V79, { htpHome: HTP_HOME, timeoutSeconds: 0.01 });
		expect(result.failure).toMatchObject({ status: "timed-out", stage: "load" });
		expect(existsSync(output)).toBe(false);
	});

	test.each([true, false])("compile writes a context, embedded: %s", async (embed) => {
		const folder = temporaryFolder();
		const file = await saved(linearModel(linear), "a.onnx");
		const output = path.join(folder, "ctx.onnx");
		const result = await compileForHtp(file, output, V79, { htpHome: HTP_HOME, embed });
		expect(result).toMatchObject({ failure: null, notOnHtp: [], contexts: 1 });
		expect(readdirSync(folder).sort()).toEqual(embed ? ["ctx.onnx"] : ["ctx.onnx", "ctx_qnn.bin"]);
		const nodes = [...(await readModel(output)).graph.nodes];
		expect(nodes.map(({ op }) => op.type)).toEqual(["EPContext"]);
		const again = compileForHtp(file, output, V79, { htpHome: HTP_HOME, embed, overwrite: false });
		await expect(again).rejects.toMatchObject({ code: "write/exists" });
		const itself = compileForHtp(file, file, V79, { htpHome: HTP_HOME });
		await expect(itself).rejects.toMatchObject({ code: "write/would-overwrite-input" });
	});

	test("compile names the nodes that the HTP does not take, and leaves them to the CPU when allowed", async () => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [2, 32]);
			b.node("Sigmoid", ["x"], ["s"], {}, "sigmoid");
			b.node("Erf", ["s"], ["y"], {}, "erf");
			b.output("y");
		});
		model.graph.outputs[0]!.type = tensorType(DataType.FLOAT, [2, 32]);
		const file = await saved(model, "a.onnx");
		const output = path.join(temporaryFolder(), "ctx.onnx");
		const refused = await compileForHtp(file, output, V79, { htpHome: HTP_HOME });
		const notOnHtp = [{ name: "erf", op: "Erf" }];
		expect(refused).toMatchObject({ failure: { status: "refused" }, notOnHtp, files: [] });
		expect(existsSync(output)).toBe(false);
		const allowed = await compileForHtp(file, output, V79, { htpHome: HTP_HOME, allowCpuFallback: true });
		expect(allowed).toMatchObject({ failure: null, notOnHtp, contexts: 1 });
	});
});

test.skipIf(!hasHtp)("compile says what compiles and is computed wrong", async () => {
	const wrong = OPERATOR_MODELS.filter(({ rule }) => rule === "htp/softmax-zero-point").slice(0, 1);
	const [file, output] = [await saved(operatorModel(wrong, 5), "a.onnx"), path.join(temporaryFolder(), "ctx.onnx")];
	const command = ["compile", file, output, "--target", "qnn-htp:v79", "--htp-home", HTP_HOME];
	const { code, out } = await qgraph("\0", ...command);
	expect([code, out]).toEqual([0, expect.stringContaining("wrong: htp/softmax-zero-point (1 place)")]);
	expect(out).toContain("warning: by these rules qnn-htp:v79 computes it wrong all the same");
	const json = JSON.parse((await qgraph("\0", ...command, "--force", "--json")).out);
	expect(json.findings).toMatchObject([{ rule: "htp/softmax-zero-point", consequence: "wrong" }]);
	const right = ["compile", await saved(linearModel(linear), "b.onnx"), output, ...command.slice(3)];
	expect((await qgraph("\0", ...right, "--force")).out).not.toContain("warning");
});

const crash = repoFile("../shared/oracles/htp/CRASH_mm_lpbq_rank1.onnx");

test.skipIf(!hasHtp || !existsSync(crash))("a crash of the compiler is a finding", async () => {
	const result = await verifyModels(crash, crash, { on: V79, htpHome: HTP_HOME });
	expect(result).toMatchObject({ passed: false, failure: { model: "converted", status: "crashed", stage: "load" } });
});

describe("the command line", () => {
	test("prints what differs and exits with 1", async () => {
		const [a, b] = [await saved(twoSteps(2), "a.onnx"), await saved(twoSteps(2.2), "b.onnx")];
		const { code, out } = await qgraph("\0", "verify", a, b, "--min-sqnr", "30", "--per-node");
		expect(code).toBe(1);
		expect(out).toContain("<- goes wrong here first");
		expect(out).toContain("failed: 20.0 dB at worst (--min-sqnr 30), 1 sample on the CPU");
		const json = await qgraph("\0", "verify", a, a, "--json");
		expect([json.code, JSON.parse(json.out).passed]).toEqual([0, true]);
	});

	test("of a conversion without a target runs on the CPU, and puts sizes, weights and outputs into one report", async () => {
		const folder = temporaryFolder();
		const values = Float32Array.from({ length: 64 * 48 }, (_, i) => Math.sin(i * i));
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, ["batch", 64]);
			b.initializer("w", floatTensor([64, 48], values));
			b.node("MatMul", ["x", "w"], ["y"]);
			b.output("y");
		});
		const [input, output, file] = [await saved(model, "in.onnx", folder), "out.onnx", "report.json"].map((name) =>
			path.resolve(folder, name),
		) as [string, string, string];
		const command = ["convert", input, output, "--recipe", "16a4w_block:32", "--verify", "--dim", "batch=3"];
		const { code, out } = await qgraph("\0", ...command, "--samples", "2", "--report", file, "--min-sqnr", "15");
		expect([code, out]).toEqual([0, expect.stringContaining("2 samples on the CPU")]);
		const report = JSON.parse(readFileSync(file, "utf8"));
		expect(report.after.bytes).toBeLessThan(report.before.bytes / 5);
		expect(report.weights[0]).toMatchObject({ precision: "16a4w_block", bytes: (64 * 48) / 2 + 2 * 48 + 4 * 48 });
		expect(report.weights[0].sqnrDb).toBeGreaterThan(15);
		expect(report.verification).toMatchObject({ on: "cpu", samples: 2, passed: true });
		expect(report.verification.outputs[0].sqnrDb).toBeGreaterThan(15);
		const failing = await qgraph("\0", ...command, "--force", "--min-sqnr", "90");
		expect(failing.code).toBe(1);
	});

	test.each([
		[["convert", "A", "--dry-run", "--verify"], "--verify needs an output to run"],
		[["convert", "A", "B", "--samples", "3"], "--samples needs --verify"],
		[["verify", "A", "A", "--samples", "0"], "--samples 0 is out of range"],
		[["verify", "A", "A", "--inputs", "x.npz", "--seed", "1"], "--inputs gives the samples"],
		[["verify", "A", "A", "--option", "a=b"], "--option needs --on with a target"],
		[["verify", "A", "A", "--on", "gpu"], "there is no target 'gpu'"],
		[["verify", "A", "A", "--dim", "batch"], "expected --dim name=value"],
		[["compile", "A", "B"], "target"],
		[["compile", "A", "B", "--target", "qnn-htp:v99"], "there is no target"],
	])("%j is wrong usage", async (args, message) => {
		const { code, err } = await qgraph("\0", ...args);
		expect([code, err]).toEqual([2, expect.stringContaining(message)]);
	});

	test("says what to do where the compiler is not set up", async () => {
		const a = await saved(twoSteps(2), "a.onnx");
		const { code, err } = await qgraph("\0", "verify", a, a, "--on", "qnn-htp:v79", "--htp-home", temporaryFolder());
		expect(code).toBe(1);
		expect(err).toContain(hasHtp ? "run 'qgraph setup-htp' once" : "error htp/");
	});
});

describe.skipIf(process.platform !== "linux" || process.arch !== "x64")("setupHtp", () => {
	test("says that Python is missing, and leaves nothing behind", async () => {
		const home = temporaryFolder();
		await expect(setupHtp({ home, python: "no-such-python" })).rejects.toMatchObject({ code: "htp/no-python" });
		expect(readdirSync(home)).toEqual([]);
	});

	test.skipIf(!hasHtp)("finds what is made", async () => {
		expect(await setupHtp({ home: HTP_HOME })).toMatchObject({ made: false });
	});
});

test("without onnxruntime-node, the built command says what to install", async () => {
	const folder = temporaryFolder();
	const a = await saved(twoSteps(2), "a.onnx", folder);
	const loader = path.join(folder, "without.mjs");
	writeFileSync(
		loader,
		`import { register } from "node:module";
const hook = "export async function resolve(name, context, next) { if (name === 'onnxruntime-node') throw Object.assign(new Error('gone'), { code: 'ERR_MODULE_NOT_FOUND' }); return next(name, context); }";
register("data:text/javascript," + encodeURIComponent(hook));`,
	);
	const env = { ...process.env, NODE_OPTIONS: `--import=${loader}` };
	const run = () =>
		execFileSync(process.execPath, [repoFile("dist/bundle/main.js"), "verify", a, a], {
			cwd: folder,
			env,
			stdio: "pipe",
		});
	expect(run).toThrow("npm install onnxruntime-node");
});

test("ONNX Runtime reports to nobody what the built command runs, nor leaves files of that", async () => {
	const [models, folder] = [temporaryFolder(), temporaryFolder()];
	const a = await saved(twoSteps(2), "a.onnx", models);
	const { ORT_DISABLE_TELEMETRY: _, ...rest } = process.env;
	const run = (...args: string[]) =>
		execFileSync(process.execPath, [repoFile("dist/bundle/main.js"), ...args], {
			env: { ...rest, TMPDIR: folder },
			stdio: "pipe",
		});
	run("verify", a, a);
	run("calibrate", a, "--data", "random:4", "-o", path.join(models, "a.encodings"));
	expect(readdirSync(folder)).toEqual([]);
});
