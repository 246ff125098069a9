import { describe, expect, test } from "vitest";
import { floatAttribute, intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { pair, weight } from "../runtime/operator-models.js";
import { type GraphBuilder, modelOf } from "../support/build.js";

const { FLOAT, UINT16, UINT8 } = DataType;

async function rulesOf(write: (b: GraphBuilder) => void): Promise<string[]> {
	const model = modelOf(write);
	const findings = await checkModel(model, parseTarget("qnn-htp:v79"));
	return findings
		.filter(({ rule }) => /silu-size|mish-size|clip-range|hard-swish-cut/.test(rule))
		.map(({ rule }) => rule);
}

/** The quantized largest values of a window of one: an image as a kernel makes it. */
function image(b: GraphBuilder, shape: readonly number[], dtype: typeof UINT16 | typeof UINT8 = UINT16): string {
	b.input("x", FLOAT, shape);
	const scale = dtype === UINT16 ? 2 ** -13 : 2 ** -5;
	b.node("MaxPool", [pair(b, "x", { dtype, scale })], ["image"], { kernel_shape: intsAttribute([1, 1]) });
	return pair(b, "image", { dtype, scale });
}

test.each([
	[[1, 8, 10, 10], true],
	[[2, 8, 12, 40], true],
	[[1, 8, 14, 8], true],
	[[1, 8, 8, 40], false],
	[[1, 8, 13, 9], false],
	[[1, 10, 20, 20], false],
	[[1, 8, "rows", 7], false],
] as const)("SiLU over %j", async (shape, isWrong) => {
	const rules = await rulesOf((b) => {
		const x = image(b, shape as readonly number[]);
		b.node("Sigmoid", [x], ["gate"]);
		b.node("Mul", [x, pair(b, "gate", { scale: 2 ** -16, zero: 0 })], ["y"]);
		b.output(pair(b, "y"));
	});
	expect(rules).toEqual(isWrong ? ["htp/silu-size"] : []);
});

test.each([
	["silu", [12, 31, 72], true],
	["silu", [1, 12, 31, 72], true],
	["silu", [8, 31, 72], false],
	["silu", [13, 31, 72], false],
	["silu", [12, 72], false],
	["mish", [9, 64, 128], true],
	["mish", [1, 9, 64, 128], true],
	["mish", [13, 64, 128], false],
	["mish", [12, 31, 128], false],
] as const)("%s over %j in front of a MatMul", async (activation, shape, isWrong) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, shape);
		const x = pair(b, "x");
		if (activation === "silu") {
			b.node("Sigmoid", [x], ["gate"]);
			b.node("Mul", [x, pair(b, "gate", { scale: 2 ** -16, zero: 0 })], ["y"]);
		} else b.node("Mish", [x], ["y"]);
		b.node("MatMul", [pair(b, "y"), weight(b, "w", { shape: [shape.at(-1)!, 8] })], ["product"]);
		b.output(pair(b, "product"));
	});
	expect(rules).toEqual(isWrong ? [`htp/${activation}-size`] : []);
});

test("SiLU of 8 bits, of a graph input, with floats in between, and of what is quantized in two ways is right", async () => {
	const shape = [1, 8, 10, 10];
	const narrow = await rulesOf((b) => {
		const x = image(b, shape, UINT8);
		b.node("Sigmoid", [x], ["gate"]);
		b.node("Mul", [x, pair(b, "gate", { dtype: UINT8, scale: 2 ** -8, zero: 0 })], ["y"]);
		b.output(pair(b, "y", { dtype: UINT8, scale: 2 ** -5 }));
	});
	const given = await rulesOf((b) => {
		b.input("x", FLOAT, shape);
		const x = pair(b, "x");
		b.node("Sigmoid", [x], ["gate"]);
		b.node("Mul", [x, pair(b, "gate", { scale: 2 ** -16, zero: 0 })], ["y"]);
		b.output(pair(b, "y"));
	});
	const floats = await rulesOf((b) => {
		const x = image(b, shape);
		b.node("Sigmoid", [x], ["gate"]);
		b.node("Mul", [x, "gate"], ["y"]);
		b.output(pair(b, "y"));
	});
	const twice = await rulesOf((b) => {
		const x = image(b, shape);
		b.node("Sigmoid", [x], ["gate"]);
		b.node("Mul", [pair(b, x, { scale: 2 ** -12 }), pair(b, "gate", { scale: 2 ** -16, zero: 0 })], ["y"]);
		b.output(pair(b, "y"));
	});
	expect([narrow, given, floats, twice]).toEqual([[], [], [], []]);
});

