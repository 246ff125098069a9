import { expect, test } from "vitest";
import { ShapeBinding } from "../../src/runtime/model-inputs.js";

test("a dimension called '?' is none that others are bound to", () => {
	const binding = new ShapeBinding({ "x:3": 192 });
	binding.bind("x", ["batch", 3, "?", "?"], [1, 3, 48, undefined]);
	const missing = new Set<string>();
	expect(binding.resolve("x", ["batch", 3, "?", "?"], missing)).toEqual([1, 3, 48, 192]);
	expect([...missing]).toEqual([]);
	binding.resolve("y", ["batch", "?"], missing);
	expect([...missing]).toEqual(["y:1"]);
	expect(() => binding.bind("z", ["batch"], [2])).toThrow("dimension 0 of input 'z' is 2, but 'batch' is 1 elsewhere");
});
