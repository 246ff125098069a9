import { expect, test } from "vitest";
import { intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { pair, weight } from "../runtime/operator-models.js";
import { type GraphBuilder, modelOf } from "../support/build.js";

interface Window {
	readonly op?: "Conv" | "AveragePool" | "MaxPool";
	readonly kernel?: number;
	readonly pads?: number;
	readonly steps?: number;
	readonly between?: "Relu" | "none";
}

/** `shape` of rows that a LayerNormalization makes, which a Transpose makes the channels of a window's operator. */
function turned(shape: readonly number[], { op = "Conv", kernel = 3, pads = 1, steps = 1, between }: Window) {
	return (b: GraphBuilder) => {
		const channels = shape.at(-1)!;
		const lengths = shape.length - 2;
		const same = (number: number, count = lengths) => intsAttribute(new Array<number>(count).fill(number));
		b.input("x", DataType.FLOAT, shape);
		b.initializer("gamma", floatTensor([channels], new Array<number>(channels).fill(1)));
		b.initializer("beta", floatTensor([channels], new Array<number>(channels).fill(0)));
		b.node("LayerNormalization", [pair(b, "x"), "gamma", "beta"], ["norm"]);
		let value = pair(b, "norm");
		if (between === "Relu") {
			b.node("Relu", [value], ["positive"]);
			value = pair(b, "positive");
		}
		const perm = shape.length === 3 ? [0, 2, 1] : [0, 3, 1, 2];
		b.node("Transpose", [value], ["turned"], { perm: intsAttribute(perm) });
		const image = pair(b, "turned");
		const window = { kernel_shape: same(kernel), pads: same(pads, 2 * lengths), strides: same(steps) };
		const w = new Array<number>(lengths).fill(kernel);
		const inputs = op === "Conv" ? [image, weight(b, "w", { shape: [8, channels, ...w], isOne: true })] : [image];
		b.node(op, inputs, ["y"], window);
		b.output(pair(b, "y"));
	};
}

test.each<[number[], Window, boolean]>([
	[[1, 16, 24], {}, true],
	[[1, 104, 64], { kernel: 7, pads: 3 }, true],
	[[1, 16, 24], { op: "AveragePool" }, true],
	[[1, 16, 24], { op: "AveragePool", kernel: 2, steps: 2, pads: 0 }, true],
	[[1, 16, 24], { kernel: 1, steps: 2, pads: 0 }, true],
	[[1, 7, 16, 24], {}, true],
	[[2, 1, 16, 24], {}, true],
	[[1, 8, 16, 24], {}, false],
	[[1, 4, 16, 24], { op: "AveragePool", pads: 0 }, false],
	[[1, 8, 24], {}, false],
	[[1, 20, 24], {}, false],
	[[1, 16, 16], {}, false],
	[[2, 16, 24], {}, false],
	[[1, 16, 24], { pads: 0 }, false],
	[[1, 16, 24], { op: "MaxPool" }, false],
	[[1, 16, 24], { between: "Relu" }, false],
])("normalized rows %j as channels of %j", async (shape, window, isBroken) => {
	const model = modelOf(turned(shape, window));
	const found = (await checkModel(model, parseTarget("qnn-htp:v79"))).map(({ rule }) => rule);
	expect(found.filter((rule) => rule === "htp/norm-channels")).toEqual(isBroken ? ["htp/norm-channels"] : []);
});
