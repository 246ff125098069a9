import { describe, expect, test } from "vitest";
import {
	type Attribute,
	floatAttribute,
	intAttribute,
	intsAttribute,
	stringAttribute,
	tensorAttribute,
} from "../../src/ir/attribute.js";
import { onnxOpset } from "../../src/ir/model.js";
import { printModel } from "../../src/ir/print.js";
import { bytesOf, floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { CONVERTED } from "../../src/passes/support/opset/conversions.js";
import { HISTORY, irVersionOf, NEWEST_OPSET, REMOVED } from "../../src/passes/support/opset/history.js";
import { upgradeOpset } from "../../src/passes/upgrade-opset.js";
import { runPasses } from "../../src/run-passes.js";
import { ModelBuilder } from "../support/build.js";
import { golden } from "../support/golden.js";

const { FLOAT, FLOAT16, INT32 } = DataType;
const refused = "opset/unconvertible";
const floats = (...value: readonly number[]): Attribute => ({ kind: "floats", value });
const reference = (to: string): Attribute => ({ kind: "reference", to, of: undefined });

/** A model of one node, with the values that `fill` makes; outputs are `y`, and `z` where the node has two. */
function single(
	opset: number,
	op: string,
	inputs: readonly string[],
	attributes: Readonly<Record<string, Attribute>> = {},
	fill: (b: ModelBuilder) => void = (b) => void b.input("x", FLOAT, [2, 3, 4]),
	outputs: readonly string[] = ["y"],
) {
	const builder = new ModelBuilder({ opset, irVersion: 4 });
	fill(builder);
	builder.node(op, inputs, outputs, attributes, op.toLowerCase());
	for (const output of outputs) builder.output(output).type = { kind: "tensor", elementType: FLOAT, shape: undefined };
	return builder.build();
}

async function reasonOf(model: Parameters<typeof runPasses>[0], to = 21): Promise<string> {
	const before = printModel(model, { digests: true });
	const error = await runPasses(model, [upgradeOpset({ to })]).then(
		() => undefined,
		(reason: unknown) => reason as { code: string; message: string },
	);
	expect(error?.code).toBe(refused);
	expect(printModel(model, { digests: true }), "a refused model was changed").toBe(before);
	return error!.message;
}

test("the tables agree: conversions stand under versions that the history has", () => {
	const unknown = CONVERTED.filter((entry) => {
		const [type, version] = entry.split(":");
		return !HISTORY[type!]?.includes(Number(version));
	});
	expect(unknown).toEqual([]);
	for (const versions of Object.values(HISTORY)) {
		expect([...versions].sort((a, b) => a - b)).toEqual(versions);
		expect(versions.at(-1)).toBeLessThanOrEqual(NEWEST_OPSET);
	}
	for (const [type, version] of Object.entries(REMOVED)) expect(HISTORY[type]).toContain(version);
	expect([13, 17, 19, 21, 22, 23, 24, 25].map(irVersionOf)).toEqual([7, 8, 9, 10, 10, 11, 12, 13]);
});

describe("upgrade-opset in golden files", () => {
	test("axes of Squeeze, Unsqueeze and reductions, in a subgraph too", async () => {
		const b = new ModelBuilder({ opset: 11, irVersion: 6 });
		b.input("x", FLOAT, [2, 3]);
		b.input("c", DataType.BOOL, []);
		b.node("Unsqueeze", ["x"], ["u"], { axes: intsAttribute([0]) }, "unsqueeze");
		b.node("Squeeze", ["u"], ["s"], { axes: intsAttribute([0]) }, "squeeze");
		b.node("ReduceMean", ["s"], ["m"], { axes: intsAttribute([-1]), keepdims: intAttribute(0) }, "mean");
		const branch = (name: string, op: string) =>
			b.subgraph(name, (inner) => {
				inner.node(op, ["x"], [`${name}_y`], { axes: intsAttribute([1]) }, `${name}_${op}`);
				inner.output(`${name}_y`);
			});
		b.node("If", ["c"], ["y"], { then_branch: branch("t", "ReduceSum"), else_branch: branch("e", "ReduceMax") }, "if");
		b.output("m");
		b.output("y");
		await golden(upgradeOpset(), "axes", b.build());
	});

	test("in a function, attributes that callers give become Constant nodes; other domains stay", async () => {
		const b = new ModelBuilder({ opset: 12, irVersion: 8 });
		b.input("x", FLOAT, [1, 4]);
		b.function("local", "Trim", (body) => {
			body.input("a");
			body.node("Squeeze", ["a"], ["s"], { axes: reference("axes") }, "squeeze");
			body.node("Clip", ["s"], ["t"], { min: floatAttribute(0) }, "clip");
			body.node("TopK", ["t", "k"], ["b", ""], {}, "topk");
			body.node("Constant", [], ["k"], { value: tensorAttribute(int64Tensor([1], [2])) });
			body.output("b");
		});
		const [definition] = b.model.functions;
		definition!.attributeNames = ["axes"];
		definition!.opsetImports.set("", 10);
		b.node({ domain: "local", type: "Trim" }, ["x"], ["t"], { axes: intsAttribute([0]) }, "call");
		b.node({ domain: "com.example", type: "Softmax" }, ["t"], ["y"], {}, "custom");
		b.model.opsetImports.set("com.example", 1);
		b.output("y");
		await golden(upgradeOpset(), "function", b.build());
		expect(onnxOpset(definition!)).toBe(21);
	});

	test("Softmax over several axes, over one, and where nobody knows", async () => {
		const b = new ModelBuilder({ opset: 11, irVersion: 6 });
		b.input("x", FLOAT, [2, 3, 4]);
		b.input("flat", FLOAT, ["n", 8, 1]);
		b.input("any", FLOAT);
		b.node("Softmax", ["x"], ["several"], {}, "several");
		b.node("LogSoftmax", ["x"], ["last"], { axis: intAttribute(2) }, "last");
		b.node("Hardmax", ["flat"], ["one"], {}, "one");
		b.node("Softmax", ["any"], ["unknown"], { axis: intAttribute(2) }, "unknown");
		for (const name of ["several", "last", "one", "unknown"]) b.output(name);
		await golden(upgradeOpset(), "softmax", b.build());
	});

	test("Upsample becomes Resize and keeps its output; initializers are inputs no longer", async () => {
		const b = new ModelBuilder({ opset: 7, irVersion: 3 });
		b.input("x", FLOAT, [1, 1, 4, 4]);
		b.input("w", FLOAT, [1]);
		b.initializer("w", floatTensor([1], [2]));
		b.node("Mul", ["x", "w"], ["m"], {}, "mul");
		b.node("Upsample", ["m"], ["y"], { scales: floats(1, 1, 2, 2), mode: stringAttribute("nearest") }, "up");
		b.output("y");
		await golden(upgradeOpset(), "upsample", b.build());
	});

	test("a model that has it already", async () => {
		const report = await golden(upgradeOpset(), "current", single(22, "Relu", ["x"]));
		expect(report.diagnostics.map(({ code }) => code)).toEqual(["opset/current"]);
	});
});

describe("upgrade-opset refuses, and changes nothing", () => {
	test("what the operator set does not have", async () => {
		expect(await reasonOf(single(11, "Foo", ["x"]))).toContain("'Foo' of node 'foo'");
		expect(await reasonOf(single(11, "Gelu", ["x"]))).toContain("came with 20");
		expect(await reasonOf(single(11, "Scatter", ["x", "x", "x"]))).toContain("went with 11");
		expect(await reasonOf(single(6, "Add", ["x", "x"]))).toContain("operator set 7 changed it");
		const model = single(11, "Relu", ["x"]);
		model.opsetImports.clear();
		expect(await reasonOf(model)).toContain("nothing says");
	});

	test.each<readonly [string, Parameters<typeof single>, number, string]>([
		["Scan 8", [8, "Scan", ["", "x"]], 21, "batches"],
		["Dropout's mask", [11, "Dropout", ["x"], {}, undefined, ["y", "z"]], 21, "mask"],
		[
			"BatchNormalization's saved outputs",
			[9, "BatchNormalization", ["x", "x", "x", "x", "x"], {}, undefined, ["y", "a", "b", "c", "d"]],
			21,
			"saved_mean",
		],
		["integer Erf", [12, "Erf", ["x"], {}, (b) => void b.input("x", INT32, [2])], 21, "only floats"],
		["attributes of another kind", [11, "Squeeze", ["x"], { axes: intAttribute(0) }], 21, "expected 'ints'"],
		["an input that is missing", [11, "Unsqueeze", ["x"]], 21, "input 1 is missing"],
		[
			"ceil_mode windows in the padding",
			[
				12,
				"MaxPool",
				["x"],
				{
					ceil_mode: intAttribute(1),
					kernel_shape: intsAttribute([2]),
					strides: intsAttribute([3]),
					pads: intsAttribute([0, 2]),
				},
			],
			22,
			"padding at the end",
		],
		[
			"a coordinate mode that is gone",
			[
				11,
				"Resize",
				["x", "", "s"],
				{ mode: stringAttribute("linear"), coordinate_transformation_mode: stringAttribute("tf_half_pixel_for_nn") },
				(b) => {
					b.input("x", FLOAT, [1, 1, 4, 4]);
					b.initializer("s", floatTensor([4], [1, 1, 2, 2]));
				},
			],
			21,
			"tf_half_pixel_for_nn",
		],
		[
			"a bound of unknown type",
			[
				10,
				"Clip",
				["x"],
				{ min: floatAttribute(0) },
				(b) => {
					b.input("x").type = undefined;
				},
			],
			13,
			"element type",
		],
	])("%s", async (_name, args, to, reason) => {
		expect(await reasonOf(single(...args), to)).toContain(reason);
	});

	test("an option that is no version", async () => {
		await expect(runPasses(single(11, "Relu", ["x"]), [upgradeOpset({ to: 12 })])).rejects.toMatchObject({
			code: "pass/unknown-option",
		});
	});
});

test("bounds have the type of the data", async () => {
	const model = single(10, "Clip", ["x"], { max: floatAttribute(6) }, (b) => void b.input("x", FLOAT16, [2]));
	await runPasses(model, [upgradeOpset({ to: 13 })]);
	const [, , max] = [...model.graph.nodes][0]!.inputs;
	expect(max?.initializer).toEqual(tensor(FLOAT16, [], bytesOf(Uint16Array.of(0x4600))));
});