test("a pair that is repeated does not make SiLU another", async () => {
	const rules = await rulesOf((b) => {
		const x = image(b, [1, 8, 10, 10]);
		b.node("Sigmoid", [x], ["gate"]);
		b.node("Mul", [pair(b, x), pair(b, "gate", { scale: 2 ** -16, zero: 0 })], ["y"]);
		b.output(pair(b, "y"));
	});
	expect(rules).toEqual(["htp/silu-size"]);
});

test.each([
	["Add", -1, 1, 2 ** -13, true],
	["Add", -4, 4, 2 ** -13, false],
	["Add", -4, Number.POSITIVE_INFINITY, 2 ** -13, false],
	["Div", -1, 1, 2 ** -13, false],
	["Add", -1, 1, 2 ** -15, false],
] as const)("a Clip behind %s from %f to %f in steps of %f", async (op, lo, hi, scale, isWrong) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, [3, 6]);
		const x = pair(b, "x");
		b.node(op, [x, x], ["z"]);
		b.initializer("lo", floatTensor([], [lo]));
		if (Number.isFinite(hi)) b.initializer("hi", floatTensor([], [hi]));
		b.node("Clip", [pair(b, "z"), "lo", ...(Number.isFinite(hi) ? ["hi"] : [])], ["y"]);
		b.output(pair(b, "y", { scale }));
	});
	expect(rules).toEqual(isWrong ? ["htp/clip-range"] : []);
});

test("the limits of a Clip are attributes in old operator sets", async () => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, [3, 6]);
		const x = pair(b, "x");
		b.node("Add", [x, x], ["z"]);
		b.node("Clip", [pair(b, "z", { dtype: UINT8, scale: 2 ** -5 })], ["y"], { min: floatAttribute(0) });
		b.output(pair(b, "y", { dtype: UINT8, scale: 2 ** -5 }));
	});
	expect(rules).toEqual(["htp/clip-range"]);
});

test.each([
	["MatMul", "Relu", 2 ** -15, true],
	["MatMul", "Relu", 2 ** -13, false],
	["MatMul", "LeakyRelu", 2 ** -15, true],
	["Add", "Relu", 2 ** -15, true],
	["Add", "LeakyRelu", 2 ** -15, false],
	["Div", "Relu", 2 ** -15, false],
] as const)("%s and a %s behind a quantizer with steps of %f", async (op, activation, scale, isWrong) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, [3, 6]);
		b.input("w", FLOAT, op === "MatMul" ? [6, 6] : [3, 6]);
		b.node(op, [pair(b, "x"), pair(b, "w")], ["z"]);
		b.node(activation, [pair(b, "z", { scale })], ["y"]);
		b.output(pair(b, "y"));
	});
	expect(rules).toEqual(isWrong ? ["htp/clip-range"] : []);
});

/** A sum, quantized, Clips from -1 to 1 and other activations behind it, and a quantizer. */
function limitedSum(b: GraphBuilder, operators: readonly string[], encoding: { scale: number; zero: number }): void {
	b.input("x", FLOAT, [1, 4, 5, 6]);
	const x = pair(b, "x");
	b.node("Add", [x, x], ["sum"]);
	b.initializer("lo", floatTensor([], [-1]));
	b.initializer("hi", floatTensor([], [1]));
	let at = pair(b, "sum");
	for (const [index, op] of operators.entries()) {
		const inputs = op === "Clip" ? [at, "lo", "hi"] : op === "Concat" ? [at, at] : [at];
		const attributes =
			op === "MaxPool"
				? { kernel_shape: intsAttribute([2, 2]) }
				: op === "Concat"
					? { axis: intAttribute(1) }
					: ({} as Record<string, never>);
		b.node(op, inputs, [`v${index}`], attributes);
		at = `v${index}`;
	}
	b.output(pair(b, at, encoding));
}

