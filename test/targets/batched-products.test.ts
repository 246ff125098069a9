import { expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { node, pair } from "../runtime/operator-models.js";
import { type GraphBuilder, modelOf } from "../support/build.js";

const { FLOAT, UINT16, UINT8 } = DataType;

/** A batch of products in front of what `second` names, behind one another on `axis`. */
function joinedProduct(
	batch: number,
	rows: number,
	second = "Sin",
	axis = -1,
	dtype: typeof UINT8 | typeof UINT16 = UINT16,
) {
	return (b: GraphBuilder) => {
		const shape = [batch, rows, 16];
		b.input("x", FLOAT, shape);
		b.input("k", FLOAT, [batch, 16, 16]);
		const code = (name: string) => pair(b, name, { dtype });
		const [x, k] = [code("x"), code("k")];
		const product = code(node(b, "MatMul", [x, k], "product"));
		b.initializer("one", floatTensor(shape, new Float32Array(batch * rows * 16)));
		const other = { constant: () => "one", input: () => x, product: () => code(node(b, "MatMul", [x, x], "other")) };
		const made = second in other ? other[second as keyof typeof other]() : code(node(b, second, [x], "computed"));
		b.node("Concat", [product, made], ["y"], { axis: intAttribute(axis) });
		b.output(code("y"));
	};
}

test.each([
	[8, 16, "Sin", -1, UINT16, true],
	[8, 16, "Sin", 2, UINT16, true],
	[12, 20, "input", -1, UINT16, true],
	[9, 40, "Relu", -1, UINT8, true],
	[9, 20, "Relu", -1, UINT8, false],
	[7, 16, "Sin", -1, UINT16, false],
	[8, 4, "Sin", -1, UINT16, false],
	[8, 33, "Sin", -1, UINT16, false],
	[8, 36, "Sin", -1, UINT16, false],
	[16, 16, "Sin", 1, UINT16, false],
	[16, 16, "constant", -1, UINT16, false],
	[16, 16, "product", -1, UINT16, false],
] as const)("%i products of %i rows, then %s on axis %i", async (batch, rows, second, axis, dtype, isBroken) => {
	const model = modelOf(joinedProduct(batch, rows, second, axis, dtype));
	const found = (await checkModel(model, parseTarget("qnn-htp:v79"))).map(({ rule }) => rule);
	expect(found.filter((rule) => rule === "htp/concat-product")).toEqual(isBroken ? ["htp/concat-product"] : []);
});

test.each([
	[[8, 8, 8], "Reshape", UINT16, true],
	[[1, 8, 8, 8], "Reshape", UINT16, true],
	[[2, 9, 16], "Reshape", UINT16, true],
	[[1, 8, 16], "Reshape", UINT16, false],
	[[2, 7, 16], "Reshape", UINT16, false],
	[[2, 8, 12], "Reshape", UINT16, false],
	[[2, 8, 16], "Relu", UINT16, false],
	[[2, 8, 16], "Reshape", UINT8, false],
] as const)("products [%s], then %s", async (lengths, reader, dtype, isBroken) => {
	const model = modelOf((b) => {
		b.input("x", FLOAT, [...lengths, 16]);
		b.input("k", FLOAT, [...lengths.slice(0, -1), 16, 16]);
		const code = (name: string) => pair(b, name, { dtype });
		const product = code(node(b, "MatMul", [code("x"), code("k")], "product"));
		b.initializer("shape", int64Tensor([2], [-1, 16]));
		b.node(reader, reader === "Relu" ? [product] : [product, "shape"], ["y"]);
		b.output(code("y"));
	});
	const found = (await checkModel(model, parseTarget("qnn-htp:v79"))).map(({ rule }) => rule);
	expect(found.includes("htp/batches-reshaped")).toBe(isBroken);
});
