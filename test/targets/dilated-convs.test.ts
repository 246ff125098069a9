import { expect, test } from "vitest";
import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { pair } from "../runtime/operator-models.js";
import { modelOf } from "../support/build.js";
import { randomCodes } from "../support/weights.js";

/* Convs with dilations and weights of 16 bits: with the fault, and without, as the emulator showed. */

const { FLOAT, INT16, INT8, UINT16 } = DataType;

interface Given {
	readonly channels?: number;
	readonly outputs?: number;
	readonly group?: number;
	readonly kernel?: readonly number[];
	readonly steps?: readonly number[];
	readonly dilations?: readonly number[];
	readonly dtype?: typeof INT16 | typeof INT8 | typeof UINT16;
	readonly isFloat?: boolean;
	readonly on?: string;
}

async function rulesOf(given: Given): Promise<string[]> {
	const { channels = 8, outputs = 8, group = 1, kernel = [3, 3], dtype = INT16, isFloat = false, on = "v79" } = given;
	const ones = kernel.map(() => 1);
	const { steps = ones, dilations = kernel.map(() => 2) } = given;
	const model = modelOf((b) => {
		b.input("x", FLOAT, [1, channels, ...kernel.map(() => 12)]);
		const shape = [outputs, channels / group, ...kernel];
		const [middle, factor] = dtype === UINT16 ? [0x8000, 100] : [0, dtype === INT8 ? 1 : 100];
		const codes = Array.from(randomCodes(elementCount(shape), 3, -127, 127), (code) => code * factor + middle);
		b.initializer("w", codesTensor(dtype, shape, codes));
		b.initializer("w_scale", floatTensor([], [0.001 / factor]));
		b.initializer("w_zero", codesTensor(dtype, [], [middle]));
		b.node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_dq"]);
		const attributes = {
			group: intAttribute(group),
			strides: intsAttribute(steps),
			dilations: intsAttribute(dilations),
		};
		b.node("Conv", [pair(b, "x"), "w_dq"], ["conv"], attributes, "conv");
		b.output(isFloat ? "conv" : pair(b, "conv"));
	});
	const findings = await checkModel(model, parseTarget(`qnn-htp:${on}`));
	return findings.map(({ rule }) => rule).filter((rule) => rule === "htp/wide-dilated");
}

const FOUND = ["htp/wide-dilated"];

test.each<[Given, string[]]>([
	[{}, FOUND],
	[{ dtype: UINT16, on: "v73" }, FOUND],
	[{ kernel: [1, 1], dilations: [1, 3], on: "v81" }, FOUND],
	[{ kernel: [3] }, FOUND],
	[{ group: 2 }, FOUND],
	[{ group: 8, outputs: 16 }, FOUND],
	[{ channels: 1 }, FOUND],
	[{ dilations: [1, 1] }, []],
	[{ dtype: INT8 }, []],
	[{ steps: [2, 1] }, []],
	[{ group: 8 }, []],
	[{ channels: 1, outputs: 1 }, []],
	[{ isFloat: true }, []],
	[{ on: "v69" }, []],
])("%j", async (given, expected) => {
	expect(await rulesOf(given)).toEqual(expected);
});
