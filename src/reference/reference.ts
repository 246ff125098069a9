export {
	accumulatorRange,
	fitsBits,
	type IntegerRange,
	type LinearRange,
	type LinearRangeSpec,
	linearRange,
	rangeOfBits,
} from "../quant/range.js";
export { type CheckLinearConfig, checkLinear, type LinearCheck } from "./check-linear.js";
export { chooseQparamsPerToken, SMALLEST_TOKEN_SCALE, type TokenQparams } from "./choose-qparams.js";
export type { DifferentValue, Disagreement, KernelCall, KernelCase, KernelFunction, KernelOutputs } from "./compare.js";
export type { LinearKernel, LinearResult } from "./define-linear.js";
export { htpLpbq } from "./htp-lpbq.js";
export type { GroupSums } from "./integer-form.js";
export type { DataKind, Derivation, Kernel, PublishedConfig, Tolerance } from "./kernel.js";
export { type KernelCommandOptions, kernelCommand } from "./kernel-command.js";
export { KERNELS, LINEAR_KERNELS } from "./kernels.js";
export { linearDq8caQ4gsw } from "./linear-dq8ca-q4gsw.js";
export { linearDq8caQ8csw } from "./linear-dq8ca-q8csw.js";
export { linearLpbq } from "./linear-lpbq.js";
export { linearQ4gsw } from "./linear-q4gsw.js";
export { linearQ8csw } from "./linear-q8csw.js";
export { linearQcs4w } from "./linear-qcs4w.js";
export { linearQga4w } from "./linear-qga4w.js";
export { linearQta8aQga4w } from "./linear-qta8a-qga4w.js";
export { linearQta8aQga4wQta8o } from "./linear-qta8a-qga4w-qta8o.js";
export {
	interleaveScalesAndZeros,
	NIBBLE_ORDERS,
	type NibbleOrder,
	packNibbles,
	separateScalesAndZeros,
	transposeScales,
	unpackNibbles,
	weightSums,
} from "./packing.js";
export { ROUNDING_MODES, type RoundingMode } from "./rounding.js";
export type {
	InputSpec,
	InputSpecs,
	InputsOf,
	LinearConfig,
	TensorArray,
	TensorArrays,
	TensorSpec,
	TensorType,
} from "./tensor-spec.js";
