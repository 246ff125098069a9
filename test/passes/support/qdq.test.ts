import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { intAttribute } from "../../../src/ir/attribute.js";
import { NameScope } from "../../../src/ir/names.js";
import { floatTensor, tensor } from "../../../src/ir/tensor.js";
import { DataType, tensorType } from "../../../src/ir/types.js";
import { verifyModel } from "../../../src/ir/verify.js";
import {
	addQdq,
	addQuantizedConstant,
	codesTensor,
	coveringEncoding,
	encodingAt,
	encodingBehind,
	encodingOf,
} from "../../../src/passes/support/qdq.js";
import { smallConstantOf } from "../../../src/passes/support/small-constant.js";
import { codeOf, intervalOf } from "../../../src/quant/grid.js";
import { modelOf } from "../../support/build.js";
import { quantized } from "../../support/weights.js";

const TYPES = [DataType.UINT8, DataType.INT8, DataType.UINT16, DataType.INT16] as const;
const number = fc.double({ min: -1e6, max: 1e6, noNaN: true });

describe("an encoding", () => {
	test("that covers an interval has 0 and rounds everything in it by half a step at most", () => {
		fc.assert(
			fc.property(
				fc.constantFrom(...TYPES),
				number,
				number,
				fc.double({ min: 0, max: 1, noNaN: true }),
				(dtype, a, b, t) => {
					const [lo, hi] = [Math.min(a, b), Math.max(a, b)];
					const encoding = coveringEncoding(dtype, { lo, hi });
					const value = Math.min(hi, lo + t * (hi - lo));
					const rounded = (codeOf(value, encoding) - encoding.zeroPoint) * encoding.scale;
					expect(Math.abs(rounded - value)).toBeLessThanOrEqual(encoding.scale * 0.501);
					expect(encoding.zeroPoint).toBeGreaterThanOrEqual(encoding.min);
					expect(encoding.zeroPoint).toBeLessThanOrEqual(encoding.max);
				},
			),
		);
	});

	test("reaches no farther than it must", () => {
		const { lo, hi } = intervalOf(coveringEncoding(DataType.UINT16, { lo: -1, hi: 3 }));
		expect(lo).toBeCloseTo(-1, 4);
		expect(hi).toBeCloseTo(3, 4);
	});

	test("of nothing but 0 is valid", () => {
		expect(coveringEncoding(DataType.INT16, { lo: 0, hi: 0 })).toMatchObject({ scale: 2 ** -20, zeroPoint: -32768 });
	});

	test("is read through view operators, with a zero point left out, and not where it has several scales", () => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [2, 3]);
			b.node("Transpose", [quantized(b, "x", 0.5)], ["t"]);
			b.initializer("s", floatTensor([1], [0.25]));
			b.initializer("many", floatTensor([3], [1, 2, 3]));
			b.node("QuantizeLinear", ["t", "s"], ["u8"]);
			b.node("QuantizeLinear", ["t", "s"], ["i16"], { output_dtype: intAttribute(DataType.INT16) });
			b.node("QuantizeLinear", ["t", "many"], ["c"], { axis: intAttribute(0) });
			for (const name of ["u8", "i16"]) b.node("DequantizeLinear", [name, "s"], [`${name}_dq`]);
			b.output("c");
		});
		const [, , transpose, unsigned, signed, channels, fromUnsigned, fromSigned] = [...model.graph.nodes];
		const expected = encodingOf(DataType.UINT16, 0.5, 32768);
		expect(encodingBehind(transpose!.outputs[0])).toEqual(expected);
		for (const node of [unsigned, fromUnsigned]) expect(encodingAt(node!)).toEqual(encodingOf(DataType.UINT8, 0.25, 0));
		for (const node of [signed, fromSigned]) expect(encodingAt(node!)).toEqual(encodingOf(DataType.INT16, 0.25, 0));
		expect(encodingAt(channels!)).toBeUndefined();
		expect(encodingBehind(model.graph.inputs[0])).toBeUndefined();
	});
});

describe("nodes", () => {
	test("pairs and constants, under names that are free, in functions too", () => {
		const model = modelOf((b) => {
			b.input("x", DataType.FLOAT, [2]);
			b.node("Relu", ["x"], ["x_q"]);
			b.node({ domain: "d", type: "f" }, ["x_q"], ["y"]);
			b.output("y").type = tensorType(DataType.FLOAT, [2]);
			b.function("d", "f", (body) => {
				body.input("p");
				body.node("Relu", ["p"], ["r"]);
				body.output("r");
			});
		});
		const names = new NameScope(model);
		for (const graph of [model.graph, model.functions[0]!.body]) {
			const [input] = graph.inputs;
			const [relu] = graph.nodes;
			const pair = addQdq(graph, input!, encodingOf(DataType.INT16, 0.5, 3), names, relu);
			const constant = { shape: [2], values: [-1, 3], dtype: DataType.UINT16 };
			const added = addQuantizedConstant(graph, "bias", constant, names, relu!);
			expect(smallConstantOf(added)?.values[1]).toBeCloseTo(3, 4);
			const sum = graph.createValue(names.fresh("sum"));
			graph.createNode({ op: "Add", inputs: [pair, added], outputs: [sum] }, relu);
			relu!.setInput(0, sum);
			expect(encodingBehind(pair)).toEqual(encodingOf(DataType.INT16, 0.5, 3));
		}
		expect(verifyModel(model)).toEqual([]);
	});
});

describe("small constants", () => {
	test("per channel, of any integer type, along an axis counted from the end", () => {
		const model = modelOf((b) => {
			b.initializer("c", codesTensor(DataType.INT32, [2, 3], [1, 2, 3, 4, 5, 6]));
			b.initializer("s", floatTensor([3], [1, 10, 100]));
			b.initializer("z", tensor(DataType.INT32, [3], new Uint8Array(12)));
			b.node("DequantizeLinear", ["c", "s", "z"], ["y"], { axis: intAttribute(-1) });
			b.output("y");
		});
		expect(smallConstantOf(model.graph.outputs[0])).toEqual({
			shape: [2, 3],
			values: Float32Array.from([1, 20, 300, 4, 50, 600]),
		});
	});
});
