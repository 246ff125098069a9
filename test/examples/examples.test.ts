import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { readModel, summarizeWeights, verifyModel } from "../../src/index.js";
import { demoModelFile, runBuilt } from "../repo/run.js";

function example(name: string, ...args: readonly string[]): Promise<string> {
	return runBuilt(`.cache/examples/${name}.js`, ...args);
}

describe("examples", () => {
	it("00-make-model makes a valid model, every time the same", async () => {
		const [file, again] = [await demoModelFile(), await demoModelFile()];
		expect(readFileSync(file).equals(readFileSync(again))).toBe(true);
		const model = await readModel(file);
		expect(verifyModel(model)).toEqual([]);
		expect(summarizeWeights(model).map(({ node, scheme, lpbq }) => [node, scheme, lpbq])).toEqual([
			["left_encoder", "block", "weight/converted"],
			["right_encoder", "block", "weight/converted"],
			["mixer", "block", "weight/converted"],
			["head", "float", "weight/float"],
		]);
	});

	it("01-convert says what became of each weight and writes the result", async () => {
		const input = await demoModelFile();
		const output = path.join(path.dirname(input), "converted.onnx");
		const lines = (await example("01-convert", input, output)).trim().split("\n");
		expect(lines.filter((line) => /^converted \w+ of \w+: \d+\.\d dB$/.test(line))).toHaveLength(3);
		expect(lines).toContain(
			"kept      head_weight of head: weight 'head_weight' is FLOAT, not quantized [weight/float]",
		);
		const schemes = summarizeWeights(await readModel(output)).map(({ node, scheme }) => `${node} ${scheme}`);
		expect(schemes).toEqual(["left_encoder lpbq", "right_encoder lpbq", "mixer lpbq", "head float"]);
	});

	it("02-custom-pass renames the weights whose names are free", async () => {
		const input = await demoModelFile();
		const output = path.join(path.dirname(input), "renamed.onnx");
		const printed = await example("02-custom-pass", input, output);
		expect(printed).toContain("prefix-weights { 'weights renamed': 6 }");
		expect(printed).toContain("remark pass/note: 'offset' is an input too, so that its name is not free");
		const model = await readModel(output);
		expect(verifyModel(model)).toEqual([]);
		const names = [...model.graph.initializers].map(({ name }) => name);
		expect(names).toEqual(expect.arrayContaining(["demo.encoder_weight", "demo.mixer_bias", "offset"]));
	});

	it("03-inspect-weights shows every weight and writes nothing", async () => {
		const input = await demoModelFile();
		const before = readFileSync(input);
		const printed = await example("03-inspect-weights", input);
		expect(printed).toContain("mixer: Gemm with INT4[128,256] 'mixer_weight'");
		expect(printed).toContain("block of 32 along axis 1, integer activations; LPBQ: weight/converted");
		expect(readFileSync(input).equals(before)).toBe(true);
	});

	it("names only files that exist in `npm run examples` and `npm run demo`", () => {
		const scripts: Record<string, string> = JSON.parse(readFileSync("package.json", "utf8")).scripts;
		const built = [...`${scripts.examples} ${scripts.demo}`.matchAll(/\.cache\/examples\/([\w-]+)\.js/g)];
		expect(built.length).toBeGreaterThan(4);
		expect(built.filter(([, name]) => !existsSync(`examples/${name}.ts`))).toEqual([]);
	});
});
