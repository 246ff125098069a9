import { describe, expect, test } from "vitest";
import { floatAttribute, intAttribute, tensorAttribute } from "../../src/ir/attribute.js";
import { bytesOf, floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { type FuseGeluOptions, fuseGelu } from "../../src/passes/fuse-gelu.js";
import { runPasses } from "../../src/run-passes.js";
import { parseTarget } from "../../src/targets/target.js";
import { normals } from "../runtime/models.js";
import { type GraphBuilder, ModelBuilder } from "../support/build.js";
import { Expression } from "../support/expression.js";
import { golden } from "../support/golden.js";
import { floatFeed } from "../support/ort.js";
import { expectSameOutputs } from "../support/same-outputs.js";
import { quantized } from "../support/weights.js";

const SHAPE = [3, 8];
const ROOT = Math.SQRT2;
const TANH_SCALE = Math.sqrt(2 / Math.PI);

type Write = (e: Expression, x: string) => string;

/** erf(x / sqrt 2) + 1 */
const erf1: Write = (e, x) => e.call("Add", e.call("Erf", e.call("Div", x, ROOT)), 1);
const cube: Write = (e, x) => e.call("Mul", e.call("Mul", x, x), x);
const cubic: Write = (e, x) => e.call("Mul", TANH_SCALE, e.call("Add", x, e.call("Mul", 0.044715, cube(e, x))));
const tanh1: Write = (e, x) => e.call("Add", 1, e.call("Tanh", cubic(e, x)));

const ERF: Readonly<Record<string, Write>> = {
	"x (half (1 + erf))": (e, x) => e.call("Mul", x, e.call("Mul", 0.5, erf1(e, x))),
	"(x (1 + erf)) half": (e, x) => e.call("Mul", e.call("Mul", x, erf1(e, x)), 0.5),
	"(half x) (1 + erf)": (e, x) => e.call("Mul", e.call("Mul", 0.5, x), erf1(e, x)),
	"(1 + erf) (x half)": (e, x) => e.call("Mul", erf1(e, x), e.call("Mul", x, 0.5)),
	"x (1 + erf) / 2": (e, x) => e.call("Div", e.call("Mul", x, erf1(e, x)), 2),
	"x (half + half erf)": (e, x) =>
		e.call("Mul", x, e.call("Add", e.call("Mul", e.call("Erf", e.call("Div", x, ROOT)), 0.5), 0.5)),
	"half x + half x erf": (e, x) => {
		const half = e.call("Mul", 0.5, x);
		return e.call("Add", half, e.call("Mul", half, e.call("Erf", e.call("Mul", x, Math.SQRT1_2))));
	},
	"product with 1 / sqrt 2": (e, x) =>
		e.call("Mul", x, e.call("Mul", e.call("Add", 1, e.call("Erf", e.call("Mul", Math.SQRT1_2, x))), 0.5)),
};

const TANH: Readonly<Record<string, Write>> = {
	"half x (1 + tanh)": (e, x) => e.call("Mul", e.call("Mul", 0.5, x), tanh1(e, x)),
	"x (1 + tanh) half": (e, x) => e.call("Mul", e.call("Mul", x, tanh1(e, x)), 0.5),
	"the cube as power": (e, x) => {
		const inner = e.call("Add", x, e.call("Mul", e.call("Pow", x, 3), 0.044715));
		return e.call("Mul", x, e.call("Mul", e.call("Add", e.call("Tanh", e.call("Mul", inner, TANH_SCALE)), 1), 0.5));
	},
	"x (1 + c x x)": (e, x) => {
		const inner = e.call("Add", 1, e.call("Mul", e.call("Mul", 0.044715, x), x));
		const argument = e.call("Mul", e.call("Mul", x, TANH_SCALE), inner);
		return e.call("Mul", e.call("Mul", 0.5, x), e.call("Add", 1, e.call("Tanh", argument)));
	},
	"x sigmoid(2 cubic)": (e, x) => e.call("Mul", x, e.call("Sigmoid", e.call("Mul", 2, cubic(e, x)))),
};

/** y = GELU(x), where `write` says how; with `qdq` between Q/DQ. */
function model(write: Write, { opset = 21, qdq = false, dtype = DataType.FLOAT as DataType } = {}) {
	const builder = new ModelBuilder({ opset, irVersion: 9 });
	builder.model.opsetImports.set("com.microsoft", 1);
	builder.input("x", dtype, SHAPE);
	const result = write(new Expression(builder, dtype), qdq ? quantized(builder, "x") : "x");
	builder.node("Identity", [qdq ? quantized(builder, result) : result], ["y"]);
	builder.output("y");
	return builder.build();
}

const operators = ({ graph }: { readonly graph: GraphBuilder["graph"] }) =>
	Array.from(graph.nodes, ({ op }) => op.type);
const feeds = {
	x: floatFeed(
		SHAPE,
		normals(24, 3).map((value) => 2 * value),
	),
};

describe("fuse-gelu", () => {
	test.each(Object.entries({ ...ERF, ...TANH }))("%s", async (_name, write) => {
		const made = model(write);
		const report = await expectSameOutputs(made, fuseGelu(), feeds);
		expect(report.diagnostics).toEqual([]);
		expect(operators(made)).toEqual(["Gelu", "Identity"]);
	});

	test("between Q/DQ", async () => {
		await golden(fuseGelu(), "erf", model(ERF["x (half (1 + erf))"]!, { qdq: true }));
		await golden(fuseGelu(), "tanh", model(TANH["the cube as power"]!, { qdq: true }));
	});

	test("constants of float16, and a Cast inside", async () => {
		const builder = new ModelBuilder();
		builder.input("x", DataType.FLOAT16, SHAPE);
		const half = new Expression(builder, DataType.FLOAT16);
		const wide = half.apply("Cast", ["x"], { to: intAttribute(DataType.FLOAT) });
		const erf = new Expression(builder).call("Erf", half.call("Div", "x", ROOT));
		builder.node("Mul", ["x", half.call("Mul", half.call("Add", erf, 1), 0.5)], ["y"], {}, "last");
		builder.node("Mul", [wide, wide], ["square"]);
		for (const name of ["y", "square"]) builder.output(name);
		await golden(fuseGelu(), "float16", builder.build());
	});

	test("the operators of com.microsoft", async () => {
		const builder = new ModelBuilder();
		builder.model.opsetImports.set("com.microsoft", 1);
		builder.input("x", DataType.FLOAT, SHAPE);
		const e = new Expression(builder);
		const bias = e.vector(normals(8, 5));
		for (const [op, ...inputs] of [["Gelu"], ["BiasGelu", bias], ["FastGelu"], ["FastGelu", bias]]) {
			builder.output(e.call(`com.microsoft.${op}`, "x", ...inputs));
		}
		const made = builder.build();
		await expectSameOutputs(made, fuseGelu(), feeds, { tolerance: 1e-5 });
	});

	test("in a branch and in a function", async () => {
		const builder = new ModelBuilder();
		builder.input("x", DataType.FLOAT, SHAPE);
		builder.input("choice", DataType.BOOL, []);
		const branch = (name: string, write: Write) =>
			builder.subgraph(name, (inner) => {
				inner.output(write(new Expression(inner, DataType.FLOAT, `${name}_`), "x"));
			});
		builder.node("If", ["choice"], ["chosen"], {
			then_branch: branch("then", ERF["half x + half x erf"]!),
			else_branch: branch("else", TANH["x (1 + c x x)"]!),
		});
		builder.function("local", "Gelu", (body) => {
			body.input("a");
			const constant = (value: number) => {
				const name = `c${value}`;
				body.node("Constant", [], [name], { value: tensorAttribute(floatTensor([], [value])) });
				return name;
			};
			body.node("Mul", ["a", constant(Math.SQRT1_2)], ["b"]);
			body.node("Erf", ["b"], ["c"]);
			body.node("Add", ["c", constant(1)], ["d"]);
			body.node("Mul", ["a", "d"], ["e"]);
			body.node("Mul", ["e", constant(0.5)], ["f"], {}, "last");
			body.output("f");
		});
		builder.node({ domain: "local", type: "Gelu" }, ["chosen"], ["y"]);
		builder.output("y");
		await golden(fuseGelu(), "places", builder.build());
	});
});

describe("fuse-gelu leaves", () => {
	const erf = ERF["x (half (1 + erf))"]!;

	test("models of an older operator set", async () => {
		await golden(fuseGelu(), "kept-fuse-opset", model(erf, { opset: 17 }));
		const contributed = model((e, x) => e.call("com.microsoft.BiasGelu", x, e.vector(normals(8, 5))), { opset: 17 });
		expect((await runPasses(contributed, [fuseGelu()])).diagnostics).toMatchObject([{ code: "fuse/opset" }]);
	});

	test("a subgraph of which something else reads a part", async () => {
		const made = model((e, x) => {
			const inner = erf1(e, x);
			e.graph.output(inner);
			return e.call("Mul", x, e.call("Mul", 0.5, inner));
		});
		await golden(fuseGelu(), "kept-fuse-shared", made);
	});

	test("an Erf that is not part of GELU", async () => {
		await golden(
			fuseGelu(),
			"kept-fuse-no-gelu",
			model((e, x) => e.call("Mul", x, e.call("Mul", 0.51, erf1(e, x)))),
		);
	});

	test("a Cast after which the type is another", async () => {
		const made = model((e, x) => {
			const wide = e.apply("Cast", [x], { to: intAttribute(DataType.DOUBLE) });
			const half = e.constant(tensor(DataType.DOUBLE, [], bytesOf(Float64Array.of(0.5))));
			const factor = e.apply("Cast", [erf1(e, x)], { to: intAttribute(DataType.DOUBLE) });
			return e.call("Mul", e.call("Mul", half, factor), wide);
		});
		await golden(fuseGelu(), "kept-fuse-type", made);
	});

	test("Q/DQ inside, unless it is told not to, or the target has no Erf", async () => {
		const inner = (e: Expression, x: string) => quantized(e.graph, x, 2 ** -13);
		const write =
			(name: "Erf" | "Tanh"): Write =>
			(e, x) => {
				const argument = name === "Erf" ? e.call("Div", x, ROOT) : cubic(e, x);
				const sum = inner(e, e.call("Add", inner(e, e.call(name, inner(e, argument))), 1));
				return e.call("Mul", x, inner(e, e.call("Mul", sum, 0.5)));
			};
		await golden(fuseGelu(), "kept-fuse-quantized", model(write("Erf"), { qdq: true }));
		const target = parseTarget("qnn-htp:v73");
		const changes = async (name: "Erf" | "Tanh", options: Partial<FuseGeluOptions>, context = {}) => {
			const report = await runPasses(model(write(name), { qdq: true }), [fuseGelu(options)], context);
			return report.passes[0]!.changed;
		};
		expect(await changes("Erf", {}, { target })).toBe(true);
		expect(await changes("Tanh", {}, { target })).toBe(false);
		expect(await changes("Erf", { quantized: "keep" }, { target })).toBe(false);
		expect(await changes("Tanh", { quantized: "fuse" })).toBe(true);
		const fused = model(write("Erf"), { qdq: true });
		await expectSameOutputs(fused, fuseGelu({ quantized: "fuse" }), feeds, { tolerance: 1e-3 });
	});

	test("QuickGelu, another function", async () => {
		await golden(
			fuseGelu(),
			"quick-gelu",
			model((e, x) => {
				const quick = e.call("Mul", x, e.call("Sigmoid", e.call("Mul", 1.702, x)));
				return e.apply("com.microsoft.QuickGelu", [quick], { alpha: floatAttribute(1.702) });
			}),
		);
	});
});
