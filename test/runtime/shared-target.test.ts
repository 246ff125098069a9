import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { readModel, writeModel } from "../../src/onnx/file.js";
import { allPasses, legalizingPasses } from "../../src/passes/index.js";
import { runPasses } from "../../src/run-passes.js";
import { compileForHtp } from "../../src/runtime/compile-for-htp.js";
import { verifyModels } from "../../src/runtime/verify-models.js";
import { checkModel } from "../../src/targets/check-model.js";
import { parseTarget } from "../../src/targets/target.js";
import { temporaryFolder } from "../repo/run.js";
import { HTP_HOME, prepareHtp } from "../support/htp.js";

/* Models of the folder beside the checkout, made legal as `convert --target` does it, on the HTP's compiler and emulator. */

const shared = (name: string) => fileURLToPath(new URL(`../../../shared/${name}`, import.meta.url));
const smartTurn = shared("corpus/real/smart-turn-bq32.onnx");
const resnet = shared("corpus/real/resnet50-conv-bq32.onnx");
const oracles = shared("oracles/htp");

const isHere = existsSync(oracles) && !("missing" in (await prepareHtp()));

/** What `convert --bq-to-lpbq --target` runs. */
const withLpbq = allPasses.filter((pass) => legalizingPasses.includes(pass) || pass.definition.name === "bq-to-lpbq");

async function legalized(file: string, target: string, passes = legalizingPasses): Promise<string> {
	const model = await readModel(file);
	await runPasses(
		model,
		passes.map((pass) => pass()),
		{ target: parseTarget(target) },
	);
	expect((await checkModel(model, parseTarget(target))).filter(({ consequence }) => consequence !== "slow")).toEqual(
		[],
	);
	const output = path.join(temporaryFolder(), "out.onnx");
	await writeModel(model, output);
	return output;
}

/** The lowest SQNR of `file` on the emulator against `reference` on the CPU. */
async function sqnrOnHtp(reference: string, file: string, target: string, seed = 0): Promise<number> {
	const options = { on: parseTarget(target), htpHome: HTP_HOME, seed };
	const { failure, worstSqnrDb } = await verifyModels(reference, file, options);
	expect(failure).toBeNull();
	return worstSqnrDb ?? Number.POSITIVE_INFINITY;
}

describe.skipIf(!isHere)("models of known fate, made legal", () => {
	const broken = isHere ? readdirSync(oracles).filter((name) => /^(BAD|CRASH)_/.test(name)) : [];

	test.each(broken)("%s is computed right", { timeout: 120_000 }, async (name) => {
		const file = path.join(oracles, name);
		const output = await legalized(file, "qnn-htp:v79");
		expect(await sqnrOnHtp(file, output, "qnn-htp:v79")).toBeGreaterThan(55);
	});
});

describe.skipIf(!isHere)("a speech transformer with int4 block-quantized weights", () => {
	test.each([
		["v68", withLpbq],
		["v73", legalizingPasses],
		["v75", legalizingPasses],
		["v79", legalizingPasses],
		["v81", legalizingPasses],
	] as const)("is one context on %s", { timeout: 120_000 }, async (architecture, passes) => {
		const target = `qnn-htp:${architecture}`;
		const output = await legalized(smartTurn, target, passes);
		const context = path.join(temporaryFolder(), "context.onnx");
		const result = await compileForHtp(output, context, parseTarget(target), { htpHome: HTP_HOME });
		expect(result).toMatchObject({ failure: null, notOnHtp: [], contexts: 1 });
		expect(existsSync(context)).toBe(true);
	});

	test("gives the input's outputs", { timeout: 400_000 }, async () => {
		const output = await legalized(smartTurn, "qnn-htp:v79");
		expect(await sqnrOnHtp(smartTurn, output, "qnn-htp:v79")).toBeGreaterThan(55);
	});
});

describe.skipIf(!isHere)("a ResNet-50 with int4 block-quantized convolutions", () => {
	test("is known to be wrong, for its biases and scales, before it is run", async () => {
		const findings = await checkModel(await readModel(resnet), parseTarget("qnn-htp:v81"));
		const wrong = findings.filter(({ consequence }) => consequence === "wrong").map(({ rule }) => rule);
		expect(wrong.filter((rule) => rule === "htp/bias-granularity")).toHaveLength(18);
		expect(findings.filter(({ rule }) => rule === "htp/block-conv-scales")).toHaveLength(18);
	});

	test("is computed right once it is legal", { timeout: 200_000 }, async () => {
		expect(await sqnrOnHtp(resnet, await legalized(resnet, "qnn-htp:v81"), "qnn-htp:v81")).toBeGreaterThan(40);
	});

	test("and as LPBQ, but for what the fit costs", { timeout: 200_000 }, async () => {
		const output = await legalized(resnet, "qnn-htp:v81", withLpbq);
		expect(await sqnrOnHtp(output, output, "qnn-htp:v81")).toBeGreaterThan(40);
		expect(await sqnrOnHtp(resnet, output, "qnn-htp:v81")).toBeGreaterThan(20);
	});
});