const FROM_0_TO_4 = { scale: 2 ** -14, zero: 0 };
const TO_4 = { scale: 2 ** -13, zero: 2 ** 15 };
const TO_1 = { scale: 2 ** -15, zero: 2 ** 15 };

test.each([
	[["Clip", "MaxPool"], TO_4, true],
	[["Clip", "Transpose", "Identity"], TO_4, true],
	[["Clip", "MaxPool"], TO_1, false],
	[["Clip", "Flatten"], TO_4, false],
	[["Clip", "Concat"], TO_4, false],
	[["Transpose", "Clip"], TO_4, false],
	[["Clip", "Relu"], FROM_0_TO_4, true],
	[["Clip", "Relu", "MaxPool"], FROM_0_TO_4, true],
	[["Clip", "Relu"], TO_4, false],
	[["Clip", "Relu"], { scale: 2 ** -16, zero: 0 }, false],
	[["Relu", "Clip"], FROM_0_TO_4, true],
	[["Relu", "Clip"], TO_1, true],
	[["Relu", "Clip"], { scale: 2 ** -16, zero: 0 }, false],
	[["Clip", "Clip"], TO_4, false],
	[["Relu", "Relu", "Clip"], TO_4, true],
	[["Relu", "Relu", "Relu", "Clip"], FROM_0_TO_4, true],
	[["Relu", "Clip", "Relu"], FROM_0_TO_4, true],
	[["Relu", "Clip", "Relu"], TO_4, false],
	[["Relu", "Clip", "Relu", "Relu"], FROM_0_TO_4, false],
	[["Clip", "Relu", "Clip"], TO_4, false],
	[["Clip", "Relu", "Relu"], FROM_0_TO_4, false],
] as const)("%j with no quantizer between, behind a sum, in %j", async (operators, encoding, isWrong) => {
	const rules = await rulesOf((b) => limitedSum(b, operators, encoding));
	expect(rules).toEqual(isWrong ? ["htp/clip-range"] : []);
});

test("limits that two operators share are kept where another one reads the value between", async () => {
	const rules = await rulesOf((b) => {
		limitedSum(b, ["Clip", "Relu"], FROM_0_TO_4);
		b.output("v0");
	});
	expect(rules).toEqual([]);
});

test.each([
	["Flatten", "MatMul", true],
	["Transpose", "MatMul", false],
	["Transpose", "Add", true],
	["Flatten", "Add", false],
] as const)("limits are lost through a %s behind %s", async (view, op, isWrong) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, [6, 6]);
		const x = pair(b, "x");
		b.node(op, [x, x], ["z"]);
		b.node(view, [pair(b, "z", { scale: 2 ** -15 })], ["view"]);
		b.node("Relu", [pair(b, "view", { scale: 2 ** -15 })], ["y"]);
		b.output(pair(b, "y"));
	});
	expect(rules).toEqual(isWrong ? ["htp/clip-range"] : []);
});

test("a pair behind a Clip from 0 and in front of a Pad by computed numbers cuts nothing off", async () => {
	const model = modelOf((b) => {
		b.input("x", FLOAT, [1, 4, 6, 6]);
		b.initializer("lo", floatTensor([], [0]));
		b.initializer("hi", floatTensor([], [4]));
		b.node("Clip", [pair(b, "x"), "lo", "hi"], ["clip"]);
		b.initializer("ends", int64Tensor([4], [0, 0, 1, 1]));
		b.node("Concat", ["ends", "ends"], ["pads"], { axis: intAttribute(0) });
		b.node("Pad", [pair(b, "clip", { scale: 2 ** -14, zero: 0 }), "pads"], ["y"]);
		b.output(pair(b, "y", { scale: 2 ** -14, zero: 0 }));
	});
	const findings = await checkModel(model, parseTarget("qnn-htp:v79"));
	expect(findings.map(({ rule }) => rule)).not.toContain("htp/lost-saturation");
});

