import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, expect, test } from "vitest";
import { writeModel } from "../../src/onnx/file.js";
import { repoFile } from "../repo/repo.js";
import { type LinearSpec, linearModel } from "../runtime/models.js";
import { qgraph } from "./run.js";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-check-"));
const validate = new Ajv2020({ allErrors: true }).compile(
	JSON.parse(readFileSync(repoFile("docs/check.schema.json"), "utf8")),
);
afterAll(() => rmSync(folder, { recursive: true }));

async function reportOn(spec: LinearSpec, target: string) {
	const file = path.join(folder, "model.onnx");
	await writeModel(linearModel(spec), file, { overwrite: true });
	const { code, out } = await qgraph(folder, "check", "--json", "--target", target, file);
	const report = JSON.parse(out);
	expect(validate(report) ? [] : validate.errors).toEqual([]);
	return { code, report };
}

const gemm: LinearSpec = { op: "Gemm", depth: 64, channels: 8, blockSize: 32, rows: 4, activations: "integer" };

test("a model that the target refuses: exit code 1", async () => {
	const { code, report } = await reportOn({ ...gemm, bias: true }, "qnn-htp:v79");
	expect([code, report.legal]).toEqual([1, false]);
	expect(report.findings).toContainEqual(
		expect.objectContaining({ rule: "htp/block-gemm-bias", consequence: "refused", node: "y_op", weight: "W" }),
	);
});

test("a model that is only slower than it could be: exit code 0", async () => {
	const { code, report } = await reportOn(gemm, "qnn-htp:SM8750");
	expect([code, report.legal]).toEqual([0, true]);
	expect(report.findings.map(({ rule }: { rule: string }) => rule)).toEqual(["htp/block-fp16"]);
	expect(report.providerOptions).toMatchObject({ soc_model: "69", htp_arch: "79" });
});
