import { describe, expect, test } from "vitest";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType, type Dimension, tensorType } from "../../src/ir/types.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import { legalizeActivations } from "../../src/passes/legalize-activations.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { runPasses } from "../../src/run-passes.js";
import { type GraphBuilder, modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { expectSameResults } from "../support/same-results.js";
import { blockWeight, quantized } from "../support/weights.js";

const { FLOAT, UINT8, INT8, UINT16, INT16 } = DataType;
const K = 32;
const N = 4;

/** `Q -> DQ` in any type; returns the name of what comes out. */
function pair(b: GraphBuilder, source: string, dtype: DataType, scale: number, zero: number): string {
	b.initializer(`${source}_s`, floatTensor([], [scale]));
	b.initializer(`${source}_z`, codesTensor(dtype, [], [zero]));
	for (const [op, from, to] of [
		["QuantizeLinear", source, `${source}_q`],
		["DequantizeLinear", `${source}_q`, `${source}_qdq`],
	]) {
		b.node(op!, [from!, `${source}_s`, `${source}_z`], [to!], {}, `${source}_${op === "QuantizeLinear" ? "Q" : "DQ"}`);
	}
	return `${source}_qdq`;
}

interface Spec {
	readonly shape?: readonly Dimension[];
	readonly input?: (b: GraphBuilder) => string;
	readonly output?: (b: GraphBuilder, name: string) => string;
}

function model({ shape = [3, K], input = (b) => quantized(b, "x", 2 ** -13), output = quantized }: Spec) {
	return modelOf((b) => {
		b.input("x", FLOAT, shape);
		b.node("MatMul", [input(b), blockWeight(b, "w", { shape: [K, N], axis: 0, blockSize: 32 })], ["y"], {}, "mm");
		b.output(output(b, "y")).type = tensorType(FLOAT, [...shape.slice(0, -1), N]);
	});
}

async function lpbq(spec: Spec) {
	const made = model(spec);
	await runPasses(made, [bqToLpbq({ activations: "any", fit: "max" })]);
	return made;
}

function gate(op: "Sigmoid" | "Tanh", others: (b: GraphBuilder) => void = () => {}) {
	return (b: GraphBuilder) => {
		b.node(op, [quantized(b, "x", 2 ** -13)], ["g"]);
		const name = op === "Tanh" ? pair(b, "g", UINT16, 3.1e-5, 32768) : pair(b, "g", UINT16, 1.7e-5, 12);
		others(b);
		return name;
	};
}

const type8 = (dtype: DataType, zero: number) => (b: GraphBuilder) => pair(b, "x", dtype, 2 ** -5, zero);

describe("legalize-activations", () => {
	test.each(["Sigmoid", "Tanh"] as const)("gives %s the encoding that the compiler gives it", async (op) => {
		await golden(legalizeActivations(), op.toLowerCase(), await lpbq({ input: gate(op) }));
	});

	test("in front of LPBQ only", async () => {
		await golden(legalizeActivations(), "sigmoid-block", model({ input: gate("Sigmoid") }));
	});

	test("in a pair of its own where the codes are an output", async () => {
		await golden(
			legalizeActivations(),
			"sigmoid-output",
			await lpbq({ input: gate("Sigmoid", (b) => b.output("g_q")) }),
		);
	});

	test("reshapes a vector and what has five dimensions", async () => {
		await golden(legalizeActivations(), "rank-1", await lpbq({ shape: [K] }));
		await golden(legalizeActivations(), "rank-5", await lpbq({ shape: [1, 2, 1, 3, K] }));
	});

	test("makes one matrix of a batch beside float block scales", async () => {
		await golden(legalizeActivations(), "batch", model({ shape: [2, 3, K] }));
		await golden(legalizeActivations(), "kept-batch", model({ shape: ["n", 3, K] }));
	});

	test("leaves dimensions that are not fixed, and what is excluded", async () => {
		await golden(legalizeActivations(), "kept-rank", model({ shape: ["n", 1, 1, 1, K] }));
		await golden(legalizeActivations({ exclude: ["mm"] }), "kept-excluded", model({ shape: [K] }));
	});

	test("widens 8 bits where the kernel or the output has 16", async () => {
		await golden(
			legalizeActivations(),
			"int8",
			await lpbq({ input: type8(INT8, 3), output: (b, y) => pair(b, y, INT8, 0.05, -5) }),
		);
		await golden(legalizeActivations(), "uint8-block", model({ input: type8(UINT8, 131) }));
		await golden(legalizeActivations(), "uint8-uint16", await lpbq({ input: type8(UINT8, 131) }));
	});

	test("quantizes 16 bits twice where the output has other ones", async () => {
		const output = (b: GraphBuilder, y: string) => pair(b, y, UINT8, 0.05, 100);
		await golden(legalizeActivations(), "uint16-uint8", await lpbq({ output }));
		const signed = (b: GraphBuilder) => pair(b, "x", INT16, 2 ** -13, 0);
		await golden(legalizeActivations(), "int16-uint16", await lpbq({ input: signed }));
	});

	test("changes nothing that is right", async () => {
		await golden(legalizeActivations(), "right", await lpbq({ shape: [1, 2, 3, K] }));
	});
});

describe("ONNX Runtime computes the same after legalize-activations", () => {
	test.each([
		["rank 1", { shape: [K] }, 150],
		["rank 5", { shape: [2, 1, 2, 3, K] }, 150],
		["Sigmoid", { input: gate("Sigmoid") }, 55],
		["Tanh", { input: gate("Tanh") }, 55],
		["int8", { input: type8(INT8, 3) }, 90],
		["uint8", { input: type8(UINT8, 131) }, 90],
		["uint16 to uint8", { output: (b: GraphBuilder, y: string) => pair(b, y, UINT8, 0.05, 100) }, 40],
	] as const)("%s", async (_name, spec: Spec, leastDb) => {
		const made = await lpbq(spec);
		const report = await expectSameResults(made, [legalizeActivations()], leastDb);
		expect(report.passes[0]?.changed).toBe(true);
	});
});
