import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Model } from "../../src/ir/model.js";
import type { Tensor } from "../../src/ir/tensor.js";
import { readModel, serializeModel } from "../../src/onnx/file.js";
import { applyEncodings } from "../../src/passes/apply-encodings.js";
import { runPasses } from "../../src/run-passes.js";
import { numbersOf } from "../../src/weights/numbers.js";
import { sharedAimet } from "../support/aimet.js";
import { readNpy } from "../support/npy.js";
import { floatFeed, floatsOf, run } from "../support/ort.js";

const VERSIONS = ["0.6.1", "1.0.0", "2.0.0"];

interface Case {
	readonly name: string;
	readonly folder: string;
	readonly mode: string;
	readonly version: string;
}

function cases(): Case[] {
	if (!existsSync(sharedAimet)) return [];
	return readdirSync(sharedAimet).flatMap((name) =>
		["pc", "bq", "lpbq"].flatMap((mode) =>
			VERSIONS.map((version) => ({ name, folder: `${sharedAimet}${name}/`, mode, version })).filter(
				({ folder, version }) => existsSync(`${folder}${mode}_${version}.encodings`),
			),
		),
	);
}

function initializers(model: Model): Map<string, Tensor> {
	return new Map(Array.from(model.graph.initializers, (value) => [value.name, value.initializer!]));
}

describe.skipIf(cases().length === 0)("encodings of AIMET on its models, if ../shared is beside the checkout", () => {
	it.each(cases())("$name $mode $version", async ({ folder, mode, version }) => {
		const model = await readModel(`${folder}model.onnx`);
		const report = await runPasses(model, [applyEncodings({ encodings: `${folder}${mode}_${version}.encodings` })]);
		const isInt2 = folder.includes("int2");
		expect(report.diagnostics.map(({ code }) => code)).toEqual(isInt2 ? ["encodings/kept"] : []);
		if (isInt2) return;
		const made = initializers(model);
		for (const name of ["W", "W1", "b", "b1"]) {
			const file = `${folder}${mode}_${name}_q.npy`;
			const tensor = made.get(name);
			if (tensor === undefined || !existsSync(file) || (name.startsWith("b") && version !== "2.0.0")) continue;
			expect(Array.from(numbersOf(tensor)), name).toEqual(Array.from(readNpy(file, Int32Array).data));
		}
		const reference = `${folder}${mode}_qdq_prequant.onnx`;
		if (!existsSync(reference)) return;
		const { shape, data } = readNpy(`${folder}input_x.npy`, Float32Array);
		const feeds = { x: floatFeed(shape, data) };
		let expected: Float32Array;
		try {
			expected = floatsOf((await run(readFileSync(reference), feeds)).y);
		} catch {
			return;
		}
		const { y } = await run(serializeModel(model), feeds);
		if (version === "2.0.0") expect(floatsOf(y)).toEqual(expected);
	});
});
