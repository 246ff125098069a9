import { expect, test } from "vitest";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { type Encoding, pair } from "../runtime/operator-models.js";
import { modelOf } from "../support/build.js";

const { FLOAT, UINT8, UINT16, INT16 } = DataType;

/** Of an operator on `input`; of a Pow with the exponent that is named, 2 by default, of a Div with the dividend 2. */
async function rulesOf(name: string, input: Encoding, output: Encoding, architecture = "v79"): Promise<string[]> {
	const [op, number = "2"] = name.split(" ") as [string, string?];
	const model = modelOf((b) => {
		b.input("x", FLOAT, [6, 24]);
		b.initializer("number", floatTensor([], [Number(number)]));
		const x = pair(b, "x", input);
		b.node(op, op === "Pow" ? [x, "number"] : op === "Div" ? ["number", x] : [x], ["y"]);
		b.output(pair(b, "y", output));
	});
	const findings = await checkModel(model, parseTarget(`qnn-htp:${architecture}`));
	return findings.filter(({ consequence }) => consequence !== "slow").map(({ rule }) => rule);
}

/** Codes that reach up to `largest`, from 0 or from as far below it. */
function upTo(largest: number, dtype: NonNullable<Encoding["dtype"]> = UINT16, isPositive = false): Encoding {
	const codes = dtype === UINT8 ? 255 : 65535;
	const middle = dtype === INT16 ? 0 : (codes + 1) / 2;
	return isPositive
		? { dtype, scale: largest / codes, zero: 0 }
		: { dtype, scale: (2 * largest) / codes, zero: middle };
}

/** Codes from `lo` to `hi`. */
function from(lo: number, hi: number, dtype: NonNullable<Encoding["dtype"]> = UINT16): Encoding {
	const scale = (hi - lo) / (dtype === UINT8 ? 255 : 65535);
	return { dtype, scale, zero: Math.round(-lo / scale) };
}

