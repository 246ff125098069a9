import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { DataType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { checkModel } from "../../src/targets/check-model.js";
import { providerOptions } from "../../src/targets/provider-options.js";
import { HTP_RULES } from "../../src/targets/rules/index.js";
import { parseTarget } from "../../src/targets/target.js";
import { temporaryFolder } from "../repo/run.js";
import { modelOf } from "../support/build.js";
import { checkManyOnHtp, prepareHtp } from "../support/htp.js";
import { FORM_MODELS, formModel } from "./form-models.js";

/* Rules on forms of operators: what they are broken by, and that the compiler and emulator do what they say. */

const setup = await prepareHtp();
const python = "python" in setup ? setup.python : "";
const consequences = new Map<string, string>(
	HTP_RULES.flatMap(({ rules }) => rules.map(({ id, consequence }) => [id, consequence] as const)),
);

const named = FORM_MODELS.map((given, index) => {
	const form = given.isQuantized === true ? "of codes" : "of floats";
	return [`${index}: ${given.op} ${form}, ${given.rule ?? "right"}`, given] as const;
});

test.each(named)("%s", async (_name, given) => {
	const findings = await checkModel(formModel(given), parseTarget("qnn-htp:v79"));
	expect(findings.map(({ rule }) => rule)).toEqual(given.rule === undefined ? [] : [given.rule]);
});

test("a computed shape, and one that follows from a fixed one", async () => {
	const model = modelOf((b) => {
		b.input("x", DataType.FLOAT, [2, 3]);
		b.input("shape", DataType.INT64, [2]);
		b.node("Reshape", ["x", "shape"], ["y"], {}, "computed");
		b.node("Shape", ["x"], ["same"], {}, "shape_of");
		b.node("Reshape", ["x", "same"], ["z"], {}, "known");
		b.output("y");
		b.output("z");
	});
	const findings = await checkModel(model, parseTarget("qnn-htp:v79"));
	expect(findings.map(({ rule, node }) => [rule, node])).toEqual([["htp/computed-parameter", "computed"]]);
});

describe.skipIf(python === "").each(["v73", "v81"])("on %s", (architecture) => {
	test("they are as the rules say", { timeout: 120_000 }, async () => {
		const target = parseTarget(`qnn-htp:${architecture}`);
		const folder = temporaryFolder();
		const jobs = named.map(([, given], index) => {
			const model = formModel(given);
			const file = path.join(folder, `${index}.onnx`);
			writeFileSync(file, serializeModel(model));
			return { model: file, options: { ...providerOptions(model, target) } };
		});
		for (const [index, { status, outputs }] of (await checkManyOnHtp(python, jobs)).entries()) {
			const [name, { rule }] = named[index]!;
			const consequence = rule === undefined ? "right" : consequences.get(rule);
			if (consequence === "refused") expect(status, name).not.toBe("ok");
			else expect(status, name).toBe("ok");
			const decibels = outputs[0]?.sqnrDb ?? Number.POSITIVE_INFINITY;
			if (consequence === "right") expect(decibels, name).toBeGreaterThan(40);
			if (consequence === "wrong") expect(decibels, name).toBeLessThan(35);
		}
	});
});
