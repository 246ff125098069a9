import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { intAttribute } from "../../src/ir/attribute.js";
import { int64Tensor } from "../../src/ir/tensor.js";
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

/** The places of the largest numbers, INT64, as an output of `rank` axes. */
function placesModel(rank: number) {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, [6, 9]);
		b.initializer("shape", int64Tensor([rank], [...new Array<number>(rank - 1).fill(1), 6]));
		b.node("ArgMax", ["x"], ["places"], { axis: intAttribute(-1) }, "argmax");
		b.node("Reshape", ["places", "shape"], ["y"], {}, "reshape");
		b.output("y");
	});
}

describe.skipIf(python === "").each(["v68", "v73", "v79", "v81"])("integers of rank 5 on %s", (architecture) => {
	test.each([4, 5])("rank %i", { timeout: 60_000 }, async (rank) => {
		const [target, model] = [parseTarget(`qnn-htp:${architecture}`), placesModel(rank)];
		const findings = await checkModel(model, target);
		expect(findings.map(({ rule }) => rule)).toEqual(rank === 5 ? ["htp/integer-rank"] : []);
		const file = path.join(temporaryFolder(), "model.onnx");
		writeFileSync(file, serializeModel(model));
		const [report] = await checkManyOnHtp(python, [{ model: file, options: { ...providerOptions(model, target) } }]);
		expect(report!.status).toBe(rank === 5 ? "crashed" : "ok");
		if (rank === 4) expect(report!.outputs).toMatchObject([{ sqnrDb: null }]);
	});
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
