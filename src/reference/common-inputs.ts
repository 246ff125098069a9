import { activationCodes, between, powerOfTwo, whole, wholeWithEnds } from "./draws.js";
import type { Draw, InputSpecs } from "./tensor-spec.js";

/* Tensors that several kernels take in the same form. */

/** A float activation; `typical` draws it as the kernel's published test does. */
export const floatInput = (typical: Draw) =>
	({ type: "activation", dims: ["M", "K"], about: "float", typical, exact: wholeWithEnds(-16, 16) }) as const;

/** int8 codes with a scale and a zero point for every token. */
export const TOKEN_CODES = {
	input: { type: "int8", dims: ["M", "K"], about: "codes", typical: whole(-10, 30), exact: activationCodes },
	input_scale: {
		type: "float32",
		dims: ["M"],
		about: "one a token",
		typical: between(0.05, 0.15),
		exact: powerOfTwo(-5, -3),
	},
	input_zero_point: {
		type: "int32",
		dims: ["M"],
		about: "one a token",
		typical: whole(-10, 9),
		exact: wholeWithEnds(-128, 127),
	},
} as const satisfies InputSpecs;

const nibbles = (order: string) =>
	({
		type: "uint8",
		dims: ["N", "K/2"],
		about: `nibbles 0..15, ${order}`,
		typical: whole(0, 255),
		exact: wholeWithEnds(0, 255),
	}) as const;

/** Packed as NIBBLE_ORDERS.vulkan. */
export const EVEN_HIGH_NIBBLES = nibbles("even k high");

/** Packed as NIBBLE_ORDERS["onnx-uint4"]. */
export const EVEN_LOW_NIBBLES = nibbles("even k low");

export const SCALES_AND_ZEROS = {
	type: "float32",
	dims: ["K/g", "N", "2"],
	about: "scale, and zero that is added after scaling",
	typical: between(0, 1),
	exact: whole(1, 8, 1 / 8),
} as const satisfies InputSpecs[string];

export const BIAS = {
	type: "float32",
	dims: ["N"],
	about: "added to the output; may be absent",
	typical: between(-8, 8),
	exact: whole(-64, 64, 1 / 8),
	isBias: true,
} as const satisfies InputSpecs[string];
