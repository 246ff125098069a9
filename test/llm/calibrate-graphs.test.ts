import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { OBSERVERS } from "../../src/calibration/calibration-encodings.js";
import { readEncodings } from "../../src/encodings/read-encodings.js";
import { calibrateGraphs } from "../../src/llm/calibrate-graphs.js";
import { readJob } from "../../src/llm/llm-job.js";
import { cutLayers } from "../../src/llm/sequence-stages.js";
import { splitModel } from "../../src/llm/split-model.js";
import { readModel } from "../../src/onnx/file.js";
import { SIZES, writeGenaiDirectory } from "./genai-directory.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-calibrate-graphs-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const folderOf = (name: string) => {
	mkdirSync(path.join(folder, name));
	return path.join(folder, name);
};

test("layers that are calibrated one after the other show what all of them show at once", async () => {
	writeGenaiDirectory(path.join(folder, "model"), { separate: true, qkNorm: true });
	const job = await readJob(path.join(folder, "model"), { context: 32, prefill: 8 });
	const float = folderOf("float");
	await splitModel(job, float);
	const files = { layers: path.join(float, "prefill.onnx"), head: path.join(float, "lm_head.onnx") };
	const sequences = [
		[3, 9, 4, 30, 11, 5],
		[7, 8, 2, 40],
	];
	expect((await cutLayers(() => readModel(files.layers), SIZES.layers, 1)).parts).toHaveLength(SIZES.layers);
	const [whole, parts] = [folderOf("whole"), folderOf("parts")];
	const options = { recipe: "16a8w", gptq: true } as const;
	const expected = await calibrateGraphs(job, files, sequences, whole, options);
	const found = await calibrateGraphs(job, files, sequences, parts, { ...options, partBytes: 1 });

	expect([...found.ranges.keys()].sort()).toEqual([...expected.ranges.keys()].sort());
	for (const [name, { lo, hi }] of expected.ranges) {
		expect(found.ranges.get(name)!.lo, name).toBeCloseTo(lo, 5);
		expect(found.ranges.get(name)!.hi, name).toBeCloseTo(hi, 5);
	}
	// texts that nobody has seen go further
	const hidden = readEncodings(found.layers.encodings).entries.find(({ name }) => name === "hidden_states")!;
	const { lo, hi } = expected.ranges.get("hidden_states")!;
	const scale = hidden.kind === "affine" ? hidden.scales.values[0]! : 0;
	const room = [lo, hi].map((end) => 0.25 * Math.max(Math.abs(end), (hi - lo) / 2));
	expect((scale * 65_535) / (hi - lo + room[0]! + room[1]!)).toBeCloseTo(1, 4);
	expect(found.masked).toBeCloseTo(expected.masked, 5);
	expect(found.layers.samples).toBe(sequences.length);
	expect(readdirSync(found.layers.hessian)).toEqual(readdirSync(expected.layers.hessian));
	// what went from part to part is gone, but for what the head reads
	const left = readdirSync(path.join(parts, "sequences"));
	expect(left.sort()).toEqual(readdirSync(path.join(whole, "sequences")).sort());
});

test.each(OBSERVERS)("whatever an observer cuts off, %s leaves what is known as it is", async (observer) => {
	const [model, float] = [path.join(folder, `model ${observer}`), folderOf(`float ${observer}`)];
	writeGenaiDirectory(model);
	const job = await readJob(model, { context: 32, prefill: 8 });
	await splitModel(job, float);
	const files = { layers: path.join(float, "prefill.onnx"), head: path.join(float, "lm_head.onnx") };
	const scratch = folderOf(`calibrated ${observer}`);
	const { layers, masked } = await calibrateGraphs(job, files, [[3, 9, 4, 30]], scratch, { recipe: "16a8w", observer });
	const mask = readEncodings(layers.encodings).entries.find(({ name }) => name === "attn_bias")!;
	expect(mask.kind === "affine" && -mask.scales.values[0]! * 65_535).toBeCloseTo(masked, 3);
});
