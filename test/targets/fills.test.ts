import { expect, test } from "vitest";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { node, pair, weight } from "../runtime/operator-models.js";
import { type GraphBuilder, modelOf } from "../support/build.js";

async function isFault(write: (b: GraphBuilder) => void, about = "htp/channel-fill"): Promise<boolean> {
	const findings = await checkModel(modelOf(write), parseTarget("qnn-htp:v79"));
	return findings.some(({ rule }) => rule === about);
}

interface Product {
	readonly columns?: number;
	readonly count?: number;
	readonly numbers?: (count: number) => number[];
	readonly isInFront?: boolean;
	/** Between the operand and the Concat. */
	readonly operator?: string;
}

/** Columns with floats behind them, which a product reads. */
function product(b: GraphBuilder, { columns = 42, count = 6, numbers, isInFront = false, operator }: Product = {}) {
	b.input("x", DataType.FLOAT, [1, columns]);
	const x = pair(b, "x");
	const operand = operator === undefined ? x : pair(b, node(b, operator, [x], "computed"));
	b.initializer("fill", floatTensor([1, count], numbers?.(count) ?? new Array<number>(count).fill(0.5)));
	const inputs = isInFront ? ["fill", operand] : [operand, "fill"];
	b.node("Concat", inputs, ["longer"], { axis: intAttribute(-1) });
	const longer = pair(b, "longer");
	b.node("MatMul", [longer, weight(b, "w", { shape: [columns + count, 8] })], ["y"]);
	b.output(pair(b, "y"));
}

test.each([
	[42, 6],
	[31, 1],
	[8, 8],
	[33, 31],
])("%i columns and %i equal numbers behind them", async (columns, count) => {
	expect(await isFault((b) => product(b, { columns, count }))).toBe(true);
});

test.each<[string, Product]>([
	["nothing to fill up", { columns: 32, count: 1 }],
	["more than the last 32", { columns: 40, count: 31 }],
	["numbers that differ", { numbers: (count) => Array.from({ length: count }, (_, at) => at) }],
	["numbers in front", { isInFront: true }],
	["numbers behind a Sigmoid", { operator: "Sigmoid" }],
])("%s is right", async (_, given) => {
	expect(await isFault((b) => product(b, given))).toBe(false);
});

/** Zeros behind columns, which a product reads with `last` in the rows of the weight that belong to them. */
function paddedProduct(b: GraphBuilder, last: number): void {
	b.input("x", DataType.FLOAT, [2, 20]);
	b.initializer("pads", int64Tensor([4], [0, 0, 0, 12]));
	b.node("Pad", [pair(b, "x"), "pads"], ["longer"]);
	const rows = Array.from({ length: 32 * 4 }, (_, at) => (at < 20 * 4 ? 1 : last));
	b.initializer("w", floatTensor([32, 4], rows));
	b.node("MatMul", [pair(b, "longer"), "w"], ["y"]);
	b.output("y");
}

test("zeros that nothing but zeros of a weight are multiplied with may be lost", async () => {
	expect(await isFault((b) => paddedProduct(b, 0))).toBe(false);
	expect(await isFault((b) => paddedProduct(b, 1))).toBe(true);
});

interface Tokens {
	readonly rows?: number;
	readonly count?: number;
	readonly numbers?: (at: number) => number;
	/** Makes the rows. */
	readonly operator?: string;
	/** Reads them. */
	readonly reader?: "MatMul" | "Sub";
	readonly dtype?: typeof DataType.UINT8;
}

/** Rows of a constant in front of computed ones. */
function tokens(b: GraphBuilder, given: Tokens): void {
	const { rows = 36, count = 1, numbers = () => 0.5, operator = "Gelu", reader = "MatMul", dtype } = given;
	b.input("x", DataType.FLOAT, [1, rows, 4]);
	const encoding = dtype === undefined ? {} : { dtype, scale: 2 ** -5 };
	const computed = pair(b, node(b, operator, [pair(b, "x", encoding)], "computed"), encoding);
	b.initializer(
		"front",
		floatTensor(
			[1, count, 4],
			Array.from({ length: count * 4 }, (_, at) => numbers(at)),
		),
	);
	b.node("Concat", ["front", computed], ["all"], { axis: intAttribute(1) });
	const all = pair(b, "all", encoding);
	const other = reader === "Sub" ? all : weight(b, "w", { shape: [4, 8] });
	b.output(pair(b, node(b, reader, [all, other], "y"), encoding));
}

test.each([
	[36, 1],
	[64, 3],
	[28, 5],
	[196, 1],
])("%i rows behind %i of one number", async (rows, count) => {
	expect(await isFault((b) => tokens(b, { rows, count }), "htp/leading-fill")).toBe(true);
});

test.each<[string, Tokens]>([
	["no multiple of 4 rows", { rows: 34 }],
	["a multiple of 4 of one number", { count: 8 }],
	["32 rows in all", { rows: 28, count: 4 }],
	["up to 32 rows", { rows: 28, count: 3 }],
	["numbers that differ", { numbers: (at) => at }],
	["rows of a Tanh", { operator: "Tanh" }],
	["no product", { reader: "Sub" }],
	["8 bits", { dtype: DataType.UINT8 }],
])("%s compile", async (_, given) => {
	expect(await isFault((b) => tokens(b, given), "htp/leading-fill")).toBe(false);
});

/** An operator on an image or rows, in front of a Pad of what it makes; nothing reads that but the output. */
async function isLost(
	operator: string,
	shape: readonly number[],
	pads: readonly number[],
	target: string,
): Promise<boolean> {
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, shape);
		const attributes = operator === "AveragePool" ? { kernel_shape: intsAttribute([2, 2]) } : {};
		b.node(operator, [pair(b, "x")], ["made"], attributes);
		b.initializer("pads", int64Tensor([pads.length], pads));
		b.output(pair(b, node(b, "Pad", [pair(b, "made"), "pads"], "longer")));
	});
	const findings = await checkModel(model, parseTarget(`qnn-htp:${target}`));
	return findings.some(({ rule }) => rule === "htp/channel-fill");
}

test.each<[string, string, readonly number[], readonly number[], string, boolean]>([
	["channels of an average", "AveragePool", [1, 31, 4, 4], [0, 0, 0, 0, 0, 1, 0, 0], "v69", true],
	["the same on a v73", "AveragePool", [1, 31, 4, 4], [0, 0, 0, 0, 0, 1, 0, 0], "v73", false],
	["more than the last 32", "AveragePool", [1, 31, 4, 4], [0, 0, 0, 0, 0, 2, 0, 0], "v69", false],
	["in front, too", "AveragePool", [1, 20, 4, 4], [0, 1, 0, 0, 0, 1, 0, 0], "v69", false],
	["another axis", "AveragePool", [1, 31, 4, 4], [0, 0, 0, 0, 0, 0, 0, 1], "v69", false],
	["columns of a LogSoftmax", "LogSoftmax", [3, 20], [0, 0, 0, 4], "v68", true],
	["columns of a Relu", "Relu", [3, 20], [0, 0, 0, 4], "v68", false],
])("a Pad of %s that is read as it is", async (_name, operator, shape, pads, target, isBroken) => {
	expect(await isLost(operator, shape, pads, target)).toBe(isBroken);
});
