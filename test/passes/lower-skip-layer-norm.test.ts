import { describe, expect, test } from "vitest";
import { floatAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { lowerSkipLayerNorm } from "../../src/passes/lower-skip-layer-norm.js";
import { type GraphBuilder, ModelBuilder } from "../support/build.js";
import { golden } from "../support/golden.js";
import { boolFeed, floatFeed } from "../support/ort.js";
import { mixedSource } from "../support/random.js";
import { expectSameOutputs } from "../support/same-outputs.js";

const SHAPE = [2, 3, 8];
const values = (seed: number, count: number) => {
	const random = mixedSource(seed);
	return Float32Array.from({ length: count }, () => 4 * random() - 2);
};
const feeds = { x: floatFeed(SHAPE, values(1, 48)), skip: floatFeed(SHAPE, values(2, 48)) };

interface Options {
	readonly type?: string;
	readonly bias?: boolean;
	readonly beta?: boolean;
	readonly opset?: number;
	/** Names of the outputs. */
	readonly outputs?: readonly string[];
	readonly epsilon?: number;
}

function writeNorm(builder: GraphBuilder, { type = LAYER, ...options }: Options): void {
	const outputs = options.outputs ?? ["y"];
	for (const [seed, name] of ["gamma", "beta", "bias"].entries()) {
		builder.initializer(`${outputs[0]}_${name}`, floatTensor([8], values(seed + 3, 8)));
	}
	const parameter = (name: string, isThere: boolean | undefined) => (isThere ? `${outputs[0]}_${name}` : "");
	const inputs = ["x", "skip", parameter("gamma", true)];
	if (type === LAYER) inputs.push(parameter("beta", options.beta));
	if (options.bias) inputs.push(parameter("bias", true));
	const attributes = options.epsilon === undefined ? {} : { epsilon: floatAttribute(options.epsilon) };
	builder.node({ domain: "com.microsoft", type }, inputs, outputs, attributes, `norm_${outputs[0]}`);
}

function model(options: Options = {}): Model {
	const builder = new ModelBuilder({ opset: options.opset ?? 21 });
	builder.model.opsetImports.set("com.microsoft", 1);
	builder.input("x", DataType.FLOAT, SHAPE);
	builder.input("skip", DataType.FLOAT, SHAPE);
	writeNorm(builder, options);
	for (const name of options.outputs ?? ["y"]) if (name !== "") builder.output(name);
	return builder.build();
}

const LAYER = "SkipLayerNormalization";
const SIMPLIFIED = "SkipSimplifiedLayerNormalization";
const WITH_SUM = ["y", "", "", "sum"];

const CASES: Readonly<Record<string, Options>> = {
	"x and skip alone": {},
	"beta and bias": { beta: true, bias: true },
	"bias without beta": { bias: true, epsilon: 0.01 },
	"the sum as output": { beta: true, bias: true, outputs: WITH_SUM },
	simplified: { type: SIMPLIFIED },
	"simplified, bias, sum": { type: SIMPLIFIED, bias: true, outputs: WITH_SUM, epsilon: 0.5 },
	"simplified, RMSNormalization": { type: SIMPLIFIED, opset: 23 },
};

describe("lower-skip-layer-norm", () => {
	test.each(Object.entries(CASES))("%s", async (_name, options) => {
		const made = model(options);
		const report = await expectSameOutputs(made, lowerSkipLayerNorm(), feeds);
		expect(report.diagnostics).toEqual([]);
		expect(Array.from(made.graph.nodes, ({ op }) => op.domain)).not.toContain("com.microsoft");
	});

	test("writes", async () => {
		await golden(lowerSkipLayerNorm(), "sum", model({ beta: true, bias: true, outputs: WITH_SUM }));
		await golden(lowerSkipLayerNorm(), "simplified", model({ type: SIMPLIFIED }));
	});

	test("in both branches of an If, with shared parameters", async () => {
		const builder = new ModelBuilder();
		builder.model.opsetImports.set("com.microsoft", 1);
		builder.input("x", DataType.FLOAT, SHAPE);
		builder.input("skip", DataType.FLOAT, SHAPE);
		builder.input("choice", DataType.BOOL, []);
		builder.initializer("gamma", floatTensor([8], values(3, 8)));
		const branch = (name: string, type: string) =>
			builder.subgraph(name, (inner) => {
				inner.node({ domain: "com.microsoft", type }, ["x", "skip", "gamma"], [`${name}_y`]);
				inner.output(`${name}_y`);
			});
		const branches = { then_branch: branch("then", LAYER), else_branch: branch("else", SIMPLIFIED) };
		builder.node("If", ["choice"], ["y"], branches);
		builder.output("y");
		await expectSameOutputs(builder.build(), lowerSkipLayerNorm(), { ...feeds, choice: boolFeed(false) });
		await golden(lowerSkipLayerNorm(), "branches", model({ type: SIMPLIFIED, bias: true }));
	});

	test.each<[string, Options]>([
		["an operator set without LayerNormalization", { opset: 16 }],
		["statistics that are used", { outputs: ["y", "mean"] }],
		["SkipGroupNorm", { type: "SkipGroupNorm" }],
	])("%s stays", async (name, options) => {
		await golden(lowerSkipLayerNorm(), name.replaceAll(" ", "-"), model(options));
	});
});
