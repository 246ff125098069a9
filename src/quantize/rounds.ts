import { mkdtemp } from "node:fs/promises";
import path from "node:path";
import type { SampleSource } from "../calibration/calibration.js";
import { RoundObserver } from "../calibration/rounds/round-observer.js";
import { asksForBits } from "./statistics.js";

export interface RoundsOptions {
	readonly recipe: string;
	/** Default true. */
	readonly gptq?: boolean | undefined;
	/** Let weights of 4 bits make good what those before them got wrong; default true. */
	readonly compensate?: boolean | undefined;
	readonly signal?: AbortSignal | undefined;
	/** Called when samples were run in some of all rounds. */
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Are inputs of weights of 4 bits looked at layer by layer, while weights before them are codes already? */
export function hasRounds({ recipe, gptq = true, compensate = true }: RoundsOptions): boolean {
	return gptq && compensate && asksForBits(recipe, [4]);
}

/** What looks at them, for the passes that quantize; to be closed behind these. Undefined where there is nothing to look at. */
export async function openRounds(
	samples: SampleSource,
	folder: string,
	options: RoundsOptions,
): Promise<RoundObserver | undefined> {
	if (!hasRounds(options)) return undefined;
	const { signal, onProgress } = options;
	return new RoundObserver(samples, await mkdtemp(path.join(folder, "rounds-")), { signal, onProgress });
}
