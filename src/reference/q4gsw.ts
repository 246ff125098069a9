import { BIAS, EVEN_LOW_NIBBLES, floatInput } from "./common-inputs.js";
import { between, powerOfTwo, whole } from "./draws.js";
import type { PublishedConfig, Tolerance } from "./kernel.js";
import { table, VULKAN_FLOAT32 } from "./published.js";
import type { InputSpecs, TensorType } from "./tensor-spec.js";

/* What the kernels with per-group symmetric int4 weights have in common. */

export const Q4GSW_SOURCE = "ExecuTorch PRs #14020 and #14068, backends/vulkan/test/custom_ops/test_q4gsw_linear.cpp";

export const Q4GSW_INPUT = floatInput(whole(-10, 10));

export const Q4GSW_WEIGHT = {
	weight: EVEN_LOW_NIBBLES,
	weight_scales: {
		type: "float32",
		dims: ["K/g", "N"],
		about: "one a group",
		typical: between(0.005, 0.05),
		exact: powerOfTwo(-7, -4),
	},
	bias: BIAS,
} as const satisfies InputSpecs;

/** The shapes that the operators' test has had, for one type of activation. */
export function q4gswConfigs(activation: TensorType, tolerance: (depth: number) => Tolerance): PublishedConfig[] {
	const defaults = { activation, rounding: "half-away", tolerance: VULKAN_FLOAT32 } as const;
	const configs = [
		...table(
			defaults,
			[4, 64, 32, 16],
			[4, 128, 64, 32],
			[4, 256, 128, 64],
			[32, 64, 32, 16],
			[32, 128, 64, 32],
			[32, 256, 128, 64],
			[256, 128, 128, 32],
			[64, 64, 64, 64],
			[64, 128, 64, 64],
			[64, 256, 128, 128],
		),
		...table({ ...defaults, bias: true }, [4, 64, 32, 16], [4, 128, 64, 32], [32, 128, 64, 32], [8, 16, 16, 8]),
		...table({ ...defaults, performance: true }, [128, 2048, 2048, 128], [1024, 4096, 4096, 128]),
	];
	return configs.map((config) => ({ ...config, tolerance: tolerance(config.depth) }));
}
