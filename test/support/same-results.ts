import { Tensor } from "onnxruntime-node";
import { expect } from "vitest";
import type { Model } from "../../src/ir/model.js";
import { DataType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import type { Pass } from "../../src/passes/infra/pass.js";
import type { PipelineReport } from "../../src/passes/infra/report.js";
import { runPasses } from "../../src/run-passes.js";
import { normals } from "../runtime/models.js";
import { floatFeed, floatsOf, run, sqnrDb } from "./ort.js";

/** Random values for the inputs of a model, FLOAT or UINT8, all of which must have fixed shapes. */
export function randomFeeds(model: Model, seed = 7) {
	return Object.fromEntries(
		model.graph.inputs
			.filter(({ initializer }) => initializer === undefined)
			.map(({ name, type }, index) => {
				if (type?.kind !== "tensor") throw new Error(`'${name}' is no tensor`);
				const shape = type.shape!.map(Number);
				const count = shape.reduce((product, dim) => product * dim, 1);
				const values = normals(count, seed + index);
				if (type.elementType === DataType.UINT8) return [name, byteFeed(shape, values)];
				if (type.elementType === DataType.FLOAT) return [name, floatFeed(shape, values)];
				throw new Error(`'${name}' is neither FLOAT nor UINT8`);
			}),
	);
}

function byteFeed(shape: readonly number[], values: Float32Array): Tensor {
	return new Tensor(
		"uint8",
		Uint8Array.from(values, (value) => Math.max(0, Math.min(255, 128 + 32 * value))),
		shape,
	);
}

/** Runs `passes` over `model` and expects every output of ONNX Runtime to stay as close as `leastDb` says. */
export async function expectSameResults(
	model: Model,
	passes: readonly Pass[],
	leastDb: number,
): Promise<PipelineReport> {
	const feeds = randomFeeds(model);
	const before = await run(serializeModel(model), feeds);
	const report = await runPasses(model, passes);
	const after = await run(serializeModel(model), feeds);
	expect(Object.keys(after)).toEqual(Object.keys(before));
	for (const [name, tensor] of Object.entries(before)) {
		expect(after[name]!.dims).toEqual(tensor.dims);
		expect(sqnrDb(floatsOf(tensor), floatsOf(after[name])), `output '${name}'`).toBeGreaterThan(leastDb);
	}
	return report;
}
