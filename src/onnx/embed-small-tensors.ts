import type { Model } from "../ir/model.js";
import { tensor } from "../ir/tensor.js";
import { allGraphs } from "../ir/walk.js";
import { MissingData } from "./external-data.js";
import { MIN_EXTERNAL_BYTES } from "./limits.js";
import { isStoredExternally } from "./tensor-codec.js";

/**
 * Moves initializers below 1 KiB out of data files into the model: ONNX Runtime looks into no data file while it infers
 * shapes, and refuses models whose shapes, axes or scales are there. Returns whether there were any.
 */
export function embedSmallTensors(model: Model): boolean {
	let changed = false;
	for (const { graph } of allGraphs(model)) {
		for (const value of graph.initializers) {
			const stored = value.initializer!;
			const { dtype, shape, data } = stored;
			if (!isStoredExternally(stored) || data instanceof MissingData || data.byteLength >= MIN_EXTERNAL_BYTES) continue;
			value.initializer = tensor(dtype, shape, data.read(0, data.byteLength));
			changed = true;
		}
	}
	return changed;
}
