import type { Model } from "../ir/model.js";
import { elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { compareTensors, type Difference, decibelsOf, type Measured } from "./compare.js";
import type { AttentionMask } from "./padding.js";
import { type CommonValue, outputProbe, type Probe } from "./probes.js";
import type { TensorFile } from "./session.js";
import type { InnerComparison, ValueComparison } from "./verification.js";

/** What two models gave: the outputs of every sample. */
export interface RunOutputs {
	readonly reference: readonly (readonly TensorFile[])[];
	readonly converted: readonly (readonly TensorFile[])[];
}

/**
 * Compares the outputs of two models: by name, or where no name is the same by position.
 *
 * @param masks of the samples: what they leave out does not count.
 */
export function compareOutputs(
	reference: Model,
	converted: Model,
	runs: RunOutputs,
	masks: readonly (AttentionMask | undefined)[] = [],
): ValueComparison[] {
	const [wanted, found] = [reference.graph.outputs, converted.graph.outputs];
	const names = new Set(found.map(({ name }) => name));
	const byPosition = wanted.length === found.length && !wanted.some(({ name }) => names.has(name));
	return wanted.map((value, index) => {
		const other = byPosition ? found[index] : found.find(({ name }) => name === value.name);
		if (other === undefined) return missing(value.name, "the converted model has no such output");
		const comparison = compareValue(value.name, outputProbe(value), outputProbe(other), runs, masks);
		return comparison ?? missing(value.name, "it is no tensor of numbers in both models");
	});
}

/** Compares values inside the models; `converted` is the one that they stand in. */
export function compareInner(converted: Model, common: readonly CommonValue[], runs: RunOutputs): InnerComparison[] {
	const byValue = new Map<Value, CommonValue>();
	for (const value of common) byValue.set(value.node.outputs.find(({ name }) => name === value.name)!, value);
	/** The SQNR of each value, or where it was not compared the worst of what it is computed from. */
	const figures = new Map<Value | undefined, number>();
	const compared: InnerComparison[] = [];
	for (const node of converted.graph.nodes) {
		const before = Math.min(...node.inputs.map((input) => figures.get(input) ?? Number.POSITIVE_INFINITY));
		for (const value of node.outputs) {
			figures.set(value, before);
			const pair = byValue.get(value);
			if (pair === undefined) continue;
			const comparison = compareValue(value.name, pair.reference, pair.converted, runs, [], true);
			if (comparison === undefined) continue;
			const figure = comparison.sqnrDb ?? Number.POSITIVE_INFINITY;
			const lostDb = Number.isFinite(before) && Number.isFinite(figure) ? before - figure : null;
			figures.set(value, figure);
			compared.push({ ...comparison, node: node.name, op: node.op.type, lostDb });
		}
	}
	return compared;
}

/**
 * The worst of all samples, and all together; undefined where one model gave no numbers.
 *
 * @param mayBeReshaped is the order of the elements all that counts, as where a pass took an axis of one away?
 */
function compareValue(
	name: string,
	reference: Probe,
	converted: Probe,
	runs: RunOutputs,
	masks: readonly (AttentionMask | undefined)[],
	mayBeReshaped = false,
): ValueComparison | undefined {
	let worst: ValueComparison | undefined;
	let [signal, noise] = [0, 0];
	for (const [sample, outputs] of runs.reference.entries()) {
		const expected = measured(outputs, reference);
		const actual = measured(runs.converted[sample]!, converted);
		if (expected === undefined || actual === undefined) return undefined;
		const [shape, other] = [expected.tensor.shape, actual.tensor.shape];
		if (mayBeReshaped ? elementCount(shape) !== elementCount(other) : !isSameShape(shape, other)) {
			return { ...missing(name, `its shape is [${other.join(", ")}], expected [${shape.join(", ")}]`), shape };
		}
		const difference = compareTensors(expected, actual, masks[sample]);
		signal += difference.signal;
		noise += difference.noise;
		worst = worse(worst, comparisonOf(name, shape, difference));
	}
	return worst && { ...worst, overallSqnrDb: worst.problem === null ? decibelsOf(signal, noise) : worst.sqnrDb };
}

function isSameShape(a: readonly number[], b: readonly number[]): boolean {
	return a.length === b.length && a.every((length, axis) => length === b[axis]);
}

function measured(outputs: readonly TensorFile[], { value, encoding }: Probe): Measured | undefined {
	const tensor = outputs.find(({ name }) => name === value.name);
	return tensor === undefined ? undefined : { tensor, encoding };
}

function comparisonOf(name: string, shape: readonly number[], difference: Difference): ValueComparison {
	const { sqnrDb, maxAbsError, notFinite } = difference;
	const problem = notFinite === 0 ? null : `${notFinite} elements are infinite or no numbers, unlike the reference's`;
	return { name, sqnrDb, overallSqnrDb: sqnrDb, maxAbsError, shape, problem };
}

function worse(a: ValueComparison | undefined, b: ValueComparison): ValueComparison {
	if (a === undefined) return b;
	const { sqnrDb } = (b.sqnrDb ?? Number.POSITIVE_INFINITY) < (a.sqnrDb ?? Number.POSITIVE_INFINITY) ? b : a;
	return { ...b, sqnrDb, maxAbsError: Math.max(a.maxAbsError, b.maxAbsError), problem: a.problem ?? b.problem };
}

function missing(name: string, problem: string): ValueComparison {
	return { name, sqnrDb: null, overallSqnrDb: null, maxAbsError: 0, shape: [], problem };
}

/** The lowest figure; null where all are equal to their references. */
export function lowest(figures: readonly (number | null)[]): number | null {
	const known = figures.filter((figure) => figure !== null);
	return known.length === 0 ? null : Math.min(...known);
}
