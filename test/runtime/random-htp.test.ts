import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { writeNpz } from "../../src/arrays/npz.js";
import type { Model } from "../../src/ir/model.js";
import { bytesOf } from "../../src/ir/tensor.js";
import { serializeModel } from "../../src/onnx/file.js";
import { legalizingPasses } from "../../src/passes/index.js";
import { PipelineError } from "../../src/passes/infra/pipeline.js";
import { runPasses } from "../../src/run-passes.js";
import { checkModel } from "../../src/targets/check-model.js";
import { providerOptions } from "../../src/targets/provider-options.js";
import { parseTarget, type Target } from "../../src/targets/target.js";
import { temporaryFolder } from "../repo/run.js";
import { checkManyOnHtp, type HtpJob, type HtpReport, prepareHtp } from "../support/htp.js";
import { type RandomModel, randomModel } from "./random-models.js";
import { wideModel } from "./wide-models.js";

/*
 * What `check` passes, the emulator computes right: models that nobody thought of, as they are and after what
 * `convert --bq-to-lpbq --target` runs. For longer hunts:
 *
 *   QGRAPH_RANDOM_SEED=1000 QGRAPH_RANDOM_MODELS=500 npx vitest run test/runtime/random-htp.test.ts
 *
 * Seeds below a million are models of one to three linear operators (random-models.ts), those from there on such of many
 * layers, as networks have them (wide-models.ts).
 *
 * With QGRAPH_RANDOM_ALARMS=1 what `check` finds fault with is run too, and what is right nevertheless is printed.
 */

const { QGRAPH_RANDOM_SEED, QGRAPH_RANDOM_MODELS = "24", QGRAPH_RANDOM_ALARMS, QGRAPH_RANDOM_TARGETS } = process.env;
const FIRST_WIDE = 1_000_000;

function seedsFrom(first: number, count: number): number[] {
	return Array.from({ length: count }, (_, index) => first + index);
}

const seeds =
	QGRAPH_RANDOM_SEED === undefined
		? [...seedsFrom(1, 20), ...seedsFrom(FIRST_WIDE + 200, 6)]
		: seedsFrom(Number(QGRAPH_RANDOM_SEED), Number(QGRAPH_RANDOM_MODELS));
const targets = (QGRAPH_RANDOM_TARGETS ?? "v68,v73,v79,v81").split(",").map((name) => parseTarget(`qnn-htp:${name}`));
const withAlarms = QGRAPH_RANDOM_ALARMS === "1";

/**
 * A v68 has 54 dB where a result fills the range of its codes, and 6 dB less for each time that the range is twice as large
 * (36 dB with 8 times, 18 dB with 64). One that is only bounded, with a remark, is 10 to 64 times as large.
 */
const BOUNDED_DB = 18;

const setup = await prepareHtp();
const python = "python" in setup ? setup.python : "";

interface Case {
	readonly seed: number;
	readonly random: RandomModel;
	readonly form: "as it is" | "converted";
	/** Rules that are broken, those about speed aside. */
	readonly rules: readonly string[];
	readonly leastDb: number;
	readonly job: HtpJob;
}

/** What is left, at least, where a weight of 8 bits has products of two output steps, and a v68 rounds. */
const COARSE_DB = 20;

/** A v68 rounds results less exactly. */
function leastDb({ leastDb: least, isEightBits }: RandomModel, { architecture }: Target, isBounded: boolean): number {
	if (architecture !== "v68") return least;
	return Math.min(isEightBits ? least - 3 : least, isBounded ? BOUNDED_DB : least);
}

async function caseOf(
	seed: number,
	random: RandomModel,
	model: Model,
	target: Target,
	form: Case["form"],
	folder: string,
	isBounded = false,
): Promise<Case> {
	const findings = await checkModel(model, target);
	const file = path.join(folder, `${seed}-${target.architecture}-${form === "converted" ? "converted" : "input"}.onnx`);
	writeFileSync(file, serializeModel(model));
	const inputs = file.replace(".onnx", ".npz");
	const arrays = random.inputs.map(
		({ name, shape, values }) => [name, { type: "float32", shape, bytes: bytesOf(values) }] as const,
	);
	writeNpz(inputs, new Map(arrays));
	const isCoarse = findings.some(({ rule }) => rule === "htp/channel-scale-coarse");
	const rules = new Set(findings.filter(({ consequence }) => consequence !== "slow").map(({ rule }) => rule));
	return {
		seed,
		random,
		form,
		rules: [...rules],
		leastDb: Math.min(leastDb(random, target, isBounded), isCoarse ? COARSE_DB : Number.POSITIVE_INFINITY),
		job: { model: file, inputs, options: { ...providerOptions(model, target) } },
	};
}

/** Models that are refused before anything is written have no case. */
async function casesOf(seed: number, target: Target, folder: string): Promise<Case[]> {
	const random = await (seed < FIRST_WIDE ? randomModel(seed) : wideModel(seed));
	const cases = [await caseOf(seed, random, random.build(), target, "as it is", folder)];
	const model = random.build();
	try {
		const { diagnostics } = await runPasses(
			model,
			legalizingPasses.map((pass) => pass()),
			{ target },
		);
		const isBounded = diagnostics.some(({ code }) => code === "qdq/bound");
		cases.push(await caseOf(seed, random, model, target, "converted", folder, isBounded));
	} catch (error) {
		if (!(error instanceof PipelineError)) throw error;
	}
	return cases;
}

function worstDb({ outputs }: HtpReport): number {
	return Math.min(...outputs.map(({ sqnrDb }) => sqnrDb ?? Number.POSITIVE_INFINITY));
}

function isRight({ leastDb }: Case, report: HtpReport): boolean {
	return report.status === "ok" && worstDb(report) >= leastDb;
}

function describeCase({ seed, random, form, rules }: Case, report: HtpReport): string {
	const nodes = report.unsupported.map(({ name, type }) => (name === "" ? type : name)).join(", ");
	const what = report.status === "ok" ? `${worstDb(report).toFixed(1)} dB` : `${report.status} ${nodes}`;
	return `seed ${seed}, ${form}: ${what} [${rules.join(" ")}] ${random.description}`;
}

describe.skipIf(python === "")("random models on the HTP", () => {
	test.each(targets)("$architecture computes right what check passes", { timeout: 3_600_000 }, async (target) => {
		const folder = temporaryFolder();
		const cases: Case[] = [];
		for (const seed of seeds) cases.push(...(await casesOf(seed, target, folder)));
		const tried = cases.filter(({ rules }) => withAlarms || rules.length === 0);
		const reports = await checkManyOnHtp(
			python,
			tried.map(({ job }) => job),
		);
		const falsePasses: string[] = [];
		const figures = { passed: 0, converted: 0, flagged: 0, falseAlarms: 0 };
		for (const [index, one] of tried.entries()) {
			const report = reports[index]!;
			const right = isRight(one, report);
			if (one.rules.length === 0) {
				figures[one.form === "converted" ? "converted" : "passed"]++;
				if (!right) falsePasses.push(describeCase(one, report));
			} else {
				figures.flagged++;
				if (right) {
					figures.falseAlarms++;
					process.stderr.write(`false alarm: ${describeCase(one, report)}\n`);
				}
			}
		}
		process.stderr.write(`${target.architecture}: ${JSON.stringify(figures)} of ${cases.length}\n`);
		expect(falsePasses).toEqual([]);
		expect(figures.passed).toBeGreaterThan(0);
		expect(figures.converted).toBeGreaterThan(seeds.length / 4);
	});
});
