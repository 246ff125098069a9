import { HTP_ARCHITECTURES, type HtpArchitecture } from "./target.js";

/** What one generation of the HTP can do. SQNR is that of a MatMul between uint16 activations, against ONNX Runtime's CPU. */
export interface HtpCapabilities {
	/** Weights of float block scales as they are, computed in fp16. */
	readonly blockWeights: boolean;
	/** SQNR of LPBQ, in dB. */
	readonly lpbqDb: number;
	/** SQNR of raw block weights, in dB; undefined where they are refused. */
	readonly blockDb: number | undefined;
	/** Float operators, computed in fp16. */
	readonly floatOperators: boolean;
	/** Products of UINT16 by INT16 activations; before, those of 16 by 16 bits are refused or inexact. */
	readonly wideProducts: boolean;
	/** Graphs of one context share their weights. */
	readonly sharedWeights: boolean;
}

export const HTP_CAPABILITIES: Readonly<Record<HtpArchitecture, HtpCapabilities>> = {
	v68: {
		blockWeights: false,
		lpbqDb: 55,
		blockDb: undefined,
		floatOperators: false,
		wideProducts: false,
		sharedWeights: false,
	},
	v69: { blockWeights: true, lpbqDb: 55, blockDb: 68, floatOperators: true, wideProducts: false, sharedWeights: false },
	v73: { blockWeights: true, lpbqDb: 77, blockDb: 68, floatOperators: true, wideProducts: true, sharedWeights: true },
	v75: { blockWeights: true, lpbqDb: 77, blockDb: 68, floatOperators: true, wideProducts: true, sharedWeights: true },
	v79: { blockWeights: true, lpbqDb: 77, blockDb: 68, floatOperators: true, wideProducts: true, sharedWeights: true },
	v81: { blockWeights: true, lpbqDb: 77, blockDb: 68, floatOperators: true, wideProducts: true, sharedWeights: true },
};

/** Is `architecture` between `since` and `until`, both included? */
export function isWithin(architecture: HtpArchitecture, since?: HtpArchitecture, until?: HtpArchitecture): boolean {
	const at = HTP_ARCHITECTURES.indexOf(architecture);
	return (
		(since === undefined || at >= HTP_ARCHITECTURES.indexOf(since)) &&
		(until === undefined || at <= HTP_ARCHITECTURES.indexOf(until))
	);
}

/** Largest integer block scale: times the most negative code, -8, it still fits eight bits. */
export const LARGEST_BLOCK_SCALE = 16;
