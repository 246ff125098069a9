import type { PublishedConfig, Tolerance } from "./kernel.js";
import type { RoundingMode } from "./rounding.js";
import type { TensorType } from "./tensor-spec.js";

/** What the configs of a table have in common. */
export interface TableDefaults {
	readonly activation: TensorType;
	readonly rounding: RoundingMode;
	readonly tolerance: Tolerance;
	readonly bias?: boolean;
	readonly performance?: boolean;
}

/** Configs from rows of M, K, N and the group size; without the last there is one group. */
export function table(
	defaults: TableDefaults,
	...rows: readonly (readonly [rows: number, depth: number, channels: number, groupSize?: number])[]
): PublishedConfig[] {
	return rows.map(([rows, depth, channels, groupSize = depth]) => ({
		rows,
		depth,
		channels,
		groupSize,
		bias: false,
		performance: false,
		...defaults,
	}));
}

/** |actual - expected| <= limit * (1 + |expected|), torch's allclose(rtol, atol). */
export function allclose(limit: number): Tolerance {
	return { absolute: limit, relative: limit, combine: "sum" };
}

/** What ET-VK's operator tests allow float32 where they name nothing else. */
export const VULKAN_FLOAT32: Tolerance = { absolute: 2e-3, relative: 1e-3, combine: "either" };
