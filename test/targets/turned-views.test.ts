import { expect, test } from "vitest";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { pair, weight } from "../runtime/operator-models.js";
import { type GraphBuilder, modelOf } from "../support/build.js";

const { FLOAT, INT32, INT64 } = DataType;

async function rulesOf(write: (b: GraphBuilder) => void, architecture = "v79"): Promise<string[]> {
	const found = await checkModel(modelOf(write), parseTarget(`qnn-htp:${architecture}`));
	return found.filter(({ consequence }) => consequence !== "slow").map(({ rule }) => rule);
}

function reshaped(b: GraphBuilder, x: string, name: string, shape: readonly number[]): string {
	b.initializer(`${name}_shape`, int64Tensor([shape.length], shape));
	b.node("Reshape", [x, `${name}_shape`], [name]);
	return pair(b, name);
}

test.each<[string, number[], number[], string, boolean]>([
	["Relu", [3, 5, 6, 1], [3, 5, 1, 6], "Mul", true],
	["Relu", [3, 5, 1, 6], [3, 5, 6, 1], "Mul", true],
	["Relu", [15, 6, 1], [15, 1, 6], "Mul", true],
	["Relu", [15, 6, 1], [15, 1, 6], "Add", false],
	["Relu", [90, 1], [1, 90], "Mul", false],
	["Relu", [15, 6, 1], [1, 1, 90], "Mul", false],
	["", [15, 6, 1], [15, 1, 6], "Mul", false],
])("behind %s, %j and %j in a %s", async (op, first, second, operator, isBroken) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [90]);
		let value = pair(b, "x");
		if (op !== "") {
			b.node(op, [value], ["made"]);
			value = pair(b, "made");
		}
		b.node(operator, [reshaped(b, value, "a", first), reshaped(b, value, "b", second)], ["y"]);
		b.output(pair(b, "y"));
	});
	expect(found).toEqual(isBroken ? ["htp/outer-product"] : []);
});

test.each<[number, number, boolean, number[], boolean]>([
	[8, 64, true, [0, 0, 0, 0, 0, 0, 1, 0], true],
	[8, 16, true, [0, 0, 0, 0, 0, 0, 2, 0], true],
	[8, 64, true, [0, 0, 0, 0, 0, 0, 4, 0], false],
	[8, 60, true, [0, 0, 0, 0, 0, 0, 1, 0], false],
	[8, 64, false, [0, 0, 0, 0, 0, 0, 1, 0], false],
	[8, 64, true, [0, 0, 1, 0, 0, 0, 0, 0], false],
	[32, 64, true, [0, 0, 0, 0, 0, 0, 1, 0], false],
])("%i rows of %i columns, turned: %s, padded by %j", async (rows, columns, isTurned, pads, isBroken) => {
	const found = await rulesOf((b) => {
		const height = rows + pads[2]! + pads[6]!;
		b.input("x", FLOAT, isTurned ? [1, columns, 4 * rows] : [1, 4 * rows, columns]);
		b.node("Relu", [pair(b, "x")], ["made"]);
		let value = pair(b, "made");
		if (isTurned) {
			b.node("Transpose", [value], ["turned"], { perm: intsAttribute([0, 2, 1]) });
			value = pair(b, "turned");
		}
		b.initializer("pads", int64Tensor([8], pads));
		b.initializer("one", floatTensor([], [1]));
		b.node("Pad", [reshaped(b, value, "heads", [1, 4, rows, columns]), "pads", "one"], ["padded"]);
		b.input("keys", FLOAT, [1, 4, columns, height]);
		b.node("MatMul", [pair(b, "padded"), pair(b, "keys")], ["y"]);
		b.output(pair(b, "y"));
	});
	expect(found).toEqual(isBroken ? ["htp/turned-pad"] : []);
});

test.each<[number[], DataType, number, boolean]>([
	[[9, 4], INT32, 0, true],
	[[9, 4], INT64, 0, true],
	[[1, 25, 4], INT32, -4, true],
	[[9, 4], INT32, 1, false],
	[[8, 4], INT32, 0, false],
	[[1, 4], INT32, 0, false],
	[[9, 8], INT32, 0, false],
	[[9, 4], FLOAT, 0, false],
])("of %j of type %i, element %i", async (shape, type, index, isBroken) => {
	for (const op of ["Gather", "Slice"]) {
		const found = await rulesOf((b) => {
			b.input("x", type, shape);
			b.initializer("index", int64Tensor([1], [index]));
			b.initializer("end", int64Tensor([1], [index + 1]));
			b.initializer("axis", int64Tensor([1], [shape.length - 1]));
			if (op === "Slice") b.node("Slice", ["x", "index", "end", "axis"], ["y"]);
			else b.node("Gather", ["x", "index"], ["y"], { axis: intAttribute(-1) });
			b.output("y");
		});
		expect(found, op).toEqual(isBroken ? ["htp/first-of-four"] : []);
	}
});

test.each<[string, "v68" | "v79", boolean]>([
	["x", "v79", true],
	["x", "v68", false],
	["other", "v79", false],
])("the least of the largest compared with %s on %s", async (compared, architecture, isBroken) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, [5, 12]);
		b.input("other", FLOAT, [5, 12]);
		const value = pair(b, "x");
		for (const [name, number] of Object.entries({ k: 3, from: 2, to: 3, at: -1 }))
			b.initializer(name, int64Tensor([1], [number]));
		b.node("TopK", [value, "k"], ["numbers", "indices"]);
		b.node("Slice", [pair(b, "numbers"), "from", "to", "at"], ["least"]);
		b.node("GreaterOrEqual", [compared === "x" ? value : pair(b, "other"), pair(b, "least")], ["chosen"]);
		b.output("chosen");
	}, architecture);
	expect(found).toEqual(isBroken ? ["htp/compared-top-k"] : []);
});

test.each<[number[], number[] | undefined, boolean, string[]]>([
	[[1, 16, 24], undefined, true, ["htp/norm-16-positions"]],
	[[1, 16, 24], [1, 24, 1, 16], true, ["htp/norm-16-positions"]],
	[[1, 16, 24], [1, 24, 4, 4], true, []],
	[[1, 17, 24], undefined, true, []],
	[[1, 16, 24], undefined, false, []],
])("normalized rows %j, turned, as %j, with a norm: %s", async (shape, image, isNorm, rules) => {
	const found = await rulesOf((b) => {
		b.input("x", FLOAT, shape);
		b.initializer("gamma", floatTensor([24], new Array<number>(24).fill(1)));
		b.node(isNorm ? "LayerNormalization" : "Relu", [pair(b, "x"), ...(isNorm ? ["gamma"] : [])], ["made"]);
		b.node("Transpose", [pair(b, "made")], ["turned"], { perm: intsAttribute([0, 2, 1]) });
		let value = pair(b, "turned");
		if (image !== undefined) value = reshaped(b, value, "image", image);
		const kernel = new Array<number>(image === undefined ? 1 : 2).fill(1);
		b.node("Conv", [value, weight(b, "w", { shape: [8, 24, ...kernel], axis: 0 })], ["y"]);
		b.output(pair(b, "y"));
	});
	expect(found).toEqual(rules);
});
