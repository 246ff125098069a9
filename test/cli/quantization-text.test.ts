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
