import { readFileSync } from "node:fs";
import path from "node:path";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { repoFile } from "./repo.js";
import { demoModelFile, runBuilt } from "./run.js";

const schema = JSON.parse(readFileSync(repoFile("docs/report.schema.json"), "utf8"));
const page = readFileSync(repoFile("docs/report.md"), "utf8");
const validate = new Ajv2020({ allErrors: true, allowUnionTypes: true }).compile(schema);

function problems(report: unknown, check: ValidateFunction = validate): unknown {
	return check(report) ? [] : check.errors;
}

function convert(input: string, ...flags: readonly string[]): Promise<string> {
	const output = path.join(path.dirname(input), "converted.onnx");
	return runBuilt("dist/bundle/main.js", "convert", "--bq-to-lpbq", ...flags, input, output);
}

describe("docs/report.schema.json", () => {
	it.each([["max"], ["search"]])("describes what `convert --json` prints with fit %s", async (fit) => {
		const input = await demoModelFile();
		const text = await convert(
			input,
			"--bq-to-lpbq-fit",
			fit,
			"--annotate-block-quant",
			"--save-annotations",
			"--json",
		);
		const report = JSON.parse(text);
		expect(problems(report)).toEqual([]);
		expect(report.weights.map(({ status }: { status: string }) => status).sort()).toEqual([
			"converted",
			"converted",
			"converted",
			"kept",
		]);
	});

	it("describes what `convert --report` writes for a float reference and a dry run", async () => {
		const input = await demoModelFile();
		const file = path.join(path.dirname(input), "report.json");
		await convert(input, "--dry-run", "--float-weights", input, "--report", file);
		const report = JSON.parse(readFileSync(file, "utf8"));
		expect(problems(report)).toEqual([]);
		expect(report.written).toBe(false);
		expect(report.diagnostics.map(({ code }: { code: string }) => code)).toContain("lpbq/no-float-weight");
	});

	it("describes the example of docs/report.md", () => {
		const example = /```json\n([\s\S]*?)```/.exec(page)?.[1];
		expect(problems(JSON.parse(example ?? ""))).toEqual([]);
	});

	it("refuses other fields, and a converted weight without a figure", async () => {
		const report = JSON.parse(await convert(await demoModelFile(), "--json"));
		expect(validate({ ...report, extra: 1 })).toBe(false);
		const [first] = report.weights.filter(({ status }: { status: string }) => status === "converted");
		const { sqnrDb: _, ...incomplete } = first;
		expect(validate({ ...report, weights: [incomplete] })).toBe(false);
	});

	it("has every field that docs/report.md explains, and none more", () => {
		const fieldsOf = (definition: { properties: object }) => Object.keys(definition.properties);
		const { modelSummary, pass, weight, diagnostic, finding } = schema.$defs;
		const documented = [...page.matchAll(/^\| ((?:`\w+`(?:, )?)+) \|/gm)].flatMap(([, cell]) =>
			[...cell!.matchAll(/\w+/g)].map(String),
		);
		const described = [schema, modelSummary, pass, weight, diagnostic, finding].flatMap(fieldsOf);
		expect(documented.sort()).toEqual(described.sort());
	});
});
