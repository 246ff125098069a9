import { chooseQparamsPerToken } from "./choose-qparams.js";
import { allRows } from "./define-linear.js";
import { between, whole } from "./draws.js";
import { drawInputs, expectInputs } from "./inputs.js";
import { EXACT, type Kernel } from "./kernel.js";
import { table, VULKAN_FLOAT32 } from "./published.js";
import type { InputSpecs } from "./tensor-spec.js";

const published = { activation: "float32", rounding: "half-even", tolerance: VULKAN_FLOAT32 } as const;

/** Multiples of 1/2: the scale of a row is a power of two where its range is 255 of them, and zero points end on halves. */
const inputs = {
	input: {
		type: "activation",
		dims: ["M", "K"],
		about: "float",
		typical: between(-1, 1),
		exact: whole(0, 255, 1 / 2),
	},
} as const satisfies InputSpecs;

/** {@link chooseQparamsPerToken} for int8 codes, as a kernel to check others against. N is of no meaning here. */
export const chooseQparamsKernel: Kernel = {
	name: "choose_qparams_per_token",
	summary: "scale and zero point of every row for dynamic quantization to int8",
	source:
		"ExecuTorch, kernels/quantized/cpu/op_choose_qparams.cpp and backends/vulkan/test/custom_ops/test_choose_qparams_per_row.cpp",
	inputs,
	outputs: {
		scale: { type: "float32", dims: ["M"], about: "one a row" },
		zero_point: { type: "int8", dims: ["M"], about: "one a row" },
	},
	activations: ["float32"],
	rounding: "half-even",
	published: [
		...table(published, [4, 16, 1], [8, 32, 1], [16, 64, 1], [32, 128, 1], [64, 256, 1], [128, 512, 1], [1, 512, 1]),
		...table({ ...published, performance: true }, [256, 1024, 1], [512, 2048, 1], [1, 2048, 1], [1, 8096, 1]),
	],
	makeInputs(config, data, seed) {
		const arrays = drawInputs(inputs, config, data, seed);
		if (data === "exact") spreadRows(arrays.input as Float32Array, config.depth);
		return arrays;
	},
	reference(config, arrays, rows = allRows(config)) {
		expectInputs(inputs, config, arrays);
		const { depth } = config;
		const chosen = chooseQparamsPerToken(arrays.input as Float32Array, config.rows, depth);
		return {
			scale: Float32Array.from(rows, (row) => chosen.scales[row]!),
			zero_point: Int8Array.from(rows, (row) => chosen.zeroPoints[row]!),
		};
	},
	exactTolerance: () => EXACT,
};

/** Moves every row of 0..127.5 so that its range is exactly 127.5, and its lower end where the first number says. */
function spreadRows(values: Float32Array, depth: number): void {
	for (let start = 0; start < values.length; start += depth) {
		const low = values[start]! / 2;
		for (let at = start; at < start + depth; at++) values[at] = values[at]! - low;
		values[start] = -low;
		values[start + depth - 1] = 127.5 - low;
	}
}
