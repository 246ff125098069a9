import { expect, test } from "vitest";
import { intAttribute, intsAttribute, stringAttribute } from "../../src/ir/attribute.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { node, pair, weight } from "../runtime/operator-models.js";
import { modelOf } from "../support/build.js";
import { int4Tensor, randomCodes, randomScales } from "../support/weights.js";

/* Convs that pad in front and batches of LPBQ products: with the fault, and without, as the emulator showed. */

const { FLOAT, UINT16, UINT8 } = DataType;

interface Given {
	/** Of the input, 4 channels. */
	readonly size: readonly number[];
	readonly kernel: readonly number[];
	readonly pads?: readonly number[];
	readonly auto?: string;
	readonly steps?: readonly number[];
	readonly dilations?: readonly number[];
	readonly outputs?: number;
	readonly group?: number;
	readonly dtype?: typeof UINT8 | typeof UINT16;
	readonly on?: string;
}

async function rulesOf({ size, kernel, outputs = 16, group = 1, dtype = UINT16, on = "v73", ...window }: Given) {
	const model = modelOf((b) => {
		b.input("x", FLOAT, [1, 4, ...size]);
		const { pads, auto, steps, dilations } = window;
		const attributes = {
			group: intAttribute(group),
			...(pads && { pads: intsAttribute(pads) }),
			...(auto && { auto_pad: stringAttribute(auto) }),
			...(steps && { strides: intsAttribute(steps) }),
			...(dilations && { dilations: intsAttribute(dilations) }),
		};
		const w = weight(b, "w", { shape: [outputs, 4 / group, ...kernel], isOne: true });
		b.node("Conv", [pair(b, "x", { dtype }), w], ["conv"], attributes, "conv");
		b.output(pair(b, "conv", { dtype }));
	});
	const findings = await checkModel(model, parseTarget(`qnn-htp:${on}`));
	return findings.map(({ rule }) => rule).filter((rule) => /-pads/.test(rule));
}

const TWO = { steps: [2, 2] };

