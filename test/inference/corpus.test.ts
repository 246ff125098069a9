import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { inferTypes } from "../../src/inference/index.js";
import { dataTypeName, type ValueType } from "../../src/ir/types.js";
import type { Value } from "../../src/ir/value.js";
import { readModel } from "../../src/onnx/file.js";

/** Public test models of other projects, beside the checkout on developers' machines and in CI; no part of the repository. */
const corpus = fileURLToPath(new URL("../../../shared/corpus", import.meta.url));
const paths: readonly string[] = existsSync(corpus)
	? JSON.parse(readFileSync(path.join(corpus, "INVENTORY.json"), "utf8")).map((entry: { path: string }) => entry.path)
	: [];

/** The tests of ONNX itself state what comes out; other projects' state now and then what does not. */
const trusted = paths.filter((file) => file.startsWith("onnx"));
const HOSTILE = "test_arbitrary_external_file.onnx";

describe.skipIf(!existsSync(corpus))("types of the models in ../shared/corpus", () => {
	it("are what ONNX's tests state of their outputs, most of them with every length", async () => {
		const contradictions: string[] = [];
		let [known, all] = [0, 0];
		for (const file of trusted) {
			const model = await readModel(path.join(corpus, file));
			const outputs = model.graph.outputs.filter(({ producer }) => producer !== undefined);
			const stated = outputs.map(({ type }) => type);
			for (const value of outputs) value.type = undefined;
			const types = inferTypes(model);
			for (const [index, value] of outputs.entries()) {
				const [actual, expected] = [types.typeOf(value), stated[index]];
				all++;
				if (types.staticShapeOf(value) !== undefined) known++;
				if (contradicts(actual, expected))
					contradictions.push(`${file} ${value.name}: ${text(actual)} ${text(expected)}`);
			}
		}
		expect(contradictions).toEqual([]);
		// Of the others the lengths come in as inputs, or depend on what tensors contain.
		expect(known / all).toBeGreaterThan(0.75);
	});

	it("are inferred of every model, whatever is odd about it, and no model changes", async () => {
		for (const file of paths) {
			if (file.endsWith(HOSTILE)) continue;
			const model = await readModel(path.join(corpus, file));
			const before = model.graph.outputs.map(({ type }: Value) => type);
			expect(() => inferTypes(model), file).not.toThrow();
			expect(model.graph.outputs.map(({ type }) => type)).toEqual(before);
		}
	});
});

function contradicts(actual: ValueType | undefined, stated: ValueType | undefined): boolean {
	if (actual === undefined || stated === undefined || stated.kind === "unknown") return false;
	if (actual.kind === "sparse-tensor" || stated.kind === "sparse-tensor") return false;
	if (actual.kind !== stated.kind) return true;
	if (actual.kind !== "tensor" || stated.kind !== "tensor") return false;
	if (actual.elementType !== stated.elementType) return true;
	if (actual.shape === undefined || stated.shape === undefined) return false;
	if (actual.shape.length !== stated.shape.length) return true;
	return actual.shape.some((dimension, axis) => {
		const other = stated.shape![axis];
		return typeof dimension === "number" && typeof other === "number" && other >= 0 && dimension !== other;
	});
}

function text(type: ValueType | undefined): string {
	if (type?.kind !== "tensor") return type?.kind ?? "nothing";
	return `${dataTypeName(type.elementType)}[${type.shape?.map((dimension) => dimension ?? "?").join(",")}]`;
}
