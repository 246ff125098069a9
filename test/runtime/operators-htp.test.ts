import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import type { Model } from "../../src/ir/model.js";
import { serializeModel } from "../../src/onnx/file.js";
import { legalizeOperators } from "../../src/passes/legalize-operators.js";
import { runPasses } from "../../src/run-passes.js";
import { isWithin } from "../../src/targets/capabilities.js";
import { checkModel } from "../../src/targets/check-model.js";
import { providerOptions } from "../../src/targets/provider-options.js";
import type { Rule } from "../../src/targets/rule.js";
import { HTP_RULES } from "../../src/targets/rules/index.js";
import { parseTarget, type Target } from "../../src/targets/target.js";
import { temporaryFolder } from "../repo/run.js";
import { checkManyOnHtp, checkOnHtp, prepareHtp } from "../support/htp.js";
import { operatorModel } from "./operator-models.js";
import { REMEDY_MODELS } from "./remedy-models.js";

/*
 * What legalize-operators has a remedy for: with the fault as the rule says, without it right, on the compiler and emulator.
 */

const TARGETS = ["v68", "v73", "v79", "v81"].map((name) => parseTarget(`qnn-htp:${name}`));
const ROWS = [5, 18];
/** For rules about a v69 alone. */
const V69 = parseTarget("qnn-htp:v69");

const setup = await prepareHtp();
const python = "python" in setup ? setup.python : "";

const rules = new Map<string, Rule>(HTP_RULES.flatMap((group) => group.rules).map((rule) => [rule.id, rule]));

/** Rules that have a model here. */
const REMEDIED = new Set(REMEDY_MODELS.map(({ rule }) => rule));

/** The rules that a model breaks, but for those that only cost time or precision and have no model here. */
async function rulesOf(model: Model, target: Target): Promise<string[]> {
	const findings = await checkModel(model, target);
	return findings
		.filter(({ consequence, rule }) => consequence !== "slow" || REMEDIED.has(rule))
		.map(({ rule }) => rule);
}

const faults = ({ architecture }: Target) =>
	REMEDY_MODELS.filter(
		({ rule, sinceV69, untilV68 }) =>
			isWithin(architecture, rules.get(rule)!.since, rules.get(rule)!.until) &&
			!(architecture === "v68" ? sinceV69 : untilV68),
	);

/** Rules whose models have activations of 8 bits, or a Softplus or Mish, which have hardly more. */
const EIGHT_BITS = [
	"htp/mish-lpbq",
	"htp/softplus-size",
	"htp/float-sum-8-bits",
	"htp/pad-signed",
	"htp/channel-activation",
	"htp/bias-activations",
	"htp/product-types",
	"htp/product-square",
	"htp/softmax-zero-point",
	"htp/softmax-8-bits",
	"htp/operator-wrong",
	"htp/norm-scale-type",
	"htp/layer-norm-parameters",
	"htp/instance-norm-parameters",
];

/** How many models of a rule are run with the fault, each in a session of its own; all with QGRAPH_ALL_FAULTS=1. */
const FAULTS_OF_A_RULE = 2;

/** The compiler does not come to an end with the fault of the one, and only larger models show that of the other. */
const NOT_RUN = ["htp/channel-scalar", "htp/instance-norm-rank"];

describe.skipIf(python === "")("operators on the HTP", () => {
	const cases = TARGETS.flatMap((target) => ROWS.map((rows) => [target.architecture, rows, target] as const));

	test.each([...cases, ["v69", ROWS[0]!, V69] as const])(
		"%s, %i rows: right without the fault",
		{ timeout: 120_000 },
		async (_name, rows, target) => {
			const given = faults(target).filter(({ rule }) => target !== V69 || rules.get(rule)!.until === "v69");
			const model = operatorModel(given, rows);
			expect((await rulesOf(model, target)).toSorted()).toEqual(
				given.flatMap(({ rule, count = 1 }) => new Array<string>(count).fill(rule)).toSorted(),
			);
			await runPasses(model, [legalizeOperators()], { target });
			expect(await rulesOf(model, target)).toEqual([]);
			const file = path.join(temporaryFolder(), "model.onnx");
			writeFileSync(file, serializeModel(model));
			const report = await checkOnHtp(python, { model: file, options: { ...providerOptions(model, target) } });
			expect(report).toMatchObject({ status: "ok", error: null, unsupported: [] });
			for (const [index, { rule, name }] of given.entries()) {
				const decibels = report.outputs[index]!.sqnrDb ?? Number.POSITIVE_INFINITY;
				expect(decibels, name).toBeGreaterThan(EIGHT_BITS.includes(rule) ? 30 : 40);
			}
		},
	);

	test("with the fault they are what the rule says", { timeout: 300_000 }, async () => {
		const target = parseTarget("qnn-htp:v73");
		const onlyV69 = faults(V69).filter(({ rule }) => rules.get(rule)!.until === "v69");
		const folder = temporaryFolder();
		const all = faults(target).filter(({ rule }) => !NOT_RUN.includes(rule));
		const runsAll = process.env.QGRAPH_ALL_FAULTS === "1";
		const models = all.filter(
			(one) => runsAll || all.filter(({ rule }) => rule === one.rule).indexOf(one) < FAULTS_OF_A_RULE,
		);
		models.push(...onlyV69);
		const jobs = models.map((given, index) => {
			const model = operatorModel([given], ROWS[0]!);
			const file = path.join(folder, `${index}.onnx`);
			writeFileSync(file, serializeModel(model));
			return { model: file, options: { ...providerOptions(model, onlyV69.includes(given) ? V69 : target) } };
		});
		for (const [index, report] of (await checkManyOnHtp(python, jobs)).entries()) {
			const { rule, name } = models[index]!;
			if (["wrong", "slow"].includes(rules.get(rule)!.consequence)) {
				expect(report.status, name).toBe("ok");
				expect(report.outputs[0]!.sqnrDb, name).toBeLessThan(35);
			} else expect(report.status, name).not.toBe("ok");
		}
	});
});
