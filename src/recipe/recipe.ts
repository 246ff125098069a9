import type { BlockScales, BlockSize, Granularity, Precision } from "./precision.js";
import type { Role } from "./role.js";

/** What a weight becomes. */
export interface Setting {
	readonly precision: Precision;
	/** For `16a4w_block`: weights of one scale along the axis that is summed over. */
	readonly blockSize: BlockSize;
	readonly blockScales: BlockScales;
	/** For the other integer precisions. */
	readonly granularity: Granularity;
}

/** What a unit must be for a rule to count; a condition that is left out holds always. Lists: any of them. */
export interface Match {
	/** Globs, or regular expressions between slashes, for the name of the operator, its weight and its scope. */
	readonly node?: readonly string[];
	readonly weight?: readonly string[];
	readonly scope?: readonly string[];
	/** Operator types: MatMul, Gemm, Conv, ConvTranspose, Gather. */
	readonly op?: readonly string[];
	readonly role?: readonly Role[];
	/** Layers, as {@link parseLayers} takes them: `0-3, last`. */
	readonly layers?: string;
	/** Lengths of the weight's dimensions: a number, `*`, or a bound such as `>=4096`. */
	readonly shape?: readonly (number | string)[];
}

export interface Rule {
	readonly match: Match;
	readonly setting: Setting;
	/** Higher ones win; among equals the later. 0 when left out. */
	readonly priority: number;
	readonly reason: string | undefined;
	/** Where it stands in its file, from 1; 0 for rules that no file holds. */
	readonly line: number;
}

/** Decides the precision of every unit of a model. */
export interface Recipe {
	readonly name: string;
	readonly description: string | undefined;
	readonly default: Setting;
	readonly rules: readonly Rule[];
}

/** What a precision means where nothing else is said. */
export function settingOf(precision: Precision, more: Partial<Omit<Setting, "precision">> = {}): Setting {
	return { precision, blockSize: 64, blockScales: "lpbq", granularity: "per-channel", ...more };
}
