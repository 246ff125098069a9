/** Precisions by the field's names: bits of activations, then of weights; `_block` has one scale a block. */
export const PRECISIONS = ["16a4w_block", "16a4w", "16a8w", "8a8w", "8a4w", "16a16w", "fp16", "keep"] as const;
export type Precision = (typeof PRECISIONS)[number];

/** Block sizes that the HTP computes right (docs/qnn-htp.md). */
export const BLOCK_SIZES = [16, 32, 64, 128] as const;
export type BlockSize = (typeof BLOCK_SIZES)[number];

/** Over which weights one scale goes. */
export const GRANULARITIES = ["per-channel", "per-tensor"] as const;
export type Granularity = (typeof GRANULARITIES)[number];

/** How block scales are stored: integers times a float a channel, or one float each. */
export const BLOCK_SCALES = ["lpbq", "bq"] as const;
export type BlockScales = (typeof BLOCK_SCALES)[number];

/** What a precision means. */
export interface PrecisionFacts {
	/** undefined where the precision says nothing of activations. */
	readonly activationBits: 8 | 16 | undefined;
	/** undefined where weights stay as they are. */
	readonly weightBits: 4 | 8 | 16 | undefined;
	readonly isBlock: boolean;
	readonly isFloat: boolean;
}

const integer = (activationBits: 8 | 16, weightBits: 4 | 8 | 16, isBlock = false): PrecisionFacts => ({
	activationBits,
	weightBits,
	isBlock,
	isFloat: false,
});

export const PRECISION_FACTS: Readonly<Record<Precision, PrecisionFacts>> = {
	"16a4w_block": integer(16, 4, true),
	"16a4w": integer(16, 4),
	"16a8w": integer(16, 8),
	"8a8w": integer(8, 8),
	"8a4w": integer(8, 4),
	"16a16w": integer(16, 16),
	fp16: { activationBits: undefined, weightBits: 16, isBlock: false, isFloat: true },
	keep: { activationBits: undefined, weightBits: undefined, isBlock: false, isFloat: false },
};
