import type { Tensor } from "onnxruntime-node";
import { describe, expect, test } from "vitest";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType, type Dimension } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { legalizeOperators } from "../../src/passes/legalize-operators.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { runPasses } from "../../src/run-passes.js";
import { parseTarget } from "../../src/targets/target.js";
import { node, type OperatorModel, operatorModel, pair, model as productModel } from "../runtime/operator-models.js";
import { REMEDY_MODELS } from "../runtime/remedy-models.js";
import { type GraphBuilder, modelOf } from "../support/build.js";
import { golden } from "../support/golden.js";
import { floatsOf, run, sqnrDb } from "../support/ort.js";
import { randomFeeds } from "../support/same-results.js";
import { channelWeight, quantized } from "../support/weights.js";

const target = parseTarget("qnn-htp:v79");
const v68 = parseTarget("qnn-htp:v68");
const v69 = parseTarget("qnn-htp:v69");

/** Rules that hold for a v68 only. */
const OLD_RULES = [
	"htp/norm-layout",
	"htp/relu-rank",
	"htp/conv-pads-8-bits",
	"htp/conv-volume-float",
	"htp/wide-weight",
	"htp/float-operand-v68",
	"htp/float-comparison-v68",
	"htp/float-island-v68",
	"htp/float-chain-v68",
	"htp/max-pool-pads",
];

/** A Softmax whose UINT8 zero point is inside of its range; returns the codes. */
function softmaxCodes(b: GraphBuilder, input: string): string {
	b.initializer("step", floatTensor([], [1 / 200]));
	b.initializer("zero", codesTensor(DataType.UINT8, [], [25]));
	b.node("Softmax", [input], ["weights"], {}, "softmax");
	b.node("QuantizeLinear", ["weights", "step", "zero"], ["codes"], {}, "Q");
	return "codes";
}

/** What an output has, codes as they are. */
function numbersOf(output: Tensor | undefined): Float32Array {
	return output?.data instanceof Uint16Array ? Float32Array.from(output.data) : floatsOf(output);
}

describe("legalize-operators", () => {
	test.each(REMEDY_MODELS)("$rule: $name", async (given) => {
		const same = REMEDY_MODELS.filter(({ rule }) => rule === given.rule).indexOf(given);
		const name = `${given.rule.slice("htp/".length)}${same === 0 ? "" : `-${same + 1}`}`;
		const isOld = given.untilV68 === true || OLD_RULES.includes(given.rule);
		const chip = isOld ? v68 : given.rule === "htp/batch-rows" ? v69 : target;
		await golden(legalizeOperators(), name, operatorModel([given], 5), { target: chip });
	});

	test("in a subgraph", async () => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [5, 8]);
			b.input("condition", DataType.BOOL, []);
			b.node("If", ["condition"], ["y"], {
				then_branch: b.subgraph("then", (g) => {
					g.node("MatMul", [quantized(g, "x"), channelWeight(g, "w", [8, 4], 1)], ["product"], {}, "mm");
					g.node("Relu", ["product"], ["positive"], {}, "relu");
					g.output(quantized(g, "positive"));
				}),
				else_branch: b.subgraph("else", (g) => {
					g.initializer("zeros", floatTensor([5, 4], new Float32Array(20)));
					g.output("zeros");
				}),
			});
			b.output("y");
		});
		await golden(legalizeOperators(), "subgraph", model, { target });
	});

	test("a weight that two operators share is written out once for both", async () => {
		const [int4] = REMEDY_MODELS.filter(({ rule }) => rule === "htp/int4-zero-point");
		const model = operatorModel([int4!], 5);
		const matMul = [...model.graph.nodes].find(({ op }) => op.type === "MatMul")!;
		const again = model.graph.createValue("again");
		model.graph.createNode({ op: "MatMul", name: "mm2", inputs: [...matMul.inputs], outputs: [again] });
		const codes = model.graph.createValue("again_q");
		const [, scale, zero] = matMul.outputs[0]!.uses[0]!.node.inputs;
		model.graph.createNode({ op: "QuantizeLinear", inputs: [again, scale!, zero!], outputs: [codes] });
		model.graph.addOutput(codes);
		await golden(legalizeOperators(), "shared-weight", model, { target });
	});

	test.each<[string, readonly Dimension[]]>([["kept-dynamic", ["n", 1, 2, 3, 8]]])(
		"%s: a Reshape needs fixed shapes",
		async (name, shape) => {
			const model = modelOf((b) => {
				b.input("x", DataType.FLOAT, shape);
				b.node("HardSwish", [quantized(b, "x")], ["swish"], {}, "swish");
				b.output(quantized(b, "swish"));
			});
			await golden(legalizeOperators(), name, model, { target });
		},
	);

	test("an exponent that is no constant, or not the same as FLOAT, keeps its type", async () => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [5, 8]);
			b.input("given", DataType.INT64, []);
			b.initializer("large", int64Tensor([], [2 ** 24 + 1]));
			for (const exponent of ["given", "large"]) {
				b.node("Pow", ["x", exponent], [`power_${exponent}`], {}, `pow_${exponent}`);
				b.output(`power_${exponent}`);
			}
		});
		await golden(legalizeOperators(), "kept-exponent", model, { target });
	});

	test("a product reads UINT8 codes that were widened as INT16, and loses none of them", async () => {
		const widenedRight: OperatorModel = {
			rule: "htp/wide-right",
			name: "widened",
			write: (b, rows) =>
				productModel(b, [rows, 8], (_, x) => {
					b.node("Transpose", [x], ["turned"], {}, "turned");
					const narrow = pair(b, "turned", { dtype: DataType.UINT8, scale: 2 ** -7, zero: 100 });
					const right = pair(b, narrow, { scale: 2 ** -7 / 257, zero: 25700 });
					return pair(b, node(b, "MatMul", [x, right], "product"), { scale: 2 ** -12 });
				}),
		};
		const model = operatorModel([widenedRight], 5);
		const feeds = randomFeeds(model);
		const before = await run(serializeModel(model), feeds);
		await golden(legalizeOperators(), "wide-right-of-8-bits", model, { target });
		const after = await run(serializeModel(model), feeds);
		const [output] = model.graph.outputs;
		expect(floatsOf(after[output!.name])).toEqual(floatsOf(before[output!.name]));
	});

	test("codes that are an output of the graph keep their encoding", async () => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [5, 8]);
			b.output(softmaxCodes(b, quantized(b, "x")));
		});
		await golden(legalizeOperators(), "kept-output", model, { target });
	});

	test("without a target nothing is done", async () => {
		await golden(legalizeOperators(), "no-target", operatorModel(REMEDY_MODELS.slice(0, 1), 5));
	});

	test("computes the same", async () => {
		const same = REMEDY_MODELS.filter(({ rule, name }) => !rule.includes("table") && !name.startsWith("the last"));
		const model = operatorModel(same, 6);
		const feeds = randomFeeds(model);
		const before = await run(serializeModel(model), feeds);
		await runPasses(model, [legalizeOperators()], { target });
		const after = await run(serializeModel(model), feeds);
		for (const [index, { rule, name }] of same.entries()) {
			const output = model.graph.outputs[index]!.name;
			const least = ["htp/softmax-zero-point", "htp/channel-activation", "htp/bias-overflow"].includes(rule) ? 25 : 60;
			expect(sqnrDb(numbersOf(before[output]), numbersOf(after[output])), name).toBeGreaterThan(least);
		}
	});
});
