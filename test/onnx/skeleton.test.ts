import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { bytesOf } from "../../src/ir/tensor.js";
import { readModel, serializeSkeleton, writeModel } from "../../src/onnx/file.js";
import { floatsOf, LiveSession } from "../../src/runtime/live-session.js";
import { HIDDEN, plantedDecoder, SEQUENCE } from "../sensitivity/planted-decoder.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-in-place-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** What the model makes of some numbers. */
async function outputs(session: LiveSession): Promise<Float32Array[]> {
	const elements = Float32Array.from({ length: SEQUENCE * HIDDEN }, (_, index) => Math.sin(index));
	const x = { type: "float32" as const, shape: [1, SEQUENCE, HIDDEN], bytes: bytesOf(elements) };
	const found = await session.run(new Map([["x", x]]));
	await session.close();
	return [...found.values()].map((array) => floatsOf(array).slice());
}

for (const externalData of ["inline", "one-file"] as const) {
	test(`a model with weights ${externalData} runs with its weights where they are`, async () => {
		const file = path.join(folder, externalData, "model.onnx");
		mkdirSync(path.dirname(file));
		await writeModel(plantedDecoder(2), file, { externalData });
		const model = await readModel(file);
		const { bytes, dataFolder } = serializeSkeleton(model);
		expect(bytes.byteLength > 100_000).toBe(externalData === "inline");
		const found = await outputs(await LiveSession.open(bytes, { dataFolder, prepacks: false }));
		expect(found).toEqual(await outputs(await LiveSession.open(file)));
	});
}
