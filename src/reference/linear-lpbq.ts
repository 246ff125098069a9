import { effectiveScale, MAX_BLOCK_SCALE_INT } from "../quant/lpbq.js";
import { defineLinear } from "./define-linear.js";
import { activationCodes, between, middleCodes, powerOfTwo, whole, wholeWithEnds } from "./draws.js";
import type { Tolerance } from "./kernel.js";
import { NIBBLE_ORDERS, unpackNibbles } from "./packing.js";
import { table } from "./published.js";
import { codeRange, type TensorType } from "./tensor-spec.js";

/** What the HTP's fixed-point rescaling costs: measured on its emulator, v73 to v81. */
const ONE_STEP: Tolerance = { absolute: 1, relative: 0, combine: "sum" };

/** Shapes that the HTP computes right: blocks of 16 or a multiple of 32, K a multiple of 32 and of the block. */
function shapes(activation: TensorType) {
	return table(
		{ activation, rounding: "half-even", tolerance: ONE_STEP },
		[1, 32, 32, 16],
		[8, 128, 64, 32],
		[8, 128, 64, 16],
		[4, 128, 40, 64],
		[24, 256, 64, 128],
		[1, 512, 128, 32],
		[64, 96, 2, 32],
	);
}

/**
 * LPBQ between quantized activations, as the Hexagon HTP computes it and as ONNX writes it with two DequantizeLinear:
 *   x[m, k] = (input[m, k] - input_zero_point) * input_scale
 *   w[n, k] = code[n, k] * block_scales[k/g, n] * channel_scales[n],  code * block scale within int8
 *   output[m, n] = clamp(round((sum of x[m, k] * w[n, k]) / output_scale) + output_zero_point)
 * The integer form adds up (input - input_zero_point) * (code * block scale) over all of K and multiplies once. Block scales
 * are 1..16: then code * block scale is at least -8 * 16 = -128. The output has the element type of the input.
 */
export const linearLpbq = defineLinear({
	name: "linear_lpbq",
	summary: "quantized input and output, int4 codes times integer block scales times channel scales",
	source: "docs/lpbq.md; QNN's BLOCKWISE_EXPANSION encoding; measured on the HTP's emulator",
	inputs: {
		input: { type: "activation", dims: ["M", "K"], about: "codes", typical: middleCodes, exact: activationCodes },
		input_scale: {
			type: "float32",
			dims: [],
			about: "of the tensor",
			typical: between(0.0001, 0.0003),
			exact: powerOfTwo(-6, -3),
		},
		input_zero_point: {
			type: "activation",
			dims: [],
			about: "of the tensor",
			typical: middleCodes,
			exact: middleCodes,
		},
		weight: {
			type: "uint8",
			dims: ["N", "K/2"],
			about: "int4 codes in two's complement, even k low, as ONNX packs them",
			typical: whole(0, 255),
			exact: wholeWithEnds(0, 255),
		},
		block_scales: {
			type: "uint8",
			dims: ["K/g", "N"],
			about: "1..16",
			typical: whole(1, MAX_BLOCK_SCALE_INT),
			exact: wholeWithEnds(1, MAX_BLOCK_SCALE_INT),
		},
		channel_scales: {
			type: "float32",
			dims: ["N"],
			about: "one a channel",
			typical: between(0.0005, 0.005),
			exact: powerOfTwo(-7, -4),
		},
		output_scale: {
			type: "float32",
			dims: [],
			about: "of the tensor",
			typical: whole(0, 0),
			exact: whole(0, 0),
		},
		output_zero_point: {
			type: "activation",
			dims: [],
			about: "of the tensor",
			typical: whole(0, 0),
			exact: whole(0, 0),
		},
	},
	output: "activation",
	activations: ["uint16", "int16", "uint8", "int8"],
	rounding: "half-even",
	published: (["uint16", "int16", "uint8", "int8"] as const).flatMap(shapes),
	outputInputs: { scale: "output_scale", zeroPoint: "output_zero_point" },
	operands(inputs, { rows, channels, activation }) {
		const { block_scales: blockScales, channel_scales: channelScales } = inputs;
		const wrong = blockScales.find((scale) => scale < 1 || scale > MAX_BLOCK_SCALE_INT);
		if (wrong !== undefined) throw new RangeError(`the block scale ${wrong}, expected 1 to ${MAX_BLOCK_SCALE_INT}`);
		const repeated = (array: ArrayLike<number>) => new Float32Array(rows).fill(array[0]!);
		return {
			activation: {
				values: inputs.input,
				scales: repeated(inputs.input_scale),
				zeroPoints: repeated(inputs.input_zero_point),
			},
			weight: {
				codes: unpackNibbles(inputs.weight, NIBBLE_ORDERS.onnx),
				scales: Float32Array.from(blockScales, (scale, index) =>
					effectiveScale(scale, channelScales[index % channels]!),
				),
				lpbq: { blockScales, channelScales },
			},
			output: {
				scales: repeated(inputs.output_scale),
				zeroPoints: repeated(inputs.output_zero_point),
				range: codeRange(activation),
			},
		};
	},
});