test.each<[op: string, input: Encoding, output: Encoding, rule: string | undefined, architecture?: string]>([
	["Log", upTo(1, UINT16, true), { dtype: INT16, scale: 2 ** -12, zero: 16384 }, "htp/log-zero"],
	["Log", upTo(1, UINT16, true), { dtype: INT16, scale: 2 ** -12, zero: 16384 }, undefined, "v68"],
	["Log", upTo(1, UINT16, true), { dtype: INT16, scale: 2 ** -13, zero: 16384 }, undefined],
	["Log", upTo(1, UINT8, true), upTo(16, UINT8), undefined],
	["Reciprocal", upTo(0.9, UINT16, true), upTo(10, UINT16, true), "htp/reciprocal-range"],
	["Reciprocal", upTo(0.9, INT16), upTo(10, INT16), "htp/reciprocal-range"],
	["Reciprocal", upTo(0.9, UINT8, true), upTo(10, UINT8, true), "htp/reciprocal-range"],
	["Reciprocal", upTo(0.9, UINT16, true), upTo(10, INT16), undefined],
	["Reciprocal", upTo(1, UINT16, true), upTo(1e5, UINT16, true), undefined],
	["Reciprocal", upTo(1, UINT16, true), upTo(1e5, INT16), "htp/reciprocal-range"],
	["Reciprocal", upTo(1, UINT8, true), upTo(300, UINT8, true), "htp/reciprocal-range"],
	["Reciprocal", upTo(1e4, UINT16, true), upTo(0.01, UINT16, true), "htp/reciprocal-range"],
	["Reciprocal", upTo(100, UINT8, true), upTo(0.5, UINT8, true), "htp/reciprocal-range"],
	["Reciprocal", upTo(100, UINT16, true), upTo(0.5, UINT16, true), undefined],
	["Pow", upTo(400), upTo(160_000, UINT16, true), "htp/square-range"],
	["Pow", upTo(400), upTo(160_000, UINT16, true), undefined, "v68"],
	["Pow", upTo(200), upTo(40_000, UINT16, true), undefined],
	["Pow", upTo(0.001), upTo(1e-6, UINT16, true), "htp/square-range"],
	["Pow 3", upTo(100, UINT16, true), upTo(1e6, UINT16, true), "htp/power-range"],
	["Pow 3", upTo(100, UINT16, true), upTo(1e6, UINT16, true), undefined, "v68"],
	["Pow 3", upTo(30, UINT16, true), upTo(27_000, UINT16, true), undefined],
	["Pow -2", upTo(5000, UINT16, true), upTo(1e-6, UINT16, true), "htp/power-range"],
	["Pow 0.5", upTo(5000, UINT16, true), upTo(71, UINT16, true), undefined],
	["Div", upTo(20_000, UINT16, true), upTo(1, UINT16, true), "htp/float-dividend"],
	["Div", upTo(10_000, UINT16, true), upTo(1, UINT16, true), undefined],
	["Elu", upTo(30_000), upTo(30_000), "htp/elu-range"],
	["Elu", upTo(30_000, INT16), upTo(30_000, INT16), "htp/elu-range"],
	["Elu", upTo(30_000), upTo(30_000, INT16), undefined],
	["Elu", upTo(0.005), upTo(0.005), "htp/elu-small"],
	["Elu", upTo(0.02), upTo(0.02), undefined],
	["Elu", upTo(0.005), upTo(0.005, INT16), "htp/elu-small"],
	["Elu", upTo(0.007), upTo(0.007, INT16), undefined],
	["Sin", upTo(0.009), upTo(0.01), "htp/small-angle"],
	["Sin", upTo(0.011), upTo(0.011), undefined],
	["Sin", upTo(0.001, UINT8), upTo(0.001, UINT8), undefined],
	["Atan", upTo(0.0015), upTo(0.002), "htp/small-angle"],
	["Atan", upTo(0.003), upTo(0.003), undefined],
	["Atan", upTo(0.003), upTo(0.003, INT16), "htp/small-angle"],
	["Relu", from(-6.5, 0), { scale: 1e-8, zero: 0 }, "htp/far-zero"],
	["Relu", from(-6.5, 0), { scale: 3e-8, zero: 0 }, undefined],
	["Relu", from(-6.5, 0, UINT8), { dtype: UINT8, scale: 1e-6, zero: 0 }, undefined],
	["Relu", upTo(6.5), { scale: 1e-8, zero: 0 }, undefined],
	["Relu", { dtype: INT16, scale: 1e-4, zero: 30000 }, { dtype: INT16, scale: 1e-8, zero: -0x8000 }, "htp/far-zero"],
	["Neg", from(-6.5, 0.5), { scale: 1e-8, zero: 0 }, "htp/far-zero"],
	["Abs", from(-6.5, 0.5), { scale: 1e-8, zero: 0 }, undefined],
	["Ceil", upTo(0.2, UINT16, true), upTo(1, UINT16, true), "htp/rounded-steps"],
	["Ceil", upTo(0.3, UINT16, true), upTo(1, UINT16, true), undefined],
	["Floor", upTo(0.0001), upTo(1), "htp/rounded-steps"],
	["Floor", upTo(0.2), upTo(1), undefined],
	["Gelu", upTo(0.0001, UINT16, true), upTo(0.0001, UINT16, true), "htp/gelu-small"],
	["Gelu", upTo(0.001), upTo(0.001), undefined],
	["Gelu", from(-50, 1), upTo(1), "htp/gelu-range"],
	["Gelu", from(-8, 0), upTo(0.17), undefined],
	["Gelu", from(-50, 5), upTo(5), undefined],
	["Gelu", from(-50, 1, UINT8), upTo(1, UINT8), undefined],
	["Selu", upTo(0.005, UINT8), upTo(0.01, UINT8), "htp/selu-small"],
	["Selu", upTo(0.01), upTo(0.02), undefined],
	["Pow 0.5", upTo(0.0001, UINT8, true), upTo(0.01, UINT8, true), "htp/half-scale"],
	["Pow 0.5", upTo(0.0002, UINT8, true), upTo(0.02, UINT8, true), undefined],
	["Neg", upTo(1e-6), upTo(1e-6, INT16), "htp/half-results"],
	["Neg", upTo(1e-5), upTo(1e-5, INT16), undefined],
	["Neg", upTo(1e-6), upTo(1e-6), undefined],
	["Log", upTo(0.001, UINT16, true), { dtype: INT16, scale: 7 / 32768, zero: 0 }, "htp/log-small"],
	["Log", upTo(0.01, UINT16, true), { dtype: INT16, scale: 7 / 32768, zero: 0 }, undefined],
	["Mish", from(-5, 1), upTo(1), "htp/small-results"],
	["Mish", from(-5, 1), upTo(1), undefined, "v68"],
	["Mish", from(-5, 2.1), upTo(2), undefined],
	["Mish", from(-100, 10), upTo(10), "htp/large-input"],
	["Softplus", from(-5, 0), upTo(0.7, UINT16, true), "htp/small-results"],
	["Softplus", from(-5, 0, UINT8), upTo(0.7, UINT8, true), undefined],
	["Softplus", from(-1, 0), upTo(0.7, UINT16, true), undefined],
	["Softplus", from(-300, 5), upTo(5, UINT16, true), "htp/large-input"],
	["Cos", upTo(100), upTo(1, INT16), "htp/mixed-range"],
	["Cos", upTo(100), upTo(1), undefined],
	["Exp", from(-300, 0), upTo(1, INT16), "htp/mixed-range"],
	["Exp", from(-300, 0), upTo(1, INT16), undefined, "v68"],
	["HardSwish", upTo(0.001), upTo(0.001, INT16), "htp/mixed-range"],
	["Floor", upTo(5), upTo(5, INT16), "htp/mixed-range"],
	["Floor", upTo(20), upTo(20, INT16), undefined],
	["Softplus", upTo(250), upTo(250, UINT16, true), "htp/large-input"],
	["Softplus", upTo(150), upTo(150, UINT16, true), undefined],
	["Softplus", upTo(100, INT16), upTo(100, INT16), "htp/large-input"],
	["Softplus", upTo(250, UINT8), upTo(250, UINT8, true), undefined],
	["Mish", upTo(100, UINT8), upTo(100, UINT8), "htp/large-input"],
	["Mish", upTo(100, UINT8), upTo(100, UINT8), undefined, "v68"],
	["Mish", upTo(70), upTo(70), undefined],
	["Abs", upTo(4e-5, UINT8), upTo(4e-5), "htp/half-scale"],
	["Abs", upTo(4e-5, UINT8), upTo(4e-5), undefined, "v68"],
	["Abs", upTo(4e-5, UINT8), upTo(4e-5, UINT8), undefined],
	["Abs", upTo(3.05e-5, UINT8), upTo(3e-5), undefined],
	["Gelu", from(-200, 0), upTo(0.17, INT16), "htp/gelu-range"],
	["Gelu", from(-100, 0), upTo(0.17, INT16), undefined],
	["Gelu", from(-200, 0, UINT8), upTo(0.17, UINT8), undefined],
	["Reciprocal", upTo(10, UINT8, true), upTo(10, UINT8, true), "htp/reciprocal-range"],
	["Reciprocal", upTo(5, UINT8, true), upTo(10, UINT8, true), undefined],
	["Sigmoid", upTo(5), upTo(0.5, UINT16, true), "htp/cut-activation"],
	["Sigmoid", upTo(5), upTo(1, UINT16, true), undefined],
	["Sigmoid", from(-5, 0), upTo(0.4, UINT16, true), undefined],
	["Sigmoid", upTo(5, UINT8), upTo(0.5, UINT8, true), undefined],
	["Tanh", upTo(1), upTo(0.5), "htp/cut-activation"],
	["Tanh", upTo(0.5), upTo(0.47), undefined],
	["Sigmoid", from(-10, 0), upTo(0.005, UINT16, true), "htp/small-sigmoid"],
	["Sigmoid", from(-10, 0), upTo(0.05, INT16), "htp/small-sigmoid"],
	["Sigmoid", from(-10, 0), upTo(0.05, INT16), undefined, "v68"],
	["Sigmoid", from(-10, 0), upTo(0.05, UINT16, true), undefined],
	["Relu", from(-5, 0), upTo(0.003, UINT16, true), undefined],
	["Relu", from(-5, 0, UINT8), upTo(0.0001, UINT8, true), undefined],
	["Neg", upTo(5), upTo(0.0001), undefined],
	["LogSoftmax", upTo(2, UINT8), from(-0.3, 0, UINT8), "htp/log-softmax-range"],
	["LogSoftmax", upTo(2), upTo(0.3), "htp/log-softmax-range"],
	["LogSoftmax", upTo(2), from(-0.3, 0), undefined],
	["LogSoftmax", upTo(2, UINT8), from(-0.6, 0, UINT8), undefined],
])("%s from %o to %o: %s", async (op, input, output, rule, architecture) => {
	expect(await rulesOf(op, input, output, architecture)).toEqual(rule === undefined ? [] : [rule]);
});

test.each([
	["Relu", upTo(100_000), upTo(100_000, INT16), "v79", true],
	["Relu", upTo(100_000), upTo(100_000, UINT8), "v73", true],
	["Relu", upTo(100_000), upTo(100_000, INT16), "v68", false],
	["Relu", upTo(100_000), upTo(120_000), "v79", false],
	["Relu", upTo(100_000), upTo(60_000, INT16), "v79", false],
	["Identity", upTo(100_000), upTo(120_000), "v79", true],
	["Identity", upTo(100_000), upTo(100_000), "v79", false],
	["Flatten", upTo(60_000), upTo(65_000), "v79", false],
] as const)("%s of values beyond half floats: %j to %j on %s", async (op, input, output, architecture, isWrong) => {
	const rules = await rulesOf(op, input, output, architecture);
	expect(rules.filter((rule) => rule === "htp/half-range")).toEqual(isWrong ? ["htp/half-range"] : []);
});
