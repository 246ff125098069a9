import type { IntegerRange } from "../quant/range.js";
import { dequantizedSums } from "./dequantized-form.js";
import { drawInputs, expectInputs } from "./inputs.js";
import { groupSums, integerSums } from "./integer-form.js";
import { type DataKind, EXACT, type Kernel, type PublishedConfig, type Tolerance } from "./kernel.js";
import type { LinearOperands, OutputOperand } from "./operands.js";
import { quantize, type RoundingMode, rounder } from "./rounding.js";
import {
	ARRAY_CLASSES,
	type InputSpecs,
	type InputsOf,
	type LinearConfig,
	type TensorArray,
	type TensorArrays,
	type TensorSpec,
	type TensorType,
	tensorType,
} from "./tensor-spec.js";

/** What a linear kernel is made of. */
export interface LinearDefinition<S extends InputSpecs> {
	readonly name: string;
	readonly summary: string;
	readonly source: string;
	readonly inputs: S;
	/** Element type of the output. */
	readonly output: TensorSpec["type"];
	readonly activations: readonly TensorType[];
	readonly rounding: RoundingMode;
	readonly published: readonly PublishedConfig[];
	/** The tensors in the terms that all linear kernels share. */
	operands(inputs: InputsOf<S>, config: LinearConfig): LinearOperands;
	/** Inputs that say how the output is quantized, to be set to what the sums need; absent where they are drawn. */
	readonly outputInputs?: { readonly scale: string; readonly zeroPoint: string };
	/** Are these drawn for typical data? Those of exact data are always set. */
	readonly drawsOutput?: boolean;
}

export interface LinearResult {
	/** [rows, N] */
	readonly output: TensorArray;
	/** The output before it was quantized, float32 [rows, N]. */
	readonly sums: Float32Array;
}

/** A linear operator in two forms that are equal but for float32 rounding. */
export interface LinearKernel<S extends InputSpecs = InputSpecs> extends Kernel {
	readonly inputs: S;
	/**
	 * Dequantizes, computes in float, quantizes: the definition.
	 *
	 * @param rows which rows to compute; default all.
	 * @throws RangeError when the config makes no sense or an array does not hold what its shape needs.
	 */
	dequantized(config: LinearConfig, inputs: InputsOf<S>, rows?: readonly number[]): LinearResult;
	/** Accumulates integers and applies scales afterwards; see {@link dequantized}. */
	integer(config: LinearConfig, inputs: InputsOf<S>, rows?: readonly number[]): LinearResult;
	/** The tensors unpacked, in the terms that all linear kernels share; see {@link dequantized} for what it throws. */
	operands(config: LinearConfig, inputs: InputsOf<S>): LinearOperands;
}

export function defineLinear<const S extends InputSpecs>(definition: LinearDefinition<S>): LinearKernel<S> {
	const { name, summary, source, inputs: specs, activations, rounding, published, outputInputs } = definition;
	const outputs = {
		output: { type: definition.output, dims: ["M", "N"], about: "the result" },
	} as const satisfies Record<string, TensorSpec>;

	const operandsOf = (config: LinearConfig, inputs: TensorArrays) => {
		expectInputs(specs, config, inputs);
		return definition.operands(inputs as InputsOf<S>, config);
	};
	const compute = (
		form: typeof dequantizedSums,
		config: LinearConfig,
		inputs: TensorArrays,
		rows: readonly number[] = allRows(config),
	): LinearResult => {
		const operands = operandsOf(config, inputs);
		const sums = form(config, operands, rows);
		const output = new ARRAY_CLASSES[tensorType(outputs.output, config)](sums.length);
		if (operands.output === undefined) output.set(sums);
		else quantizeSums(sums, rows, config, operands.output, output);
		return { output, sums };
	};

	return {
		name,
		summary,
		source,
		inputs: specs,
		outputs,
		activations,
		rounding,
		published,
		dequantized: (config, inputs, rows) => compute(dequantizedSums, config, inputs as TensorArrays, rows),
		integer: (config, inputs, rows) => compute(integerSums, config, inputs as TensorArrays, rows),
		operands: (config, inputs) => operandsOf(config, inputs as TensorArrays),
		makeInputs(config, data, seed) {
			const inputs = drawInputs(specs, config, data, seed);
			if (outputInputs !== undefined && !(data === "typical" && definition.drawsOutput === true)) {
				const { sums } = compute(dequantizedSums, config, inputs);
				const { range } = operandsOf(config, inputs).output!;
				aimOutput(sums, range, data, inputs[outputInputs.scale]!, inputs[outputInputs.zeroPoint]!);
			}
			return inputs;
		},
		reference: (config, inputs, rows) => ({ output: compute(dequantizedSums, config, inputs, rows).output }),
		exactTolerance: (config) => (isWide(tensorType(outputs.output, config)) ? ONE_STEP : EXACT),
		derive(config, inputs, row, channel) {
			const operands = operandsOf(config, inputs);
			return {
				floatSum: dequantizedSums(config, operands, [row])[channel]!,
				integerSum: integerSums(config, operands, [row])[channel]!,
				groups: groupSums(config, operands, row, channel),
			};
		},
	};
}

/** Sums that make 16-bit codes take more digits than a float32 has. */
const ONE_STEP: Tolerance = { absolute: 1, relative: 0, combine: "sum" };

function isWide(type: TensorType): boolean {
	return type === "int16" || type === "uint16";
}

export function allRows({ rows }: LinearConfig): number[] {
	return Array.from({ length: rows }, (_, row) => row);
}

/** Quantizes the sums of `rows`, [rows, N], into `out`. */
export function quantizeSums(
	sums: Float32Array,
	rows: readonly number[],
	{ channels, rounding }: LinearConfig,
	{ scales, zeroPoints, range }: OutputOperand,
	out: TensorArray,
): void {
	const round = rounder(rounding);
	for (const [index, row] of rows.entries()) {
		for (let at = index * channels; at < (index + 1) * channels; at++) {
			out[at] = quantize(sums[at]!, scales[row]!, zeroPoints[row]!, range, round);
		}
	}
}

/**
 * Sets the output's scales and zero points, one for all or one a row, to what shows mistakes. Typical data fills the range.
 * Exact data has powers of two as scales, sums that are clipped, and one that becomes the middle code, which is 0 in signed
 * types, where a relative tolerance allows least.
 */
function aimOutput(
	sums: Float32Array,
	range: IntegerRange,
	data: DataKind,
	scales: TensorArray,
	zeroPoints: TensorArray,
): void {
	const half = (range.max - range.min + 1) / 2;
	const middle = range.min + half;
	const each = sums.length / scales.length;
	for (let index = 0; index < scales.length; index++) {
		const part = sums.subarray(index * each, (index + 1) * each);
		const largest = part.reduce((max, sum) => Math.max(max, Math.abs(sum)), 0) || 1;
		const scale = data === "typical" ? largest / half : 2 ** (Math.floor(Math.log2(largest / half)) - 1);
		const steps = Array.from(part, (sum) => Math.round(sum / scale));
		const aimed = steps.find((step) => Math.abs(step) >= 2 && Math.abs(step) < half) ?? 0;
		scales[index] = scale;
		zeroPoints[index] = data === "typical" ? middle : middle - aimed;
	}
}