test.each([
	["v79", "MatMul", 2 ** -13, { scale: 0.675 / 65535, zero: 36408 }, true],
	["v69", "MatMul", 2 ** -13, { scale: 0.675 / 65535, zero: 36408 }, true],
	["v68", "MatMul", 2 ** -13, { scale: 0.675 / 65535, zero: 36408 }, false],
	["v79", "Add", 2 ** -13, { scale: 0.675 / 65535, zero: 36408 }, false],
	["v79", "MatMul", 2 ** -14, { scale: 0.675 / 65535, zero: 36408 }, false],
	["v79", "MatMul", 2 ** -13, { scale: 0.3 / 65535, zero: 0 }, false],
	["v79", "MatMul", 2 ** -13, { scale: 1.375 / 65535, zero: 17874 }, false],
] as const)(
	"on %s a HardSwish behind %s in steps of %f, written as %o",
	async (target, op, scale, encoding, isWrong) => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [6, 6]);
			const x = pair(b, "x");
			b.node(op, [x, x], ["z"]);
			b.node("HardSwish", [pair(b, "z", { scale })], ["y"]);
			b.output(pair(b, "y", encoding));
		});
		const findings = await checkModel(model, parseTarget(`qnn-htp:${target}`));
		expect(findings.some(({ rule }) => rule === "htp/hard-swish-range")).toBe(isWrong);
	},
);

describe("a HardSwish behind a Conv", () => {
	/** With the zero point of what comes to it, in steps of 2^-13, and the lowest code's value of its result. */
	async function rulesOfHardSwish(op: string, zero: number, lo: number): Promise<string[]> {
		return rulesOf((b) => {
			b.input("x", FLOAT, [1, 2, 5, 6]);
			b.initializer("w", floatTensor([2, 2, 1, 1], [1, 2, 3, 4]));
			b.node(op, [pair(b, "x"), "w"], ["made"]);
			b.node("HardSwish", [pair(b, "made", { scale: 2 ** -13, zero })], ["y"]);
			b.output(pair(b, "y", { scale: 2 ** -14, zero: Math.round(-lo * 2 ** 14) }));
		});
	}

	test.each([
		["Conv", 3 * 2 ** 13, -0.375, []],
		["Conv", 2.5 * 2 ** 13, -0.375, ["htp/hard-swish-cut"]],
		["Conv", 2 ** 13, -0.375, ["htp/hard-swish-cut"]],
		["Conv", 0, -0.375, ["htp/hard-swish-cut"]],
		["Conv", 0, 0, []],
		["ConvTranspose", 2 ** 13, -0.375, []],
	] as const)("%s, codes from %d on, to a result from %d on", async (op, zero, lo, expected) => {
		expect(await rulesOfHardSwish(op, zero, lo)).toEqual(expected);
	});
});

const HALF_NORMS: readonly (readonly [what: string, change: Partial<HalfNorm>, isRefused: boolean])[] = [
	["as models of half floats have it", {}, true],
	["with a reciprocal", { reciprocal: true }, true],
	["with a Mul for the square", { square: "Mul" }, false],
	["without a bias", { bias: false }, false],
	["of FLOAT", { dtype: FLOAT }, false],
	["whose Cast is read elsewhere", { shared: true }, false],
];

interface HalfNorm {
	readonly dtype: typeof FLOAT | typeof DataType.FLOAT16;
	readonly square: "Pow" | "Mul";
	readonly reciprocal: boolean;
	readonly bias: boolean;
	readonly shared: boolean;
}

test.each(HALF_NORMS)("a layer normalization behind a Cast %s", async (_what, change, isRefused) => {
	const given = { dtype: DataType.FLOAT16, square: "Pow", reciprocal: false, bias: true, shared: false, ...change };
	const model = modelOf((b) => {
		b.input("x", given.dtype, [3, 6]);
		b.node("Cast", ["x"], ["wide"], { to: intAttribute(FLOAT) });
		if (given.shared) b.node("Relu", ["wide"], ["other"]);
		b.initializer("axes", int64Tensor([1], [-1]));
		b.initializer("two", floatTensor([], [2]));
		b.initializer("one", floatTensor([], [1]));
		b.initializer("vector", floatTensor([6], [1, 2, 3, 4, 5, 6]));
		b.node("ReduceMean", ["wide", "axes"], ["mean"]);
		b.node("Sub", ["wide", "mean"], ["centered"]);
		b.node(given.square, ["centered", given.square === "Pow" ? "two" : "centered"], ["square"]);
		b.node("ReduceMean", ["square", "axes"], ["variance"]);
		b.node("Add", ["variance", "one"], ["sum"]);
		b.node("Sqrt", ["sum"], ["root"]);
		if (given.reciprocal) b.node("Div", ["one", "root"], ["factor"]);
		b.node(given.reciprocal ? "Mul" : "Div", ["centered", given.reciprocal ? "factor" : "root"], ["normal"]);
		b.node("Mul", ["normal", "vector"], ["scaled"]);
		if (given.bias) b.node("Add", ["scaled", "vector"], ["biased"]);
		b.output(given.bias ? "biased" : "scaled");
		if (given.shared) b.output("other");
	});
	const rules = (await checkModel(model, parseTarget("qnn-htp:v79"))).map(({ rule }) => rule);
	expect(rules.includes("htp/half-norm")).toBe(isRefused);
});

