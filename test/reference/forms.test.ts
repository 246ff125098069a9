import { describe, expect, test } from "vitest";
import {
	LINEAR_KERNELS,
	type LinearConfig,
	type LinearKernel,
	type PublishedConfig,
} from "../../src/reference/reference.js";
import { naive } from "./naive.js";

/** Rounding of a float32, relative. */
const EPSILON = 2 ** -24;

function configText({ rows, depth, channels, groupSize, activation, bias }: LinearConfig): string {
	return `${rows}x${depth}x${channels} groups of ${groupSize}, ${activation}${bias ? ", bias" : ""}`;
}

/** Rows that are compared: all of small shapes, the ends and some between of those that are there to be timed. */
function comparedRows({ rows, performance }: PublishedConfig): number[] {
	const all = Array.from({ length: rows }, (_, row) => row);
	return performance ? all.filter((row) => row === 0 || row === rows - 1 || row % 331 === 7) : all;
}

/** Of each output the sum of the magnitudes of its terms, which rounding errors are measured by. */
function magnitudes(
	kernel: LinearKernel,
	config: LinearConfig,
	inputs: Parameters<LinearKernel["integer"]>[1],
	rows: readonly number[],
): Float64Array {
	const { depth, channels, groupSize } = config;
	const { activation, weight, bias } = kernel.operands(config, inputs);
	const out = new Float64Array(rows.length * channels);
	for (const [index, row] of rows.entries()) {
		for (let n = 0; n < channels; n++) {
			let sum = Math.abs(bias?.[n] ?? 0);
			for (let k = 0; k < depth; k++) {
				const place = Math.floor(k / groupSize) * channels + n;
				// each part of the difference (x - zx) * ((w - zw) * s + offset) by itself: the integer form adds them up so
				const x = Math.abs(activation.values[row * depth + k]!) + Math.abs(activation.zeroPoints?.[row] ?? 0);
				const w = Math.abs(weight.codes[n * depth + k]!) + Math.abs(weight.zeroPoints?.[place] ?? 0);
				sum +=
					x * (activation.scales?.[row] ?? 1) * (w * weight.scales[place]! + Math.abs(weight.offsets?.[place] ?? 0));
			}
			out[index * channels + n] = sum;
		}
	}
	return out;
}

describe.each(LINEAR_KERNELS.map((kernel) => [kernel.name, kernel] as const))("%s", (name, kernel) => {
	const cases = kernel.published.flatMap((config) =>
		(["typical", "exact"] as const)
			.filter((data) => data === "typical" || !(config.performance || config.activation === "float16"))
			.map((data) => [configText(config), data, config] as const),
	);

	test("the integer form is the float form to float32 rounding in every published config", { timeout: 300_000 }, () => {
		let worst = { rounding: 0, steps: 0, at: "", codes: 0, outputs: 0 };
		for (const [text, data, config] of cases) {
			const inputs = kernel.makeInputs(config, data, 1);
			const rows = comparedRows(config);
			const float = kernel.dequantized(config, inputs, rows);
			const integer = kernel.integer(config, inputs, rows);
			const scale = magnitudes(kernel, config, inputs, rows);
			for (let i = 0; i < float.sums.length; i++) {
				const difference = Math.abs(float.sums[i]! - integer.sums[i]!);
				if (data === "exact") expect(difference).toBe(0);
				const rounding = difference === 0 ? 0 : difference / (EPSILON * scale[i]!);
				if (rounding > worst.rounding) worst = { ...worst, rounding, at: `${text}, ${data}` };
				const steps = Math.abs(float.output[i]! - integer.output[i]!);
				if (kernel.outputs.output!.type !== "float32") {
					worst.outputs++;
					if (steps > 0) worst.codes++;
					worst.steps = Math.max(worst.steps, steps);
				}
			}
		}
		const quantized = worst.outputs > 0 ? `; ${worst.codes} of ${worst.outputs} codes differ, by ${worst.steps}` : "";
		console.log(`${name}: worst difference ${worst.rounding.toFixed(2)} float32 roundings (${worst.at})${quantized}`);
		// every term is rounded in activation and weight, and every group once more
		expect(worst.rounding).toBeLessThan(4);
		expect(worst.steps).toBeLessThanOrEqual(1);
		expect(worst.codes).toBeLessThanOrEqual(worst.outputs * 1e-3);
	});

	test.each(cases.filter(([, , { performance }]) => !performance))(
		"%s, %s data: both forms are those of a third implementation",
		(_text, data, config) => {
			const inputs = kernel.makeInputs(config, data, 2);
			const expected = naive(name, config, inputs);
			const tolerance = data === "exact" ? kernel.exactTolerance(config) : config.tolerance;
			for (const form of ["dequantized", "integer"] as const) {
				const { output } = kernel[form](config, inputs);
				expect(output.length).toBe(expected.length);
				const wrong = output.findIndex((value, i) => {
					const difference = Math.abs(value - expected[i]!);
					const relative = tolerance.relative * Math.abs(expected[i]!);
					return !(tolerance.combine === "sum"
						? difference <= tolerance.absolute + relative
						: difference <= Math.max(tolerance.absolute, relative));
				});
				expect(wrong).toBe(-1);
			}
		},
	);
});
