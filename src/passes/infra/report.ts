import type { Diagnostic, DiagnosticCode } from "../../diagnostics.js";
import type { OptionValue } from "./pass.js";

/** What became of one weight at one place where it is used. Field names are part of the report's schema. */
export interface WeightEntry {
	/** Name of the constant that holds the weight. */
	readonly weight: string;
	/** Name of the operator node, or its operator and output where it has none. */
	readonly node: string;
	/** Operator type: MatMul, Gemm, Conv, ConvTranspose, Gather, or one that takes quantized weights itself. */
	readonly op: string;
	/** Path of the graph that holds the operator. */
	readonly graph: string;
	readonly status: "converted" | "kept";
	/** Why: a code of docs/diagnostics.md. */
	readonly code: DiagnosticCode;
	/** One sentence for people. */
	readonly message: string;
	/** Shape of the weight as stored. */
	readonly shape: readonly number[];
	/** Element type of the stored weight, INT4. */
	readonly dtype: string;
	/** Bits of one stored element. */
	readonly bits?: number;
	/** What the weight was before the pass. */
	readonly scheme?: string;
	readonly blockSize?: number;
	readonly blockAxis?: number;
	readonly channelAxis?: number;
	/** Output form of a converted weight: double-dq, exact-bq, bq, channel-int8, per-channel, per-tensor or fp16. */
	readonly form?: string;
	/** How scales and codes were found: max, search or gptq. */
	readonly fit?: string;
	/** Signal to quantization noise of the new weight against its reference, dB; null means exact. */
	readonly sqnrDb?: number | null;
	/** The same for `fit: max`, where `search` found something else. */
	readonly sqnrDbOfMax?: number | null;
	/** The same for what another pass made of the weight first, such as symmetric 4 bits or a sum, against what was there; null means exact. */
	readonly requantizedSqnrDb?: number | null;
	/** What `sqnrDb` compares with: the block-quantized weight or the float one. */
	readonly reference?: "bq" | "float";
	/** What a recipe made of the weight, such as 16a8w. */
	readonly precision?: string;
	/** Bytes of codes and scales of the new weight. */
	readonly bytes?: number;
	/** Blocks whose negative scale was turned positive. */
	readonly repairedBlocks?: number;
}

/** What one pass did. */
export interface PassRecord {
	readonly name: string;
	readonly options: Readonly<Record<string, OptionValue>>;
	readonly changed: boolean;
	readonly milliseconds: number;
	readonly stats: Readonly<Record<string, number>>;
}

/** What a pipeline run did. */
export interface PipelineReport {
	readonly passes: readonly PassRecord[];
	readonly diagnostics: readonly Diagnostic[];
	readonly weights: readonly WeightEntry[];
}
