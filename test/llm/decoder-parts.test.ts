import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { DecoderParts } from "../../src/llm/decoder-parts.js";
import { readModel, writeModel } from "../../src/onnx/file.js";
import { inputsOf } from "../../src/runtime/model-inputs.js";
import { randomArray } from "../../src/runtime/random-inputs.js";
import { SIZES, writeGenaiDirectory } from "./genai-directory.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-parts-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Sequences, new tokens of each, past ones, and both: attention takes several sequences behind a past one token at a time. */
const LENGTHS: Readonly<Record<string, number>> = { batch: 3, sequence: 1, past: 5, total: 6 };

test.each(["inline", "one-file"] as const)(
	"a model with weights %s that runs part by part gives the same, and lets go of what nothing reads any more",
	async (externalData) => {
		const file = path.join(folder, "model.onnx");
		await writeModel(writeGenaiDirectory(folder, { separate: true }), file, { externalData });
		const load = () => readModel(file);
		const inputs = inputsOf(await load());
		const values = () =>
			new Map(
				inputs.map((input) => {
					const shape = input.shape!.map((length) => (typeof length === "number" ? length : LENGTHS[length!]!));
					return [input.name, randomArray(input, shape, 1, 0)] as const;
				}),
			);
		const found = [];
		const counts = [];
		for (const wholeBytes of [undefined, 0]) {
			const parts = await DecoderParts.open(load, { wholeBytes, partBytes: 2 ** 14 });
			const given = values();
			found.push(await parts.run(given));
			expect(given.size).toBe(0);
			counts.push(parts.count);
			await parts.close();
		}
		expect(counts[0]).toBe(1);
		expect(counts[1]).toBeGreaterThan(SIZES.layers);
		const outputs = [...found[0]!.keys()];
		expect(outputs).toContain("logits");
		for (const name of outputs) expect(found[1]!.get(name), name).toEqual(found[0]!.get(name));
	},
);
