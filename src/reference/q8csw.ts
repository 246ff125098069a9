import { BIAS } from "./common-inputs.js";
import { between, powerOfTwo, whole, wholeWithEnds } from "./draws.js";
import type { InputSpecs } from "./tensor-spec.js";

/** Weights of the kernels with per-channel symmetric int8. */
export const Q8CSW_WEIGHT = {
	weight: {
		type: "int8",
		dims: ["N", "K"],
		about: "codes",
		typical: whole(-128, 127),
		exact: wholeWithEnds(-128, 127),
	},
	weight_scales: {
		type: "float32",
		dims: ["N"],
		about: "one a channel",
		typical: between(0.005, 0.015),
		exact: powerOfTwo(-9, -6),
	},
	bias: BIAS,
} as const satisfies InputSpecs;
