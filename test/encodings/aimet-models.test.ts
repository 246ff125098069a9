import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { Encodings } from "../../src/encodings/encoding.js";
import type { NumberArray } from "../../src/encodings/json-reader.js";
import { readEncodings } from "../../src/encodings/read-encodings.js";
import type { Model } from "../../src/ir/model.js";
import { printModel } from "../../src/ir/print.js";
import type { Tensor } from "../../src/ir/tensor.js";
import { readModel, serializeModel } from "../../src/onnx/file.js";
import { applyEncodings } from "../../src/passes/apply-encodings.js";
import { removeQdq } from "../../src/passes/remove-qdq.js";
import { exportEncodings } from "../../src/report/export-encodings.js";
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

/** The encodings of a file by names, as a model holds them: floats rounded to 32 bits. */
function rounded(encodings: Encodings) {
	const float = ({ shape, values }: NumberArray) => ({ shape, values: values.map(Math.fround) });
	return Object.fromEntries(
		encodings.entries.map((entry) => {
			if (entry.kind === "float") return [entry.name, entry];
			if (entry.kind === "lpbq") return [entry.name, { ...entry, channelScales: float(entry.channelScales) }];
			return [entry.name, { ...entry, scales: float(entry.scales) }];
		}),
	);
}

/** The figures of an initializer of ours against AIMET's. */
function expectNumbers(tensor: Tensor | undefined, expected: ArrayLike<number>, what: string): void {
	expect(tensor, what).toBeDefined();
	expect(Array.from(numbersOf(tensor!)), what).toEqual(Array.from(expected));
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

	it.each(cases())("$name $mode $version comes out of the model that it was applied to", async (vector) => {
		const { folder, mode, version } = vector;
		const file = `${folder}${mode}_${version}.encodings`;
		const model = await readModel(`${folder}model.onnx`);
		await runPasses(model, [applyEncodings({ encodings: file })]);
		const read = readEncodings(file);
		if (folder.includes("int2")) return;
		const isBroad = mode === "lpbq" && folder.includes("sb8");
		const exported = exportEncodings(model, { version: read.version });
		expect(exported.diagnostics.map(({ code }) => code)).toEqual(isBroad ? ["encodings/not-representable"] : []);
		if (isBroad) return;
		expect(rounded(exported.encodings)).toEqual(rounded(read));
		const names = Array.from(model.graph.nodes, ({ op }) => op.type);
		await runPasses(model, [removeQdq()]);
		expect(names).toContain("DequantizeLinear");
		expect(
			printModel(await readModel(`${folder}model.onnx`))
				.split("\n")
				.slice(1)
				.sort(),
		).toEqual(printModel(model).split("\n").slice(1).sort());
		const dequantized = readNpy(`${folder}${mode}_W_qdq.npy`, Float32Array).data;
		if (mode === "lpbq") return;
		expectNumbers(initializers(model).get("W"), dequantized, "W");
	});

	it.each(cases().filter(({ folder, mode }) => existsSync(`${folder}${mode}_qdq.onnx`)))(
		"$name $mode $version comes out of AIMET's own QDQ models",
		async ({ folder, mode, version }) => {
			const read = readEncodings(`${folder}${mode}_${version}.encodings`);
			for (const form of ["qdq", "qdq_prequant"]) {
				const model = await readModel(`${folder}${mode}_${form}.onnx`);
				const { encodings, diagnostics } = exportEncodings(model, { version: read.version });
				expect(diagnostics).toEqual([]);
				expect(rounded(encodings)).toEqual(rounded(read));
				await runPasses(model, [removeQdq()]);
				const floats = await readModel(`${folder}model.onnx`);
				expect([...initializers(model).keys()].sort()).toEqual([...initializers(floats).keys()].sort());
				const weight = numbersOf(initializers(model).get("W")!);
				const expected = readNpy(`${folder}${mode}_W_qdq.npy`, Float32Array).data;
				// AIMET multiplies LPBQ's scales in 64 bits; the model has them in 32
				const tolerance = mode === "lpbq" ? 2e-7 : 0;
				const farthest = weight.reduce(
					(far, value, at) => Math.max(far, Math.abs(value / (expected[at]! || 1) - 1) * +(value !== expected[at]!)),
					0,
				);
				expect(farthest, form).toBeLessThanOrEqual(tolerance);
			}
		},
	);
});