test.each<[Given, string[]]>([
	[{ size: [9, 11], kernel: [1, 3], pads: [1, 0, 0, 0], ...TWO }, ["htp/conv-line-pads"]],
	[{ size: [9, 11], kernel: [1, 3], pads: [1, 0, 0, 0], ...TWO, dtype: UINT8 }, []],
	[{ size: [9, 11], kernel: [3, 1], pads: [0, 1, 0, 0], ...TWO, dtype: UINT8 }, ["htp/conv-line-pads"]],
	[{ size: [9, 11], kernel: [3, 1], pads: [1, 0, 0, 1], ...TWO }, []],
	[{ size: [9, 11], kernel: [3, 1], pads: [1, 1, 1, 1], steps: [2, 1] }, []],
	[{ size: [9, 11], kernel: [3, 1], pads: [1, 1, 1, 1], ...TWO, dilations: [2, 2] }, []],
	[{ size: [9, 11], kernel: [1, 1], pads: [1, 1, 1, 1], ...TWO }, []],
	[{ size: [9, 11], kernel: [3, 1], pads: [1, 1, 1, 1], ...TWO, outputs: 4, group: 4 }, []],
	[{ size: [5, 9, 11], kernel: [3, 3, 1], pads: [1, 1, 1, 1, 1, 1], steps: [1, 2, 2] }, ["htp/conv-line-pads"]],
	[{ size: [5, 9, 11], kernel: [1, 3, 3], pads: [1, 1, 1, 1, 1, 1], steps: [2, 2, 2] }, []],
	[{ size: [5, 9, 11], kernel: [3, 1, 3], pads: [1, 1, 1, 1, 1, 1], steps: [2, 1, 2] }, []],
	[{ size: [9, 11], kernel: [1, 3], pads: [2, 0, 0, 0], outputs: 33 }, ["htp/conv-pads-beyond"]],
	[{ size: [9, 11], kernel: [1, 3], pads: [2, 0, 0, 0] }, []],
	[{ size: [9, 11], kernel: [3, 3], pads: [4, 2, 0, 0], outputs: 40 }, ["htp/conv-pads-beyond"]],
	[{ size: [5, 9, 11], kernel: [3, 3, 3], pads: [0, 4, 0, 0, 0, 0], outputs: 40 }, ["htp/conv-pads-beyond"]],
	[{ size: [9, 11], kernel: [3, 3], pads: [3, 3, 0, 0], outputs: 40 }, []],
	[{ size: [9, 11], kernel: [3, 3], pads: [4, 3, 0, 0], outputs: 40 }, []],
	[{ size: [9, 11], kernel: [3, 1], pads: [0, 3, 0, 0], outputs: 40 }, []],
	[{ size: [9, 11], kernel: [1, 1], pads: [3, 0, 0, 0], outputs: 40 }, []],
	[{ size: [9, 11], kernel: [1, 3], pads: [2, 0, 0, 0], dilations: [1, 2], outputs: 40 }, []],
	[{ size: [9, 11], kernel: [1, 3], pads: [2, 0, 0, 0], steps: [1, 2], outputs: 40 }, []],
	[{ size: [5, 9, 11], kernel: [3, 3, 3], pads: [4, 0, 0, 0, 0, 0], outputs: 40 }, []],
	[{ size: [32], kernel: [1], pads: [1, 0] }, ["htp/conv-row-pads"]],
	[{ size: [1, 36], kernel: [1, 1], pads: [0, 1, 0, 0] }, ["htp/conv-row-pads"]],
	[{ size: [32], kernel: [1], pads: [0, 1] }, []],
	[{ size: [28], kernel: [1], pads: [1, 0] }, []],
	[{ size: [34], kernel: [1], pads: [1, 0] }, []],
	[{ size: [32], kernel: [3], pads: [1, 0] }, []],
	[{ size: [32], kernel: [1], pads: [1, 0], steps: [2] }, []],
	[{ size: [32], kernel: [1], pads: [1, 0], dtype: UINT8 }, []],
	[{ size: [1, 36], kernel: [1, 1], pads: [1, 1, 0, 0] }, []],
	[{ size: [2, 36], kernel: [1, 1], pads: [0, 1, 0, 0] }, []],
	[{ size: [8, 8], kernel: [1, 1], pads: [1, 0, 0, 1], outputs: 33, on: "v69" }, ["htp/conv-top-pads"]],
	[{ size: [8, 8], kernel: [1, 1], pads: [1, 0, 0, 1], outputs: 33 }, []],
	[{ size: [8, 8], kernel: [1, 1], pads: [1, 0, 0, 1], outputs: 32, on: "v69" }, []],
	[{ size: [8, 8], kernel: [1, 1], pads: [1, 1, 0, 1], outputs: 33, on: "v69" }, []],
	[{ size: [8, 8], kernel: [1, 1], pads: [1, 0, 0, 1], outputs: 33, on: "v69", dtype: UINT8 }, []],
	[{ size: [9, 9], kernel: [1, 1], auto: "SAME_LOWER", steps: [3, 3] }, ["htp/conv-same-pads"]],
	[{ size: [10, 10], kernel: [1, 1], auto: "SAME_UPPER", steps: [3, 3] }, []],
	[{ size: [8, 8], kernel: [1, 1], auto: "SAME_UPPER", steps: [2, 2] }, []],
	[{ size: [12, 12], kernel: [2, 2], auto: "SAME_UPPER", steps: [3, 3] }, []],
])("%j", async (given, expected) => {
	expect(await rulesOf(given)).toEqual(expected);
});

test.each([
	[[3, 5, 32], 40, UINT16, "v69", true],
	[[2, 3, 1, 32], 33, UINT16, "v69", true],
	[[2, 40, 32], 40, UINT16, "v69", true],
	[[2, 33, 32], 40, UINT16, "v69", false],
	[[2, 5, 32], 32, UINT16, "v69", false],
	[[1, 5, 32], 40, UINT16, "v69", false],
	[[2, 5, 32], 40, UINT8, "v69", false],
	[[2, 5, 32], 40, UINT16, "v73", false],
	[[2, 5, 32], 40, UINT16, "v68", false],
] as const)("an LPBQ product of %j with %i columns, %i, on %s", async (shape, columns, dtype, on, isBroken) => {
	const model = modelOf((b) => {
		b.input("x", FLOAT, shape);
		const zeros = (count: number) => new Int8Array(count);
		b.initializer("codes", int4Tensor([32, columns], randomCodes(32 * columns, 3, -7, 7)));
		b.initializer("points", int4Tensor([2, columns], zeros(2 * columns)));
		b.initializer("integers", int4Tensor([2, columns], randomCodes(2 * columns, 5, 1, 7)));
		b.initializer("channels", floatTensor([columns], randomScales(columns, 4)));
		b.node("DequantizeLinear", ["integers", "channels"], ["scales"], { axis: intAttribute(1) });
		const blocks = { axis: intAttribute(0), block_size: intAttribute(16) };
		b.node("DequantizeLinear", ["codes", "scales", "points"], ["matrix"], blocks);
		b.output(pair(b, node(b, "MatMul", [pair(b, "x", { dtype }), "matrix"], "product"), { dtype }));
	});
	const found = (await checkModel(model, parseTarget(`qnn-htp:${on}`))).map(({ rule }) => rule);
	expect(found.filter((rule) => rule === "htp/lpbq-batch")).toEqual(isBroken ? ["htp/lpbq-batch"] : []);
});
