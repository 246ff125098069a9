/*
 * What all linear kernels compute, whatever their tensors look like:
 *   output[m, n] = quantize( sum over k of activation[m, k] * weight[n, k] + bias[n] )
 * with  activation = (code - zeroPoint[m]) * scale[m]
 *       weight     = (code - zeroPoint[k/g, n]) * scale[k/g, n] + offset[k/g, n]
 */
import type { IntegerRange } from "../quant/range.js";

export interface LinearOperands {
	readonly activation: ActivationOperand;
	readonly weight: WeightOperand;
	/** [N] */
	readonly bias?: Float32Array | undefined;
	/** undefined: the output is float32. */
	readonly output?: OutputOperand | undefined;
}

export interface ActivationOperand {
	/** Codes, or the activation itself where it is float: [M, K]. */
	readonly values: ArrayLike<number>;
	/** [M]; undefined for float activations. */
	readonly scales?: ArrayLike<number> | undefined;
	/** [M]; undefined for float activations. */
	readonly zeroPoints?: ArrayLike<number> | undefined;
}

export interface WeightOperand {
	/** [N, K] */
	readonly codes: Int8Array;
	/** float32 [K/g, N] */
	readonly scales: Float32Array;
	/** [K/g, N]; absent: 0. */
	readonly zeroPoints?: Int32Array | undefined;
	/** Float zeros, added after scaling, [K/g, N]; absent: 0. */
	readonly offsets?: Float32Array | undefined;
	/** Scales of LPBQ, of which `scales` are the float32 products: accumulated as integers over all groups. */
	readonly lpbq?: LpbqOperand | undefined;
}

export interface LpbqOperand {
	/** [K/g, N] */
	readonly blockScales: Uint8Array;
	/** [N] */
	readonly channelScales: Float32Array;
}

export interface OutputOperand {
	/** [M] */
	readonly scales: ArrayLike<number>;
	/** [M] */
	readonly zeroPoints: ArrayLike<number>;
	readonly range: IntegerRange;
}
