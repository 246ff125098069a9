import { describe, expect, it } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor, tensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { exportEncodings } from "../../src/report/export-encodings.js";
import { type GraphBuilder, modelOf } from "../support/build.js";
import { blockWeight, quantized } from "../support/weights.js";

const { FLOAT, INT8, INT32 } = DataType;
const [K, N] = [64, 3];

function model(fill: (b: GraphBuilder) => string) {
	return modelOf((b) => {
		b.input("x", FLOAT, [2, K]);
		b.output(fill(b)).type = tensorType(FLOAT, [2, N]);
	});
}

function matmul(b: GraphBuilder, x: string, weight: string, y = "y"): string {
	b.node("MatMul", [x, weight], [y], {}, `${y}_matmul`);
	return y;
}

const block = (b: GraphBuilder) => blockWeight(b, "w", { shape: [K, N], axis: 0, blockSize: 32 });

/** int8 with one scale a channel, and a bias of 32 bits. */
function channels(b: GraphBuilder): string {
	b.initializer("w", tensor(INT8, [K, N], new Uint8Array(K * N)));
	b.initializer("w_s", floatTensor([N], [0.5, 0.25, 2]));
	b.node("DequantizeLinear", ["w", "w_s"], ["w_dq"], { axis: intAttribute(-1) }, "w_DQ");
	b.initializer("c", tensor(INT32, [N], new Uint8Array(4 * N)));
	b.node("DequantizeLinear", ["c", "w_s"], ["c_dq"], { axis: intAttribute(0) }, "c_DQ");
	matmul(b, "x", "w_dq", "h");
	b.node("Add", ["h", "c_dq"], ["y"], {}, "add");
	return "y";
}

describe("exporting encodings", () => {
	it("names the graph output, not what goes into its quantizer", () => {
		const { encodings, diagnostics } = exportEncodings(
			model((b) => quantized(b, matmul(b, quantized(b, "x"), block(b)))),
		);
		expect(diagnostics).toEqual([]);
		const found = encodings.entries.map(({ name, section }) => [name, section]);
		expect(found).toEqual([
			["w", "parameter"],
			["x", "activation"],
			["y_qdq", "activation"],
		]);
		expect(encodings.header.get("producer")).toEqual(
			new Map([
				["package", "qgraph"],
				["version", ""],
			]),
		);
	});

	it("has biases from version 2.0.0 on, unless told", () => {
		const names = (options: Parameters<typeof exportEncodings>[1]) =>
			exportEncodings(model(channels), options).encodings.entries.map(({ name }) => name);
		expect(names({})).toEqual(["w"]);
		expect(names({ bias: true })).toEqual(["w", "c"]);
		expect(names({ version: "2.0.0" })).toEqual(["w", "c"]);
		expect(names({ version: "2.0.0", bias: false })).toEqual(["w"]);
	});

	it("writes the same of several readers once, and says where they differ", () => {
		const twice = model((b) => {
			const a = quantized(b, "x", 0.5);
			b.node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["other_q"], {}, "other_Q");
			b.node("DequantizeLinear", ["other_q", "x_scale", "x_zero"], ["other"], {}, "other_DQ");
			b.node("Add", [matmul(b, a, block(b), "h"), matmul(b, "other", "w_dq", "i")], ["y"], {}, "add");
			return "y";
		});
		const same = exportEncodings(twice);
		expect(same.encodings.entries.map(({ name }) => name)).toEqual(["w", "x"]);
		expect(same.diagnostics).toEqual([]);
		const chained = exportEncodings(model((b) => matmul(b, quantized(b, quantized(b, "x", 0.5), 0.25), block(b))));
		expect(chained.encodings.entries.map(({ name }) => name)).toEqual(["w", "x"]);
		expect(chained.diagnostics.map(({ message }) => message)).toEqual([
			"'x' is quantized in two ways; the file has the first",
		]);
	});

	it("says what it cannot read", () => {
		const computed = model((b) => {
			b.input("scale", FLOAT, []);
			b.initializer("w", tensor(INT8, [K, N], new Uint8Array(K * N)));
			b.node("DequantizeLinear", ["w", "scale"], ["w_dq"], {}, "w_DQ");
			return matmul(b, "x", "w_dq");
		});
		expect(exportEncodings(computed).diagnostics.map(({ message }) => message)).toEqual([
			"the encoding of 'w' cannot be written: its scales are computed",
		]);
	});
});
