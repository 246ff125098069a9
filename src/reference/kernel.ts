import type { GroupSums } from "./integer-form.js";
import type { RoundingMode } from "./rounding.js";
import type { InputSpecs, LinearConfig, TensorArrays, TensorSpec, TensorType } from "./tensor-spec.js";

/**
 * What may differ: with `sum`, |actual - expected| <= absolute + relative * |expected|, as in torch's allclose; with
 * `either`, one of the two limits has to hold.
 */
export interface Tolerance {
	readonly absolute: number;
	readonly relative: number;
	readonly combine: "sum" | "either";
}

export const EXACT: Tolerance = { absolute: 0, relative: 0, combine: "sum" };

/** A shape that the operator's own tests use. */
export interface PublishedConfig extends LinearConfig {
	readonly tolerance: Tolerance;
	/** Is it one that is there to be timed? Then only some rows are compared, and only where asked for. */
	readonly performance: boolean;
}

/** `typical`: as in the published tests. `exact`: such that float32 computes it without rounding. */
export type DataKind = "typical" | "exact";

/** How one number of an output comes about. */
export interface Derivation {
	/** Of the dequantized form: the number before it is quantized. */
	readonly floatSum: number;
	/** Of the integer form. */
	readonly integerSum: number;
	readonly groups: readonly GroupSums[];
}

/** The definition of an operator that implementations are compared with. */
export interface Kernel {
	readonly name: string;
	readonly summary: string;
	/** Where the formula comes from. */
	readonly source: string;
	readonly inputs: InputSpecs;
	readonly outputs: Readonly<Record<string, TensorSpec>>;
	/** Element types that the activation may have. */
	readonly activations: readonly TensorType[];
	/** How its published form rounds. */
	readonly rounding: RoundingMode;
	readonly published: readonly PublishedConfig[];
	/** Data for a config, the same for the same seed. */
	makeInputs(config: LinearConfig, data: DataKind, seed: number): TensorArrays;
	/** What the outputs are, by name; only `rows` of them where given. */
	reference(config: LinearConfig, inputs: TensorArrays, rows?: readonly number[]): TensorArrays;
	/** What exact data may differ in. */
	exactTolerance(config: LinearConfig): Tolerance;
	/** Why output `[row, channel]` is what it is; undefined where there is nothing in between. */
	derive?(config: LinearConfig, inputs: TensorArrays, row: number, channel: number): Derivation;
}
