import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, dataTypeName, tensorType } from "../../src/ir/types.js";
import { insertActivationQdq } from "../../src/passes/insert-activation-qdq.js";
import { runPasses } from "../../src/run-passes.js";
import { parseTarget } from "../../src/targets/target.js";
import { numbersOf } from "../../src/weights/numbers.js";
import { temporaryFolder } from "../repo/run.js";
import { normals } from "../runtime/models.js";
import { type GraphBuilder, type ModelBuilder, modelOf, nodeNamed } from "../support/build.js";
import { golden } from "../support/golden.js";
import { rangesFile } from "../support/ranges.js";
import { blockWeight, channelWeight, quantized } from "../support/weights.js";

const { BOOL, FLOAT, INT64, UINT8 } = DataType;

type Ranges = Readonly<Record<string, readonly [lo: number, hi: number]>>;

const insert = (ranges: Ranges, recipe = "16a8w", products: "auto" | "16x16" | "16x8" = "auto") =>
	insertActivationQdq({ encodings: rangesFile(ranges), recipe, products });

/** `x -> ... -> y`, both FLOAT of `shape`. */
function chain(fill: (b: ModelBuilder) => void, shape: readonly number[] = [2, 8], result = shape) {
	return modelOf((b) => {
		b.input("x", FLOAT, shape);
		fill(b);
		b.output("y").type = tensorType(FLOAT, result);
	});
}

const vector = (b: GraphBuilder, name: string, count: number) =>
	b.initializer(name, floatTensor([count], normals(count, 3)));

const scalar = (b: GraphBuilder, name: string, value: number) => b.initializer(name, floatTensor([], [value]));

/** `Add(Mul(Sub(1, m), lowest), scores) -> Softmax`, as exporters write the mask of an attention. */
function masked(b: GraphBuilder, lowest: number): void {
	b.input("m", FLOAT, [1, 8]);
	scalar(b, "one", 1);
	scalar(b, "lowest", lowest);
	b.node("Sub", ["one", "m"], ["inverse"]);
	b.node("Mul", ["inverse", "lowest"], ["mask"]);
	b.node("Add", ["x", "mask"], ["sum"]);
	b.node("Softmax", ["sum"], ["y"]);
}

const RANGES_OF_MASKED: Ranges = { x: [-9, 5], m: [0, 1], inverse: [0, 1], mask: [-3.4e38, 0], sum: [-3.4e38, 5] };

