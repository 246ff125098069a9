import type { NumpyArray } from "../arrays/npz.js";
import type { Model } from "../ir/model.js";
import { serializeModel } from "../onnx/file.js";
import { LiveSession } from "./live-session.js";

/**
 * What a model without inputs computes, on the CPU, by the names of its outputs; undefined where ONNX Runtime is not installed
 * or does not run it: whoever runs the whole model says why.
 */
export async function runWithoutInputs(model: Model): Promise<ReadonlyMap<string, NumpyArray> | undefined> {
	try {
		const session = await LiveSession.open(await serializeModel(model));
		try {
			return await session.run(new Map());
		} finally {
			await session.close();
		}
	} catch {
		return undefined;
	}
}
