import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { DynamicDecoder } from "../../src/llm/dynamic-decoder.js";
import { readGenaiConfig } from "../../src/llm/genai-config.js";
import { writeModel } from "../../src/onnx/file.js";
import { Random } from "../../src/quant/random.js";
import { SIZES, writeGenaiDirectory } from "./genai-directory.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-decoder-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const random = new Random("decoder");
const promptOf = (length: number) =>
	Array.from({ length }, () => 3 + Math.floor(random.uniform() * (SIZES.vocabulary - 3)));

describe("a decoder that goes on with several prompts", () => {
	test.each([
		["a Llama", {}, "inline"],
		["weights in a data file", { separate: true, qkNorm: true }, "one-file"],
		[
			"a window, and positions as an input",
			{ rotary: "outside", attention: [{ local_window_size: intAttribute(6) }] },
			"one-file",
		],
		["int4, and the last token picked by the model", { int4: true, prunesHead: true }, "one-file"],
	] as const)("%s: several prompts at a time give what each gives alone", async (name, options, externalData) => {
		const place = path.join(folder, name);
		const model = writeGenaiDirectory(place, options);
		await writeModel(model, path.join(place, "model.onnx"), { externalData });
		const decoder = await DynamicDecoder.open(readGenaiConfig(place));
		try {
			const prompts = [5, 12, 12, 1, 30].map(promptOf);
			// one is as long as it is to be already
			const lengthOf = ({ length }: readonly number[]) => (length === 30 ? 30 : Math.min(length + 20, 29));
			const together = await decoder.continue(prompts, lengthOf);
			const alone = [];
			for (const prompt of prompts) alone.push(...(await decoder.continue([prompt], lengthOf)));
			expect(together).toEqual(alone);
			expect(together[4]).toEqual(prompts[4]);
			expect(together.flat().length).toBeGreaterThan(prompts.flat().length);
			const inParts = await DynamicDecoder.open(readGenaiConfig(place), { wholeBytes: 0, partBytes: 2 ** 15 });
			expect(await inParts.continue(prompts, lengthOf)).toEqual(together);
			await inParts.close();
		} finally {
			await decoder.close();
		}
	});

	test("keeps whole caches where the model keeps those of windows, inline or not", async () => {
		const continued = [];
		for (const [name, windowed, externalData] of [
			["whole", 0, "inline"],
			["windowed", 1, "inline"],
			["windowed, weights beside", 1, "one-file"],
		] as const) {
			const place = path.join(folder, name);
			const window = { local_window_size: intAttribute(6), sliding_window_cache: intAttribute(windowed) };
			const model = writeGenaiDirectory(place, { attention: [window, {}] });
			await writeModel(model, path.join(place, "model.onnx"), { externalData });
			const decoder = await DynamicDecoder.open(readGenaiConfig(place));
			const prompts = [5, 12].map((length) => Array.from({ length }, (_, index) => 3 + ((7 * index) % 40)));
			continued.push(await decoder.continue(prompts, () => 30));
			await decoder.close();
		}
		expect(continued[1]).toEqual(continued[0]);
		expect(continued[2]).toEqual(continued[0]);
	});
});
