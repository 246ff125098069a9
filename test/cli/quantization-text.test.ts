import { expect, test } from "vitest";
import { renderQuantization } from "../../src/cli/quantization-text.js";
import type { Quantization } from "../../src/index.js";

test("of many warnings of a kind some are shown, and how many more there are", () => {
	const warning = (name: string) => ({
		code: "lpbq/repaired" as const,
		severity: "warning" as const,
		message: `weight '${name}'`,
		at: {},
		notes: [],
	});
	const result = {
		...{ recipe: "16a8w", target: null, samples: 1, heldOut: 0, bytesBefore: 8, bytesAfter: 2 },
		...{ operators: [], weights: [], findings: [], onCpu: null, onTarget: null, notOnTarget: null },
		diagnostics: ["a", "b", "c", "d", "e"].map(warning),
	} as unknown as Quantization;
	const text = renderQuantization(result, "out.onnx");
	expect(text).toContain("warning lpbq/repaired: weight 'c'\nwarning lpbq/repaired: and 2 more; --json lists them\n");
	expect(text).not.toContain("weight 'd'");
	const few = renderQuantization({ ...result, diagnostics: result.diagnostics.slice(0, 3) }, "out.onnx");
	expect(few).not.toContain("more; --json");
});

test("of every output how close it comes, and by how much it is off at most", () => {
	const output = (name: string, sqnrDb: number, maxAbsError: number) => ({ name, sqnrDb, maxAbsError, problem: null });
	const onCpu = {
		...{ failure: null, on: "cpu", worstSqnrDb: 21.1, overallSqnrDb: 40.9, samples: 24 },
		outputs: [output("probability", 21.1, 0.00711), output("state", 31.7, 0.0123)],
	};
	const result = {
		...{ recipe: "16a8w", target: null, samples: 136, heldOut: 24, bytesBefore: 8, bytesAfter: 2 },
		...{ operators: [], weights: [], findings: [], diagnostics: [], onCpu, onTarget: null, notOnTarget: null },
	} as unknown as Quantization;
	expect(renderQuantization(result, "out.onnx")).toContain(
		"21.1 dB in the worst sample, 40.9 dB over all 24, on the CPU at worst; probability 21.1 dB, off by 0.00711 at most; state 31.7 dB, off by 0.0123 at most\n",
	);
});
