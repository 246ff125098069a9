import { expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { node, pair, weight } from "../runtime/operator-models.js";
import { type GraphBuilder, modelOf } from "../support/build.js";

async function isFault(write: (b: GraphBuilder) => void): Promise<boolean> {
	const findings = await checkModel(modelOf(write), parseTarget("qnn-htp:v79"));
	return findings.some(({ rule }) => rule === "htp/channel-fill");
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
