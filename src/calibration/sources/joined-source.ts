import type { SampleSource } from "../calibration.js";

/** One source after the other. */
export function joinedSource(sources: readonly SampleSource[]): SampleSource {
	return {
		name: sources.map(({ name }) => name).join(" "),
		count: sources.reduce((sum, { count }) => sum + count, 0),
		isRandom: sources.some(({ isRandom }) => isRandom),
		remarks: sources.flatMap(({ remarks = [] }) => remarks),
		async *samples(first) {
			let skip = first;
			for (const source of sources) {
				const { count: own } = source;
				if (own > skip) yield* source.samples(skip);
				skip = Math.max(0, skip - own);
			}
		},
	};
}
