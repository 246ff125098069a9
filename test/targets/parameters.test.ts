import { expect, test } from "vitest";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { pair } from "../runtime/operator-models.js";
import { type GraphBuilder, modelOf } from "../support/build.js";

const { FLOAT, UINT16, UINT8, INT16, INT8, INT32 } = DataType;

async function rulesOf(write: (b: GraphBuilder) => void, target = "v79"): Promise<string[]> {
	const findings = await checkModel(modelOf(write), parseTarget(`qnn-htp:${target}`));
	return findings.map(({ rule }) => rule);
}

/** Four numbers: floats, or codes behind a DequantizeLinear. */
function parameter(b: GraphBuilder, name: string, dtype: DataType, shape: readonly number[] = [4], zero = 0): string {
	if (dtype === FLOAT) {
		b.initializer(name, floatTensor(shape, [1, 0.5, 0.25, 0.75]));
		return name;
	}
	b.initializer(`${name}_codes`, codesTensor(dtype, shape, [100, 50, 25, 75]));
	b.initializer(`${name}_scale`, floatTensor([], [0.01]));
	b.initializer(`${name}_zero`, codesTensor(dtype, [], [zero]));
	b.node("DequantizeLinear", [`${name}_codes`, `${name}_scale`, `${name}_zero`], [name]);
	return name;
}

test.each([
	["v79", UINT16, FLOAT, FLOAT, false],
	["v68", UINT16, FLOAT, FLOAT, true],
	["v68", UINT16, UINT16, UINT8, true],
	["v68", UINT16, UINT16, INT32, false],
	["v79", UINT16, UINT8, INT32, false],
	["v79", UINT16, FLOAT, INT32, true],
	["v79", UINT8, UINT16, INT32, true],
	["v79", UINT8, UINT8, INT32, false],
	["v79", UINT8, INT8, INT32, false],
	["v79", UINT16, INT16, INT32, true],
	["v79", INT16, UINT16, INT32, true],
	["v79", INT16, UINT16, UINT16, false],
	["v79", INT8, INT8, INT32, true],
	["v68", INT8, INT8, INT32, true],
] as const)(
	"%s: InstanceNormalization of %i with a scale of %i and a bias of %i",
	async (target, dtype, scale, bias, isRefused) => {
		const rules = await rulesOf((b) => {
			b.input("x", FLOAT, [1, 4, 5, 6]);
			const inputs = [
				pair(b, "x", { dtype, scale: 2 ** -5 }),
				parameter(b, "scale", scale),
				parameter(b, "bias", bias),
			];
			b.node("InstanceNormalization", inputs, ["y"]);
			b.output(pair(b, "y", { dtype, scale: 2 ** -5 }));
		}, target);
		const isHalf = target !== "v68" && (dtype === UINT16 || dtype === INT16) && bias !== INT32;
		const floats = isHalf ? ["htp/instance-norm-floats"] : [];
		expect(rules).toEqual(isRefused ? ["htp/instance-norm-parameters"] : floats);
	},
);

test.each([
	["Reshape", UINT16, true],
	["Reshape", UINT8, false],
	["Reshape", FLOAT, false],
	["Softmax", UINT16, false],
] as const)("PRelu behind %s with slopes of type %i", async (before, slopes, isRefused) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, [1, 4, 5, 6]);
		const x = pair(b, "x");
		b.initializer("dims", int64Tensor([4], [1, 4, 6, 5]));
		b.node(before, before === "Reshape" ? [x, "dims"] : [x], ["z"]);
		const z = pair(b, "z", before === "Softmax" ? { scale: 2 ** -16, zero: 0 } : {});
		b.node("PRelu", [z, parameter(b, "slopes", slopes, [4, 1, 1])], ["y"]);
		b.output(pair(b, "y"));
	});
	expect(rules.filter((rule) => rule.includes("prelu"))).toEqual(isRefused ? ["htp/prelu-slopes"] : []);
});

test.each([
	["v79", UINT16, [UINT16, 0], undefined, true],
	["v79", UINT16, [UINT16, 0x8000], undefined, false],
	["v79", UINT16, [INT16, 0], INT32, false],
	["v79", UINT16, [INT16, -0x8000], INT32, true],
	["v79", UINT16, [UINT16, 0], UINT16, false],
	["v79", UINT16, [UINT8, 0], INT32, false],
	["v79", UINT16, [INT8, 0], INT32, true],
	["v79", UINT16, [FLOAT, 0], INT32, true],
	["v79", UINT16, [FLOAT, 0], undefined, false],
	["v68", UINT16, [UINT16, 0x8000], undefined, true],
	["v68", UINT16, [UINT8, 0], INT32, false],
	["v79", INT16, [UINT8, 0], undefined, true],
	["v79", INT16, [UINT16, 0], UINT16, false],
	["v79", UINT8, [UINT8, 0], undefined, false],
	["v79", UINT8, [UINT16, 0x8000], undefined, true],
] as const)(
	"%s: LayerNormalization of %i with a scale of %j and a bias of %o",
	async (target, dtype, [scale, zero], bias, isRefused) => {
		const rules = await rulesOf((b) => {
			b.input("x", FLOAT, [7, 4]);
			const inputs = [pair(b, "x", { dtype, scale: 2 ** -5 }), parameter(b, "scale", scale, [4], zero)];
			if (bias !== undefined) inputs.push(parameter(b, "bias", bias));
			b.node("LayerNormalization", inputs, ["y"]);
			b.output(pair(b, "y", { dtype, scale: 2 ** -5 }));
		}, target);
		expect(rules.filter((rule) => rule.includes("norm"))).toEqual(isRefused ? ["htp/layer-norm-parameters"] : []);
	},
);

test.each([
	[UINT16, [INT16, -0x8000], false],
	[UINT16, [INT8, 0], true],
	[INT16, [INT16, 0], false],
	[INT16, [INT16, -0x8000], true],
	[INT16, [UINT8, 0], false],
	[INT16, [UINT16, 0x8000], true],
	[UINT8, [UINT8, 0], false],
	[UINT8, [UINT16, 0], true],
	[INT8, [UINT8, 0], true],
	[INT8, [FLOAT, 0], false],
] as const)("RMS normalization of %i with a scale of %j", async (dtype, [scale, zero], isRefused) => {
	const rules = await rulesOf((b) => {
		b.input("x", FLOAT, [7, 4]);
		const inputs = [pair(b, "x", { dtype, scale: 2 ** -5 }), parameter(b, "scale", scale, [4], zero)];
		b.node("SimplifiedLayerNormalization", inputs, ["y"]);
		b.output(pair(b, "y", { dtype, scale: 2 ** -5 }));
	});
	expect(rules.filter((rule) => rule.includes("norm"))).toEqual(isRefused ? ["htp/norm-scale-type"] : []);
});
