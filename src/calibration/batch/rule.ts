import type { TypeTable } from "../../inference/index.js";
import type { Node } from "../../ir/node.js";

/**
 * What must be different at a node so that it computes several samples at once: a constant with lengths of which one is that
 * of the samples' axis, or an input that all samples share, repeated along an axis where it has a length of 1.
 */
export type BatchEdit =
	| { readonly input: number; readonly lengths: readonly number[]; readonly axis: number }
	| { readonly input: number; readonly repeated: number };

/** Along which axis samples are stacked in each output, and what to change for that. */
export interface Stacked {
	readonly axes: readonly number[];
	readonly edits: readonly BatchEdit[];
}

/**
 * Says how samples that are stacked in inputs are stacked in outputs; undefined where the operator would mix them, or where
 * that is not known. Never called without a stacked input.
 */
export type BatchRule = (call: BatchCall) => Stacked | undefined;

/** The same axis in every output. */
export function stackedAt(call: BatchCall, axis: number | undefined, edits: readonly BatchEdit[] = []) {
	return axis === undefined ? undefined : { axes: call.node.outputs.map(() => axis), edits };
}

/** An operator with what is known of one sample: shapes as they are with a batch of one, axes along which samples are stacked. */
export class BatchCall {
	readonly node: Node;
	/** Version of the standard operator set. */
	readonly opset: number;
	readonly #types: TypeTable;
	readonly #axes: ReadonlyMap<unknown, number>;

	constructor(node: Node, opset: number, types: TypeTable, axes: ReadonlyMap<unknown, number>) {
		this.node = node;
		this.opset = opset;
		this.#types = types;
		this.#axes = axes;
	}

	has(input: number): boolean {
		return this.node.inputs[input] !== undefined;
	}

	/** Along which samples are stacked; undefined where all samples share the input. */
	axis(input: number): number | undefined {
		const value = this.node.inputs[input];
		return value === undefined ? undefined : this.#axes.get(value);
	}

	/** Of a sample; undefined where it is not known, or the input is left out. */
	shape(input: number): readonly number[] | undefined {
		const value = this.node.inputs[input];
		return value === undefined ? undefined : this.#types.staticShapeOf(value);
	}

	outputShape(output: number): readonly number[] | undefined {
		const value = this.node.outputs[output];
		return value === undefined ? undefined : this.#types.staticShapeOf(value);
	}

	/** What an input contains that all samples share; undefined where that is not known. */
	numbers(input: number): readonly number[] | undefined {
		const value = this.node.inputs[input];
		const elements = value === undefined ? undefined : this.#types.elementsOf(value);
		return elements?.every((element) => typeof element === "number") ? elements : undefined;
	}

	/** Do all samples share the inputs from `first` on? */
	shares(first: number): boolean {
		return this.node.inputs.every((_, input) => input < first || this.axis(input) === undefined);
	}

	/** The numbers of an input, of an attribute in older operator sets, or none where both are left out; undefined: not known. */
	inputOrInts(input: number, name: string): readonly number[] | undefined {
		if (this.has(input)) return this.numbers(input);
		const attribute = this.node.attributes.get(name);
		return attribute?.kind === "ints" ? attribute.value.map(Number) : [];
	}
}

/** An axis counted from the front. */
export function fromFront(axis: number, rank: number): number {
	return axis < 0 ? axis + rank : axis;
}

export function product(lengths: readonly number[]): number {
	return lengths.reduce((total, length) => total * length, 1);
}
