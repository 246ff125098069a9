import { describe, expect, test } from "vitest";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { bytesOf, floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { lowerDynamicQuantization } from "../../src/passes/lower-dynamic-quantization.js";
import { runPasses } from "../../src/run-passes.js";
import { normals } from "../runtime/models.js";
import { type GraphBuilder, ModelBuilder } from "../support/build.js";
import { convolutionBias, dynamicallyQuantized, dynamicWeight, integerProduct } from "../support/dynamic.js";
import { golden } from "../support/golden.js";
import { boolFeed, floatFeed, floatsOf, run, sqnrDb, type Tensors } from "../support/ort.js";

const { BOOL, FLOAT, FLOAT16, INT32, INT8, UINT8 } = DataType;
const PASS = lowerDynamicQuantization();
const ROWS = { x: floatFeed([4, 16], normals(64, 3)) };
const IMAGE = { x: floatFeed([1, 3, 6, 6], normals(108, 3)) };
const OUTPUT = tensorType(FLOAT, [4, 8]);
const microsoft = (type: string) => ({ domain: "com.microsoft", type });

/** A model as quantize_dynamic writes it, of matrices. */
function rows(fill: (b: ModelBuilder) => void, opset = 17): Model {
	const b = new ModelBuilder({ opset, irVersion: 8 });
	b.model.opsetImports.set("com.microsoft", 1);
	b.input("x", FLOAT, [4, 16]);
	fill(b);
	return b.build();
}

function product(b: GraphBuilder): void {
	dynamicallyQuantized(b, "x");
	dynamicWeight(b, "w", { shape: [16, 8] });
	integerProduct(b, "MatMulInteger", "x", "w", "y");
}

function image(scaleShape: readonly number[], fill: (b: ModelBuilder) => void, result = "y"): Model {
	const b = new ModelBuilder({ opset: 17, irVersion: 8 });
	b.input("x", FLOAT, [1, 3, 6, 6]);
	dynamicallyQuantized(b, "x");
	dynamicWeight(b, "w", { shape: [5, 3, 3, 3], dtype: UINT8, scaleShape });
	integerProduct(b, "ConvInteger", "x", "w", "h");
	fill(b);
	b.output(result).type = tensorType(FLOAT, [1, 5, 6, 6]);
	return b.build();
}

/** Golden file and, before and after, ONNX Runtime: only the rounding of x to 8 bits lies between. */
async function expectLowered(name: string, build: () => Model, feeds: Tensors, leastDb = 30): Promise<void> {
	const report = await golden(PASS, name, build());
	expect(report.diagnostics).toEqual([]);
	const before = await run(serializeModel(build()), feeds);
	const model = build();
	await runPasses(model, [PASS]);
	const after = await run(serializeModel(model), feeds);
	for (const output of Object.keys(before)) {
		expect(sqnrDb(floatsOf(before[output]), floatsOf(after[output])), output).toBeGreaterThan(leastDb);
	}
}

describe("lower-dynamic-quantization: products of matrices", () => {
	test("one scale", async () => {
		const build = () =>
			rows((b) => {
				product(b);
				b.output("y").type = OUTPUT;
			});
		await expectLowered("one-scale", build, ROWS);
	});

	test("three of one input, one scale a channel, a bias", async () => {
		const build = () =>
			rows((b) => {
				dynamicallyQuantized(b, "x");
				for (const name of ["q", "k", "v"]) {
					const zeroShape = name === "v" ? [] : [8];
					dynamicWeight(b, `w${name}`, { shape: [16, 8], dtype: UINT8, scaleShape: [8], zeroShape });
					integerProduct(b, "MatMulInteger", "x", `w${name}`, `${name}_h`);
					b.initializer(`${name}_bias`, floatTensor([8], normals(8, 5)));
					b.node("Add", [`${name}_h`, `${name}_bias`], [name], {}, `${name}_add`);
					b.output(name).type = OUTPUT;
				}
			});
		await expectLowered("shared-input", build, ROWS);
	});

	test("a weight that is read twice is dequantized once, also where a scale is to be spread", async () => {
		const build = () =>
			rows((b) => {
				dynamicallyQuantized(b, "x");
				dynamicWeight(b, "w", { shape: [16, 16], dtype: UINT8, scaleShape: [1], zeroShape: [16] });
				integerProduct(b, "MatMulInteger", "x", "w", "h");
				dynamicallyQuantized(b, "h");
				integerProduct(b, "MatMulInteger", "h", "w", "y");
				b.output("y").type = tensorType(FLOAT, [4, 16]);
			});
		await expectLowered("shared-weight", build, ROWS);
	});

	test("in a subgraph and in a function", async () => {
		const build = () =>
			rows((b) => {
				b.input("choice", BOOL, []);
				product(b);
				const branch = (name: string) =>
					b.subgraph(name, (inner) => {
						integerProduct(inner, "MatMulInteger", "x", "w", `${name}_y`);
						inner.output(`${name}_y`).type = OUTPUT;
					});
				b.node("If", ["choice"], ["z"], { then_branch: branch("then"), else_branch: branch("else") }, "if");
				b.output("y").type = OUTPUT;
				b.output("z").type = OUTPUT;
				b.function("local", "Linear", (body) => {
					body.input("a");
					const constant = (name: string, value: ReturnType<typeof tensor>) =>
						body.node("Constant", [], [name], { value: { kind: "tensor", value } });
					dynamicallyQuantized(body, "a");
					constant("c", tensor(INT8, [16, 8], new Uint8Array(128).fill(3)));
					constant("c_zero", tensor(INT8, [], new Uint8Array([1])));
					body.node("MatMulInteger", ["a_codes", "c", "a_zero", "c_zero"], ["sums"]);
					constant("c_scale", floatTensor([], [0.125]));
					body.node("Cast", ["sums"], ["cast"], { to: intAttribute(FLOAT) });
					body.node("Mul", ["c_scale", "a_step"], ["factor"]);
					body.node("Mul", ["factor", "cast"], ["b"]);
					body.output("b");
				});
				b.node({ domain: "local", type: "Linear" }, ["x"], ["f"], {}, "call");
				b.output("f").type = OUTPUT;
			});
		await expectLowered("places", build, { ...ROWS, choice: boolFeed(true) });
	});

	test("operators of ONNX Runtime's optimizer, with a bias and without", async () => {
		const build = () =>
			rows((b) => {
				dynamicWeight(b, "w", { shape: [16, 8], scaleShape: [8], zeroShape: [8] });
				dynamicWeight(b, "u", { shape: [16, 8], dtype: UINT8 });
				b.initializer("bias", floatTensor([8], normals(8, 6)));
				b.node(microsoft("DynamicQuantizeMatMul"), ["x", "w", "w_scale", "w_zero", "bias"], ["y"], {}, "biased");
				b.node(microsoft("DynamicQuantizeMatMul"), ["x", "u", "u_scale", "u_zero"], ["z"], {}, "plain");
				dynamicallyQuantized(b, "x");
				const inputs = ["x_codes", "u", "x_step", "u_scale", "x_zero", "u_zero", "bias"];
				b.node(microsoft("MatMulIntegerToFloat"), inputs, ["v"], {}, "to_float");
				for (const name of ["y", "z", "v"]) b.output(name).type = OUTPUT;
			});
		await expectLowered("onnx-runtime", build, ROWS);
	});
});

describe("lower-dynamic-quantization: convolutions", () => {
	test("with a bias, which goes into the Conv", async () => {
		await expectLowered("conv-bias", () => image([], (b) => convolutionBias(b, "h", 5, "y")), IMAGE);
	});

	test("with a bias that was reshaped before, one scale a channel", async () => {
		const build = () =>
			image([5, 1, 1], (b) => {
				b.initializer("bias", floatTensor([1, 5, 1, 1], normals(5, 4)));
				b.node("Add", ["bias", "h"], ["y"], {}, "add");
			});
		await expectLowered("conv-channels", build, IMAGE);
	});

	test("without a bias; what is added otherwise stays an Add", async () => {
		const columns = (b: GraphBuilder) => {
			b.initializer("columns", floatTensor([6], normals(6, 4)));
			b.node("Add", ["h", "columns"], ["y"], {}, "add");
		};
		await expectLowered("conv-added", () => image([1], columns), IMAGE);
		await expectLowered("conv", () => image([], () => {}, "h"), IMAGE);
	});
});

describe("lower-dynamic-quantization: near misses", () => {
	/** What becomes of one product, after `change`. */
	async function remarkOf(name: string, fill: (b: ModelBuilder) => void, opset?: number): Promise<string | undefined> {
		const report = await golden(PASS, name, rows(fill, opset));
		return report.diagnostics[0]?.code;
	}

	const output = (b: GraphBuilder, name = "y", dtype: DataType = FLOAT) => {
		b.output(name).type = tensorType(dtype, [4, 8]);
	};

	test("sums or their Cast that something else reads", async () => {
		const sums = await remarkOf("miss-sums", (b) => {
			product(b);
			output(b);
			output(b, "y_sums", INT32);
		});
		const cast = await remarkOf("miss-cast", (b) => {
			product(b);
			output(b);
			b.node("Relu", ["y_cast"], ["z"], {}, "relu");
			output(b, "z");
		});
		expect([sums, cast]).toEqual(["dynamic/shared", "dynamic/shared"]);
	});

	test("other arithmetic", async () => {
		const codes: (string | undefined)[] = [];
		const forms: Readonly<Record<string, (b: GraphBuilder) => void>> = {
			"miss-order": (b) => {
				b.node("Cast", ["sums"], ["cast"], { to: intAttribute(FLOAT) }, "cast");
				b.node("Mul", ["cast", "x_step"], ["half"], {}, "once");
				b.node("Mul", ["half", "w_scale"], ["y"], {}, "twice");
			},
			"miss-type": (b) => {
				b.node("Cast", ["sums"], ["half"], { to: intAttribute(FLOAT16) }, "half");
				b.node("Cast", ["half"], ["y"], { to: intAttribute(FLOAT) }, "cast");
			},
			"miss-unscaled": (b) => {
				b.node("Cast", ["sums"], ["cast"], { to: intAttribute(FLOAT) }, "cast");
				b.node("Neg", ["cast"], ["y"], {}, "neg");
			},
			"miss-factor": (b) => {
				b.node("Cast", ["sums"], ["cast"], { to: intAttribute(FLOAT) }, "cast");
				b.node("Mul", ["w_scale", "w_scale"], ["factor"], {}, "factors");
				b.node("Mul", ["cast", "factor"], ["y"], {}, "scaled");
			},
		};
		for (const [name, fill] of Object.entries(forms)) {
			const code = await remarkOf(name, (b) => {
				dynamicallyQuantized(b, "x");
				dynamicWeight(b, "w", { shape: [16, 8] });
				b.node("MatMulInteger", ["x_codes", "w", "x_zero", "w_zero"], ["sums"], {}, "product");
				fill(b);
				output(b);
			});
			codes.push(code);
		}
		const ownCodes = await remarkOf("miss-codes", (b) => {
			dynamicWeight(b, "w", { shape: [16, 8] });
			b.input("codes", INT8, [4, 16]);
			b.node("MatMulInteger", ["codes", "w"], ["y"], {}, "product");
			output(b, "y", INT32);
		});
		const withoutZero = await remarkOf("miss-zero", (b) => {
			dynamicallyQuantized(b, "x");
			dynamicWeight(b, "w", { shape: [16, 8] });
			b.node(microsoft("MatMulIntegerToFloat"), ["x_codes", "w", "x_step", "w_scale"], ["y"], {}, "product");
			output(b);
		});
		expect([...codes, ownCodes, withoutZero]).toEqual(new Array(6).fill("dynamic/form"));
	});

	test("weights that are no constants, or no matrices", async () => {
		const input = await remarkOf("miss-input", (b) => {
			b.input("w", INT8, [16, 8]);
			b.initializer("w_scale", floatTensor([], [0.5]));
			b.initializer("w_zero", tensor(INT8, [], new Uint8Array(1)));
			dynamicallyQuantized(b, "x");
			integerProduct(b, "MatMulInteger", "x", "w", "y");
			output(b);
		});
		const replaceable = await remarkOf("miss-replaceable", (b) => {
			product(b);
			b.graph.addInput(b.value("w"));
			b.value("w").type = tensorType(INT8, [16, 8]);
			output(b);
		});
		const vector = await remarkOf("miss-vector", (b) => {
			dynamicallyQuantized(b, "x");
			dynamicWeight(b, "w", { shape: [16] });
			integerProduct(b, "MatMulInteger", "x", "w", "y");
			b.output("y").type = tensorType(FLOAT, [4]);
		});
		expect([input, replaceable, vector]).toEqual(new Array(3).fill("dynamic/weight"));
	});

	test("scales and zero points that DequantizeLinear does not have", async () => {
		const rowScale = await remarkOf("miss-scale", (b) => {
			dynamicallyQuantized(b, "x");
			dynamicWeight(b, "w", { shape: [16, 8], scaleShape: [4, 1] });
			integerProduct(b, "MatMulInteger", "x", "w", "y");
			output(b);
		});
		const zeroType = await remarkOf("miss-zero-type", (b) => {
			product(b);
			b.initializer("w_zero", tensor(UINT8, [], bytesOf(new Uint8Array(1))));
			output(b);
		});
		const report = await golden(
			PASS,
			"miss-columns",
			image([1, 6], () => {}, "h"),
		);
		expect([rowScale, zeroType, report.diagnostics[0]?.code]).toEqual(new Array(3).fill("dynamic/scale"));
	});

	test("an operator set that cannot be raised", async () => {
		const fill = (b: ModelBuilder) => {
			dynamicWeight(b, "w", { shape: [16, 8] });
			b.node(microsoft("DynamicQuantizeMatMul"), ["x", "w", "w_scale"], ["h"], {}, "product");
			b.node("Scan", ["h"], ["y"], { directions: intsAttribute([0]) }, "scan");
			output(b);
		};
		expect(await remarkOf("miss-opset", fill, 8)).toBe("dynamic/opset");
	});
});
