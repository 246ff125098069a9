import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { intsAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { serializeModel } from "../../src/onnx/file.js";
import { bqToLpbq } from "../../src/passes/bq-to-lpbq.js";
import { foldWeightTranspose } from "../../src/passes/fold-weight-transpose.js";
import { legalizeWeights } from "../../src/passes/legalize-weights.js";
import { lpbqToBq } from "../../src/passes/lpbq-to-bq.js";
import { runPasses } from "../../src/run-passes.js";
import { parseTarget } from "../../src/targets/target.js";
import { temporaryFolder } from "../repo/run.js";
import type { GraphBuilder } from "../support/build.js";
import { checkOnHtp, prepareHtp } from "../support/htp.js";
import { blockWeight, int4Tensor, uint4Tensor } from "../support/weights.js";
import { type LinearSpec, linearModel, linearOp, linearOutput, linearWeight, normals, spreadScales } from "./models.js";

/* What the passes on weights write, on the HTP's compiler and emulator, against ONNX Runtime's CPU. */

const setup = await prepareHtp();
const python = "python" in setup ? setup.python : "";
/** 16-bit activations of v68 are about 55 dB, those of later ones about 77. */
const ARCHITECTURES = [
	["68", 40],
	["73", 55],
	["79", 55],
	["81", 55],
] as const;
const base: LinearSpec = { op: "MatMul", activations: "integer", rows: 8, depth: 128, channels: 40, blockSize: 32 };

type Weight = (b: GraphBuilder, spec: LinearSpec) => string;

function zeroPointed(
	b: GraphBuilder,
	spec: LinearSpec,
	zeroOf: (index: number) => number,
	isUnsigned: boolean,
): string {
	const result = linearWeight(b, "W", spec);
	const shape = [spec.depth / spec.blockSize, spec.channels];
	const zeros = Array.from({ length: shape[0]! * shape[1]! }, (_, index) => zeroOf(index));
	b.initializer("zero", isUnsigned ? uint4Tensor(shape, zeros) : int4Tensor(shape, zeros));
	if (isUnsigned) {
		const codes = normals(spec.depth * spec.channels, 5).map((value) =>
			Math.max(0, Math.min(15, Math.round(8 + 3 * value))),
		);
		b.graph.setInitializer(b.value("W"), uint4Tensor([spec.depth, spec.channels], codes));
	}
	b.value(result).producer!.setInput(2, b.value("zero"));
	return result;
}

const transposedWeight: Weight = (b, { depth, channels, blockSize }) => {
	const scales = spreadScales((depth / blockSize) * channels, 3);
	const weight = blockWeight(b, "W", { shape: [channels, depth], axis: 1, blockSize, scales });
	b.node("Transpose", [weight], ["W_t"], { perm: intsAttribute([1, 0]) });
	return "W_t";
};

const CASES: readonly (readonly [name: string, spec: Partial<LinearSpec>, weight: Weight])[] = [
	["a weight behind a Transpose", {}, transposedWeight],
	["UINT4 with zero points 8", {}, (b, spec) => zeroPointed(b, spec, () => 8, true)],
	["asymmetric INT4", {}, (b, spec) => zeroPointed(b, spec, (index) => (index % 5) - 2, false)],
	["blocks of 48", { depth: 96, blockSize: 48 }, (b, spec) => linearWeight(b, "W", spec)],
	["K = 80 in blocks of 16", { depth: 80, blockSize: 16 }, (b, spec) => linearWeight(b, "W", spec)],
	["blocks of 8", { blockSize: 8 }, (b, spec) => linearWeight(b, "W", spec)],
	["one output channel", { channels: 1 }, (b, spec) => linearWeight(b, "W", spec)],
	["Conv of 80 input channels", { op: "Conv", depth: 80, blockSize: 16 }, (b, spec) => linearWeight(b, "W", spec)],
];

describe.skipIf(python === "").each(ARCHITECTURES)("weights on v%s", (architecture, leastDb) => {
	describe.each([8, 24])("%i rows", (rows) => {
		test.each(CASES)("%s", async (_name, change, weight) => {
			const spec = { ...base, ...change, rows };
			const model = linearModel(spec, (b, input) => {
				linearOutput(b, spec, linearOp(b, spec, input, weight(b, spec), "y"));
			});
			await legalized(model, architecture);
			const file = path.join(temporaryFolder(), "model.onnx");
			writeFileSync(file, serializeModel(model));
			const options = { htp_arch: architecture, enable_block_quant_weight_optimization: "1" };
			const report = await checkOnHtp(python, { model: file, options });
			expect(report).toMatchObject({ status: "ok", error: null, unsupported: [] });
			expect(report.outputs[0]?.sqnrDb ?? Number.POSITIVE_INFINITY).toBeGreaterThan(leastDb);
		});
	});
});

async function legalized(model: Model, architecture: string): Promise<void> {
	const passes = [foldWeightTranspose(), legalizeWeights(), lpbqToBq(), bqToLpbq()];
	await runPasses(model, passes, { target: parseTarget(`qnn-htp:v${architecture}`) });
}
