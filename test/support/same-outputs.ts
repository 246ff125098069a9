import type { Tensor } from "onnxruntime-node";
import { expect } from "vitest";
import { type ElementType, numbersOf } from "../../src/arrays/element-type.js";
import type { Model } from "../../src/ir/model.js";
import { serializeModel } from "../../src/onnx/file.js";
import type { Pass } from "../../src/passes/infra/pass.js";
import type { PipelineOptions } from "../../src/passes/infra/pipeline.js";
import type { PipelineReport } from "../../src/passes/infra/report.js";
import { runPasses } from "../../src/run-passes.js";
import { floatsOf, run, type Tensors } from "./ort.js";

/**
 * Runs `pass` and asks that no output of the model differs by more than `tolerance` times its range afterwards, in ONNX
 * Runtime on the CPU.
 */
export async function expectSameOutputs(
	model: Model,
	pass: Pass,
	feeds: Tensors,
	{ tolerance = 1e-5, ...options }: PipelineOptions & { readonly tolerance?: number } = {},
): Promise<PipelineReport> {
	const before = await run(serializeModel(model), feeds);
	const report = await runPasses(model, [pass], options);
	const after = await run(serializeModel(model), feeds);
	for (const name of Object.keys(before)) {
		expect(differenceInRanges(floatsOf(before[name]), floatsOf(after[name])), name).toBeLessThan(tolerance);
	}
	return report;
}

/** The largest difference, as part of the range of `reference`. */
export function differenceInRanges(reference: Float32Array, actual: Float32Array): number {
	let [lo, hi, difference] = [Infinity, -Infinity, 0];
	for (const [index, value] of reference.entries()) {
		lo = Math.min(lo, value);
		hi = Math.max(hi, value);
		difference = Math.max(difference, Math.abs(value - actual[index]!));
	}
	return difference / (hi - lo);
}

/** How `after` differs from `before`, in types, shapes, or by more than `tolerance` times a range; undefined: in nothing. */
export function differenceOf(before: Tensors, after: Tensors, tolerance: number): string | undefined {
	for (const [name, expected] of Object.entries(before)) {
		const actual = after[name];
		const types = `${actual?.type}[${actual?.dims}] instead of ${expected.type}[${expected.dims}]`;
		if (`${actual?.type}[${actual?.dims}]` !== `${expected.type}[${expected.dims}]`) return `'${name}' is ${types}`;
		const difference = largestDifference(elementsOf(expected), elementsOf(actual!));
		if (!(difference <= tolerance)) return `'${name}' differs by ${difference} of its range`;
	}
	return undefined;
}

type Elements = ArrayLike<number> | readonly string[];

function elementsOf({ type, data }: Tensor): Elements {
	if (type === "string") return data as string[];
	const { buffer, byteOffset, byteLength } = data as Float32Array;
	const bytes = buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
	return numbersOf(type as ElementType, bytes);
}

/** As part of the range of `reference`, 0 included; infinite where one is no finite number and the other is not the same. */
function largestDifference(reference: Elements, actual: Elements): number {
	let [lo, hi, difference] = [0, 0, 0];
	for (let index = 0; index < reference.length; index++) {
		const [a, b] = [reference[index]!, actual[index]!];
		if (typeof a === "number" && Number.isFinite(a)) [lo, hi] = [Math.min(lo, a), Math.max(hi, a)];
		if (Object.is(a, b) || a === b) continue;
		const error = Math.abs(Number(a) - Number(b));
		difference = Math.max(difference, Number.isFinite(error) ? error : Number.POSITIVE_INFINITY);
	}
	return difference === 0 ? 0 : difference / (hi - lo);
}