describe("insert-activation-qdq", () => {
	test("one encoding a value, the same behind views", () =>
		golden(
			insert({ x: [-1, 3], r: [0, 3], y: [0, 20] }),
			"views",
			chain(
				(b) => {
					b.initializer("shape", int64Tensor([2], [4, 4]));
					b.node("Reshape", ["x", "shape"], ["v"]);
					b.node("Transpose", ["v"], ["t"], { perm: intsAttribute([1, 0]) });
					b.node("Relu", ["t"], ["r"]);
					b.node("Exp", ["r"], ["y"]);
				},
				[2, 8],
				[4, 4],
			),
		));

	test("a product, its bias and a Relu are one", () =>
		golden(
			insert({ x: [-1, 1], sum: [-4, 4], y: [0, 4] }),
			"bias-relu",
			chain(
				(b) => {
					b.node("MatMul", ["x", channelWeight(b, "w", [8, 3], 1)], ["product"]);
					vector(b, "bias", 3);
					b.node("Add", ["product", "bias"], ["sum"]);
					b.node("Relu", ["sum"], ["y"]);
				},
				[2, 8],
				[2, 3],
			),
		));

	test("behind a product with block scales there are codes, and so is what is added", () =>
		golden(
			insert({ x: [-1, 1], product: [-3, 3], y: [-4, 4] }),
			"block-bias",
			chain(
				(b) => {
					b.node("MatMul", ["x", blockWeight(b, "w", { shape: [8, 3], axis: 0, blockSize: 4 })], ["product"]);
					vector(b, "bias", 3);
					b.node("Add", ["product", "bias"], ["y"]);
				},
				[2, 8],
				[2, 3],
			),
		));

	test("a Clip whose limits codes do not have stays", () =>
		golden(
			insert({ x: [-1, 1], s: [-2, 2], y: [-1, 1.5] }),
			"clip",
			chain((b) => {
				scalar(b, "lo", -0.5);
				scalar(b, "hi", 1.25);
				b.node("Add", ["x", "x"], ["s"]);
				b.node("Clip", ["s", "lo", "hi"], ["y"]);
			}),
		));

	test("results of Sigmoid, Softmax and Tanh as kernels have them, converted where they come together", () =>
		golden(
			insert({ x: [-6, 6], a: [0, 0.9], b: [-0.99, 0.99], c: [0, 0.2], y: [-0.99, 0.99] }),
			"kernels",
			chain(
				(b) => {
					b.node("Sigmoid", ["x"], ["a"]);
					b.node("Tanh", ["x"], ["b"]);
					b.node("Softmax", ["x"], ["c"]);
					b.node("Concat", ["a", "b", "c"], ["y"], { axis: intAttribute(1) });
				},
				[2, 8],
				[2, 24],
			),
		));

	test.each([
		["lowest", -3.4028234663852886e38],
		["infinite", Number.NEGATIVE_INFINITY],
	])("a mask down to the %s number leaves the scores their codes", async (name, lowest) => {
		const model = chain((b) => masked(b, lowest));
		await golden(insert(RANGES_OF_MASKED), `mask-${name}`, model);
	});

	test("a mask in front of a Cast to the type that scores have", () =>
		golden(
			insert({ x: [-9, 5], sum: [-1e10, 5], cast: [-1e10, 5] }),
			"mask-cast",
			chain((b) => {
				b.initializer("mask", floatTensor([1, 8], [0, 0, 0, 0, 0, -1e10, -1e10, -1e10]));
				b.node("Add", ["x", "mask"], ["sum"]);
				b.node("Cast", ["sum"], ["cast"], { to: intAttribute(FLOAT) });
				b.node("Softmax", ["cast"], ["y"]);
			}),
		));

	test("a mask that takes the place of scores", () =>
		golden(
			insert({ x: [-9, 5], sum: [-1e9, 5] }),
			"mask-where",
			chain((b) => {
				b.input("m", BOOL, [2, 8]);
				scalar(b, "lowest", -1e9);
				b.node("Where", ["m", "x", "lowest"], ["sum"]);
				b.node("Softmax", ["sum"], ["y"]);
			}),
		));

	test("a mask in front of the scale of the scores, which takes more of it", () =>
		golden(
			insert({ x: [-72, 40], sum: [-3.4e38, 40], scaled: [-3.4e37, 5] }),
			"mask-scaled-behind",
			chain((b) => {
				b.initializer("mask", floatTensor([1, 8], [0, 0, 0, 0, 0, -3.4e38, -3.4e38, -3.4e38]));
				scalar(b, "root", 8);
				b.node("Add", ["x", "mask"], ["sum"]);
				b.node("Div", ["sum", "root"], ["scaled"]);
				b.node("Softmax", ["scaled"], ["y"]);
			}),
		));

	test("a constant mask of several layers", () =>
		golden(
			insert({ x: [-9, 5], s: [-3.4e38, 5], t: [-3.4e38, 1], p: [0, 1] }),
			"mask-shared",
			chain((b) => {
				b.initializer("mask", floatTensor([1, 8], [0, 0, 0, 0, 0, -3.4e38, -3.4e38, -3.4e38]));
				b.node("Add", ["x", "mask"], ["s"], {}, "first");
				b.node("Softmax", ["s"], ["p"]);
				b.node("Add", ["p", "mask"], ["t"], {}, "second");
				b.node("Softmax", ["t"], ["y"]);
			}),
		));

	const attention = () =>
		modelOf((b) => {
			for (const name of ["q", "k", "v"]) b.input(name, FLOAT, [1, 6, 2, 4]);
			const heads = (name: string, perm: readonly number[]) =>
				b.node("Transpose", [name], [`${name}t`], { perm: intsAttribute(perm) });
			heads("q", [0, 2, 1, 3]);
			b.node("Abs", ["k"], ["a"]);
			b.node("Transpose", ["a"], ["kt"], { perm: intsAttribute([0, 2, 3, 1]) });
			heads("v", [0, 2, 1, 3]);
			b.node("MatMul", ["qt", "kt"], ["scores"], {}, "scores");
			b.node("Softmax", ["scores"], ["p"]);
			b.node("MatMul", ["p", "vt"], ["y"], {}, "values");
			b.output("y").type = tensorType(FLOAT, [1, 2, 6, 4]);
		});
	const RANGES_OF_ATTENTION: Ranges = { q: [-1, 1], k: [-2, 1], v: [-3, 3], a: [0, 2], scores: [-8, 8], y: [-3, 3] };

	test("right sides of attention products are narrow from behind the operator that makes them", () =>
		golden(insert(RANGES_OF_ATTENTION, "16a8w", "16x8"), "products-16x8", attention()));
	test("right sides of attention products as INT16", () =>
		golden(insert(RANGES_OF_ATTENTION, "16a8w", "16x16"), "products-16x16", attention()));
	test.each([
		["v69", "UINT8"],
		["v73", "INT16"],
	])("on %s the right side of an attention product is %s", async (architecture, expected) => {
		const model = attention();
		await runPasses(model, [insert(RANGES_OF_ATTENTION)], { target: parseTarget(`qnn-htp:${architecture}`) });
		const zeroPoint = nodeNamed(model.graph, "scores").inputs[1]?.producer?.inputs[2]?.initializer;
		expect(dataTypeName(zeroPoint!.dtype)).toBe(expected);
	});
	test("products of an attention with sinks are ones, too", async () => {
		const model = modelOf((b) => {
			for (const [name, shape] of Object.entries({
				q: [1, 2, 6, 4],
				k: [1, 2, 4, 6],
				v: [1, 2, 6, 4],
				s: [1, 2, 6, 1],
			}))
				b.input(name, FLOAT, shape);
			b.node("MatMul", ["q", "k"], ["scores"], {}, "scores");
			b.node("Concat", ["scores", "s"], ["all"], { axis: intAttribute(-1) });
			b.node("Softmax", ["all"], ["p"]);
			for (const [name, at] of Object.entries({ first: 0, last: -1, axis: -1 }))
				b.initializer(name, int64Tensor([1], [at]));
			b.node("Slice", ["p", "first", "last", "axis"], ["kept"]);
			b.node("MatMul", ["kept", "v"], ["y"], {}, "values");
			b.output("y").type = tensorType(FLOAT, [1, 2, 6, 4]);
		});
		const ranges = { q: [-1, 1], k: [-2, 2], v: [-3, 3], s: [-1, 1], scores: [-8, 8], y: [-3, 3] } as const;
		await runPasses(model, [insert(ranges, "16a8w", "16x8")], { target: parseTarget("qnn-htp:v73") });
		for (const name of ["scores", "values"]) {
			const zeroPoint = nodeNamed(model.graph, name).inputs[1]?.producer?.inputs[2]?.initializer;
			expect(dataTypeName(zeroPoint!.dtype)).toBe("UINT8");
		}
	});
	test.each([
		["v69", "UINT16"],
		["v73", "INT16"],
	])("on %s a Softmax on the right of a product is %s", async (architecture, expected) => {
		const model = modelOf((b) => {
			b.input("v", FLOAT, [1, 2, 4, 6]);
			b.input("s", FLOAT, [1, 2, 6, 6]);
			b.node("Softmax", ["s"], ["p"]);
			b.node("Transpose", ["p"], ["pt"], { perm: intsAttribute([0, 1, 3, 2]) });
			b.node("MatMul", ["v", "pt"], ["y"], {}, "values");
			b.output("y").type = tensorType(FLOAT, [1, 2, 4, 6]);
		});
		const ranges = insert({ v: [-3, 3], s: [-8, 8], y: [-3, 3] });
		await runPasses(model, [ranges], { target: parseTarget(`qnn-htp:${architecture}`) });
		const zeroPoint = nodeNamed(model.graph, "values").inputs[1]?.producer?.inputs[2]?.initializer;
		expect(dataTypeName(zeroPoint!.dtype)).toBe(expected);
	});
	test("a rule of the recipe for attention products", async () => {
		const model = attention();
		const recipe = path.join(temporaryFolder(), "recipe.yaml");
		const rule = "{ match: { role: attention_scores }, precision: 16a8w }";
		writeFileSync(recipe, `name: narrow\ndefault: { precision: 16a8w }\nrules: [${rule}]\n`);
		await runPasses(model, [insert(RANGES_OF_ATTENTION, recipe)]);
		const types = ["scores", "values"].map((name) => {
			const zeroPoint = nodeNamed(model.graph, name).inputs[1]?.producer?.inputs[2]?.initializer;
			return dataTypeName(zeroPoint!.dtype);
		});
		expect(types).toEqual(["UINT8", "INT16"]);
	});
	test("a weight whose channel is next to nothing gets a larger scale there", async () => {
		const model = chain(
			(b) => {
				b.node("MatMul", ["x", channelWeight(b, "w", [8, 3], 1)], ["y"]);
			},
			[2, 8],
			[2, 3],
		);
		const scale = [...model.graph.initializers].find(({ name }) => name === "w_scale")!;
		scale.initializer = floatTensor([3], [0.03, 1e-9, 0.02]);
		const report = await runPasses(model, [insert({ x: [-1, 1], y: [-4, 4] })]);
		expect(report.diagnostics.map(({ code }) => code)).toEqual(["qdq/guarded"]);
		const raised = [...model.graph.initializers].find(({ name }) => name === "w_scale_raised")!;
		const [kept, small] = numbersOf(raised.initializer!);
		expect(kept).toBeCloseTo(0.03);
		const [input, output] = [2, 8].map((range) => Math.fround(range / 65535));
		expect((small! * input!) / output!).toBeCloseTo(2 ** -23.5, 12);
		const codes = [...model.graph.initializers].find(({ name }) => name === "w_raised")!.initializer!;
		expect(Array.from(numbersOf(codes)).filter((code, at) => at % 3 === 1 && Math.abs(code) > 2)).toEqual([]);
	});
	test("a cache of keys is narrow from input to output", () =>
		golden(
			insert({ q: [-1, 1], past: [-2, 1], k: [-2, 1], keys: [-2, 1], scores: [-8, 8] }, "16a8w", "16x8"),
			"cache",
			modelOf((b) => {
				b.input("q", FLOAT, [1, 2, 1, 4]);
				b.input("past", FLOAT, [1, 2, 5, 4]);
				b.input("k", FLOAT, [1, 2, 1, 4]);
				b.node("Concat", ["past", "k"], ["keys"], { axis: intAttribute(2) });
				b.node("Transpose", ["keys"], ["turned"], { perm: intsAttribute([0, 1, 3, 2]) });
				b.node("MatMul", ["q", "turned"], ["scores"]);
				b.node("Softmax", ["scores"], ["y"]);
				b.output("y").type = tensorType(FLOAT, [1, 2, 1, 6]);
				b.output("keys").type = tensorType(FLOAT, [1, 2, 6, 4]);
			}),
		));

	test("a convolution has an INT32 bias", () =>
		golden(
			insert({ x: [-1, 1], y: [-4, 4] }),
			"conv-bias",
			chain(
				(b) => {
					vector(b, "bias", 3);
					b.node("Conv", ["x", channelWeight(b, "w", [3, 4, 1, 1], 0), "bias"], ["y"]);
				},
				[1, 4, 2, 2],
				[1, 3, 2, 2],
			),
		));

	test("an operator that a rule keeps on floats has Q/DQ at its border only", async () => {
		const recipe = path.join(temporaryFolder(), "recipe.yaml");
		const rule = "{ match: { node: island* }, precision: fp16 }";
		writeFileSync(recipe, `name: islands\ndefault: { precision: 16a8w }\nrules: [${rule}]\n`);
		await golden(
			insert({ x: [-1, 1], a: [0, 3], b: [0, 20], c: [0, 1], y: [0, 3] }, recipe),
			"island",
			chain((b) => {
				b.node("Exp", ["x"], ["a"], {}, "before");
				b.node("Exp", ["a"], ["b"], {}, "island_1");
				b.node("Reciprocal", ["b"], ["c"], {}, "island_2");
				b.node("Exp", ["c"], ["y"], {}, "behind");
			}),
		);
	});

	test("what the target does not compute right stays float, and so does what nothing is known of", async () => {
		const model = chain((b) => {
			b.node("Exp", ["x"], ["e"]);
			b.node("Log", ["e"], ["l"], {}, "log");
			b.node("Exp", ["l"], ["y"]);
		});
		const pass = insert({ x: [-1, 1], e: [0, 3], l: [-1, 1], elsewhere: [0, 1] });
		const report = await runPasses(model, [pass], { target: parseTarget("qnn-htp:v79") });
		expect(report.diagnostics.map(({ code, at }) => [code, at.node ?? at.value])).toEqual([
			["qdq/no-encoding", "y"],
			["qdq/float", "log"],
			["qdq/unused", undefined],
		]);
	});

	test("a product that the file does not name has the range that its weight and its input allow", () =>
		golden(
			insert({ x: [-1, 1] }),
			"bound",
			chain(
				(b) => {
					b.node("MatMul", ["x", channelWeight(b, "w", [8, 3], 1)], ["y"]);
				},
				[2, 8],
				[2, 3],
			),
		));

	test("8 bits everywhere", () => golden(insert(RANGES_OF_ATTENTION, "8a8w"), "8a8w", attention()));

	test("an embedding, integers and booleans", () =>
		golden(
			insert({ g: [-3, 3], y: [-6, 6] }),
			"embedding",
			modelOf((b) => {
				b.input("ids", INT64, [2]);
				b.initializer("table", floatTensor([4, 3], normals(12, 3)));
				b.initializer("one", int64Tensor([], [1]));
				b.node("Add", ["ids", "one"], ["next"]);
				b.node("Gather", ["table", "next"], ["g"]);
				b.node("Add", ["g", "g"], ["y"]);
				b.output("y").type = tensorType(FLOAT, [2, 3]);
			}),
		));

	test("a table is codes on v68, too, where a Gather of floats does not compile", async () => {
		const model = modelOf((b) => {
			b.input("ids", INT64, [2]);
			b.initializer("table", floatTensor([4, 3], normals(12, 3)));
			b.node("Gather", ["table", "ids"], ["g"], {}, "gather");
			b.node("Add", ["g", "g"], ["y"]);
			b.output("y").type = tensorType(FLOAT, [2, 3]);
		});
		await runPasses(model, [insert({ g: [-3, 3], y: [-6, 6] })], { target: parseTarget("qnn-htp:v68") });
		expect(nodeNamed(model.graph, "gather").inputs[0]?.producer?.op.type).toBe("DequantizeLinear");
	});

	test("ranges that follow, and one that does not", () =>
		golden(
			insert({ x: [-1, 1], y: [-2, 2] }),
			"derived",
			chain((b) => {
				b.node("Add", ["x", "x"], ["s"]);
				b.node("Exp", ["s"], ["e"]);
				b.node("Add", ["e", "x"], ["y"]);
			}),
		));

	test("what is quantized stays, other bits are converted", () =>
		golden(
			insert({ x: [-1, 1], y: [-2, 2] }, "8a8w"),
			"existing",
			chain((b) => {
				b.node("Add", [quantized(b, "x", 2 ** -15), "x"], ["y"]);
			}),
		));

	/** What writes encodings of 8 bits, and `Q -> DQ` with them. */
	const eightBits = (b: ModelBuilder) => {
		const parameters = (name: string, scale: number, zero: number) => {
			scalar(b, `${name}_s`, scale);
			b.initializer(`${name}_z`, tensor(UINT8, [], Uint8Array.of(zero)));
			return [`${name}_s`, `${name}_z`];
		};
		const pair = (name: string, scale: number, zero: number) => {
			const rest = parameters(name, scale, zero);
			b.node("QuantizeLinear", [name, ...rest], [`${name}_c`]);
			b.node("DequantizeLinear", [`${name}_c`, ...rest], [`${name}_d`]);
			return `${name}_d`;
		};
		return { parameters, pair };
	};

	/** `x -> Q -> DQ -> Exp -> Q -> DQ -> Add(constant) -> y`, with 8 bits in the pairs. */
	const quantizedBefore = () =>
		chain((b) => {
			const { parameters, pair } = eightBits(b);
			b.node("Exp", [pair("x", 0.02, 128)], ["e"]);
			b.initializer("c", tensor(UINT8, [8], Uint8Array.from([1, 2, 3, 4, 5, 6, 7, 8])));
			b.node("DequantizeLinear", ["c", ...parameters("c", 0.5, 0)], ["c_d"]);
			b.node("Add", [pair("e", 0.06, 0), "c_d"], ["y"]);
		});
	const given = { encodings: rangesFile({ y: [0, 20] }), recipe: "16a8w" };

	test("8-bit quantization that was there is kept", () =>
		golden(insertActivationQdq(given), "existing-keep", quantizedBefore()));
	test("8-bit quantization that was there is widened", () =>
		golden(insertActivationQdq({ ...given, existing: "widen" }), "existing-widen", quantizedBefore()));

	test("constants that a quantizer took for activations are widened, weights among them are not", () =>
		golden(
			insertActivationQdq({ encodings: "", recipe: "16a8w", existing: "widen" }),
			"existing-widen-constants",
			modelOf((b) => {
				const { parameters, pair } = eightBits(b);
				b.input("x", FLOAT, [1, 2, 4, 4]);
				b.initializer("w", floatTensor([2, 2, 1, 1], [0.5, -1, 0.25, 1]));
				b.node("Conv", [pair("x", 0.02, 128), pair("w", 0.01, 100)], ["p"]);
				b.initializer("m", floatTensor([2], [0.1, 0.2]));
				b.initializer("o_c", tensor(DataType.INT32, [2], new Uint8Array(Int32Array.from([1000, -2000]).buffer)));
				b.initializer("o_s", floatTensor([1], [0.001]));
				b.node("DequantizeLinear", ["o_c", "o_s"], ["o"]);
				b.initializer("k", floatTensor([2], [1, 2]));
				b.initializer("v", floatTensor([2], [1, 4]));
				b.node("BatchNormalization", [pair("p", 0.04, 128), pair("k", 0.01, 0), "o", "m", "v"], ["n"]);
				b.initializer("c", tensor(UINT8, [2, 1, 1], Uint8Array.from([3, 200])));
				b.node("DequantizeLinear", ["c", ...parameters("c", 0.5, 0)], ["c_d"]);
				b.node("Mul", [pair("n", 0.05, 128), "c_d"], ["q"]);
				b.node("Identity", [pair("q", 0.6, 128)], ["y"]);
				b.output("y").type = tensorType(FLOAT, [1, 2, 4, 4]);
			}),
		));

	test("integer inputs and outputs", () =>
		golden(
			insertActivationQdq({
				encodings: rangesFile({ x: [-1, 1], y: [0, 3], z: [0, 9] }),
				recipe: "8a8w",
				io: "integer",
			}),
			"io-integer",
			chain((b) => {
				b.node("Exp", ["x"], ["y"]);
				b.node("Mul", ["y", "y"], ["z"]);
				b.output("z").type = tensorType(FLOAT, [2, 8]);
			}),
		));

	test("a weight that stays float keeps its operator on floats", () =>
		golden(
			insert({ x: [-1, 1], p: [-2, 2], y: [0, 4] }),
			"float",
			chain((b) => {
				b.initializer("w", floatTensor([8, 8], normals(64, 3)));
				b.node("MatMul", ["x", "w"], ["p"], {}, "float");
				b.node("Exp", ["p"], ["y"]);
			}),
		));

	test("in a subgraph", () =>
		golden(
			insert({ x: [-1, 1], yes: [0, 3], no: [0, 3], y: [0, 3] }),
			"subgraph",
			modelOf((b) => {
				b.input("x", FLOAT, [2, 8]);
				b.input("c", BOOL, []);
				const branch = (name: string, op: string) =>
					b.subgraph(name, (inner) => {
						inner.node(op, ["x"], [name]);
						inner.output(name).type = tensorType(FLOAT, [2, 8]);
					});
				b.node("If", ["c"], ["y"], { then_branch: branch("yes", "Exp"), else_branch: branch("no", "Abs") });
				b.output("y").type = tensorType(FLOAT, [2, 8]);
			}),
		));

	test("a constant that two operators read, with other bits each", async () => {
		const model = chain((b) => {
			b.initializer("c", floatTensor([8], normals(8, 3)));
			b.node("Add", ["x", "c"], ["s"], {}, "first");
			b.node("Mul", ["s", "c"], ["y"], {}, "second");
		});
		const report = await runPasses(model, [insert({ x: [-1, 1], s: [-3, 3], y: [-5, 5] })]);
		expect(report.passes[0]?.stats["constants quantized"]).toBe(1);
	});

	test("no encodings file is wrong usage", async () => {
		const run = runPasses(
			chain((b) => b.node("Relu", ["x"], ["y"])),
			[insertActivationQdq()],
		);
		await expect(run).rejects.toThrow("needs the option 'encodings'");
	});
});
