import { describe, expect, test } from "vitest";
import { intAttribute, intsAttribute, tensorAttribute } from "../../src/ir/attribute.js";
import { floatTensor, type Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { lowerContribQdq } from "../../src/passes/lower-contrib-qdq.js";
import { normals } from "../runtime/models.js";
import { type GraphBuilder, ModelBuilder } from "../support/build.js";
import { golden } from "../support/golden.js";
import { boolFeed, floatFeed } from "../support/ort.js";
import { expectSameOutputs } from "../support/same-outputs.js";
import { randomCodes, randomScales, uint4Tensor } from "../support/weights.js";

const { FLOAT, UINT16 } = DataType;
const PASS = lowerContribQdq();
const ort = (type: string) => ({ domain: "com.microsoft", type });
const FEED = { x: floatFeed([4, 16], normals(64, 3)) };

/** A model as ONNX Runtime's quantizers write it before operator set 21. */
function builder(opset = 13): ModelBuilder {
	const b = new ModelBuilder({ opset, irVersion: 7 });
	b.model.opsetImports.set("com.microsoft", 1);
	b.input("x", FLOAT, [4, 16]);
	return b;
}

function activation(b: GraphBuilder, source: string): string {
	b.initializer(`${source}_scale`, floatTensor([], [0.001]));
	b.initializer(`${source}_zero`, tensor(UINT16, [], new Uint8Array([0, 0x80])));
	b.node(ort("QuantizeLinear"), [source, `${source}_scale`, `${source}_zero`], [`${source}_q`], {}, `${source}_Q`);
	const inputs = [`${source}_q`, `${source}_scale`, `${source}_zero`];
	b.node(ort("DequantizeLinear"), inputs, [`${source}_dq`], {}, `${source}_DQ`);
	return `${source}_dq`;
}

const codes = () => uint4Tensor([16, 8], randomCodes(128, 1, 0, 15));

/** UINT4, one scale a channel. */
function weight(b: GraphBuilder, name: string): string {
	b.initializer(name, codes());
	b.initializer(`${name}_scale`, floatTensor([8], randomScales(8, 2)));
	b.initializer(`${name}_zero`, uint4Tensor([8], randomCodes(8, 3, 0, 15)));
	const node = b.node(
		ort("DequantizeLinear"),
		[name, `${name}_scale`, `${name}_zero`],
		[`${name}_dq`],
		{ axis: intAttribute(1) },
		`${name}_DQ`,
	);
	node.docString = "a weight";
	node.metadata.set("kind", "weight");
	return `${name}_dq`;
}

function linear(): ModelBuilder {
	const b = builder();
	b.node("MatMul", [activation(b, "x"), weight(b, "w")], ["h"], {}, "matmul");
	b.node("Unsqueeze", [activation(b, "h"), "axes"], ["y"], {}, "unsqueeze");
	b.initializer("axes", tensor(DataType.INT64, [1], new Uint8Array(8)));
	b.output("y").type = tensorType(FLOAT, [1, 4, 8]);
	return b;
}

describe("lower-contrib-qdq", () => {
	test("codes of 16 and of 4 bits get the operators of ONNX, and operator set 21", async () => {
		await golden(PASS, "linear", linear().build());
		await expectSameOutputs(linear().build(), PASS, FEED, { tolerance: 1e-7 });
	});

	test("in subgraphs and functions", async () => {
		const places = () => {
			const b = builder(17);
			b.input("choice", DataType.BOOL, []);
			const branch = (name: string) =>
				b.subgraph(name, (inner) => {
					inner.node("Identity", [activation(inner, "x")], [`${name}_y`]);
					inner.output(`${name}_y`).type = tensorType(FLOAT, [4, 16]);
				});
			b.node("If", ["choice"], ["h"], { then_branch: branch("then"), else_branch: branch("else") }, "if");
			b.function("local", "Round", (body) => {
				body.input("a");
				const constant = (name: string, value: Tensor) =>
					body.node("Constant", [], [name], { value: tensorAttribute(value) });
				constant("s", floatTensor([], [0.01]));
				constant("z", tensor(UINT16, [], new Uint8Array([0, 0x80])));
				body.node(ort("QuantizeLinear"), ["a", "s", "z"], ["a_q"]);
				body.node(ort("DequantizeLinear"), ["a_q", "s", "z"], ["b"]);
				body.output("b");
			});
			b.node({ domain: "local", type: "Round" }, ["h"], ["y"], {}, "call");
			b.output("y").type = tensorType(FLOAT, [4, 16]);
			return b.build();
		};
		await golden(PASS, "places", places());
		await expectSameOutputs(places(), PASS, { ...FEED, choice: boolFeed(true) }, { tolerance: 1e-7 });
	});

	test("where the operator set cannot be raised they stay", async () => {
		const b = builder(8);
		b.node("Scan", [activation(b, "x")], ["y"], { directions: intsAttribute([0]) }, "scan");
		b.output("y").type = tensorType(FLOAT, [4, 16]);
		const report = await golden(PASS, "stuck", b.build());
		expect(report.diagnostics[0]?.code).toBe("qdq/opset");
	});
});