const TANHS: readonly (readonly [
	what: string,
	shape: readonly number[],
	between: readonly string[],
	isFound: boolean,
])[] = [
	["a MatMul", [6, 24], [], true],
	["a MatMul of one matrix of 33 rows", [33, 24], [], false],
	["a MatMul of two such matrices", [2, 33, 24], [], true],
	["a MatMul and a bias", [6, 24], ["Add"], true],
	["a MatMul and factors", [6, 24], ["Mul"], false],
	["a MatMul and two biases", [6, 24], ["Add", "Add"], false],
	["a MatMul and views", [6, 24], ["Transpose", "Identity"], true],
	["a MatMul and a Relu", [6, 24], ["Relu"], false],
];

test.each(TANHS)("a Tanh of floats behind %s", async (_what, shape, between, isFound) => {
	const rulesOn = async (architecture: string, isRead: boolean) => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, shape);
			b.initializer("w", floatTensor([24, 16], new Float32Array(384)));
			b.initializer("number", floatTensor([1], [0.5]));
			b.node("MatMul", ["x", "w"], ["0"]);
			for (const [index, op] of between.entries()) {
				const inputs = op === "Add" || op === "Mul" ? [`${index}`, "number"] : [`${index}`];
				b.node(op, inputs, [`${index + 1}`]);
			}
			b.node("Tanh", [`${between.length}`], ["y"]);
			b.output("y");
			if (isRead) b.output(`${between.length}`);
		});
		return (await checkModel(model, parseTarget(`qnn-htp:${architecture}`))).map(({ rule }) => rule);
	};
	expect((await rulesOn("v79", false)).includes("htp/tanh-product")).toBe(isFound);
	expect(await rulesOn("v69", false)).not.toContain("htp/tanh-product");
	expect(await rulesOn("v79", true)).not.toContain("htp/tanh-product");
});

const POOLS: readonly (readonly [
	columns: number,
	kernel: readonly number[],
	pads: readonly number[],
	zero: number,
	step: number,
	isFound: boolean,
])[] = [
	[8, [2, 2], [1, 1, 1, 1], 32768, 2 ** -12, true],
	[8, [2, 2], [1, 1, 1, 1], 0, 2 ** -12, false],
	[9, [2, 2], [1, 1, 1, 1], 32768, 2 ** -12, false],
	[8, [2, 2], [1, 1, 1, 1], 32768, 2 ** -13, false],
	[9, [1, 4], [0, 1, 0, 0], 32768, 2 ** -12, true],
	[8, [2, 2], [1, 0, 1, 0], 32768, 2 ** -12, false],
	[8, [3, 3], [1, 1, 1, 1], 32768, 2 ** -12, false],
	[8, [4, 4], [2, 2, 2, 2], 32768, 2 ** -12, false],
];

test.each(POOLS)(
	"a MaxPool of %i columns by [2, 2], kernel %j and pads %j, codes from %i on, to steps of %d",
	async (columns, kernel, pads, zero, step, isFound) => {
		const model = modelOf((b) => {
			b.input("x", FLOAT, [1, 4, 6, columns]);
			const x = pair(b, "x", { scale: 2 ** -13, zero });
			const attributes = {
				kernel_shape: intsAttribute(kernel),
				strides: intsAttribute([2, 2]),
				pads: intsAttribute(pads),
			};
			b.node("MaxPool", [x], ["y"], attributes);
			b.output(pair(b, "y", { scale: step, zero }));
		});
		const rules = (await checkModel(model, parseTarget("qnn-htp:v79"))).map(({ rule }) => rule);
		expect(rules.includes("htp/max-columns")).toBe(isFound);
	},
);
