import type { Encodings } from "../../encodings/encoding.js";
import type { TypeTable } from "../../inference/index.js";
import type { Model } from "../../ir/model.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { nodesInOrder } from "../../ir/order.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { allGraphs } from "../../ir/walk.js";
import { hull, type Interval, intervalOf } from "../../quant/grid.js";
import { constantOf } from "../../weights/constant.js";
import { eachNumber } from "../../weights/numbers.js";
import { findWeightSites } from "../../weights/weight-site.js";
import { codesType } from "./encoded-constant.js";
import { inputsOfOneGrid, movedOutputs } from "./grid-operators.js";
import { knownInterval } from "./known-interval.js";
import { productBound } from "./product-bound.js";
import { type Encoding, encodingBehind, encodingOf } from "./qdq.js";
import { TensorNames } from "./tensor-names.js";

/** What values that are not constants can be, and how that is known. */
export class ActivationRanges {
	readonly #stated: Map<Value, Encoding> = new Map();
	readonly #intervals: Map<Value, Interval> = new Map();
	/** Values that the encodings do not name, whose range follows from those of others. */
	readonly derived: Set<Value> = new Set();
	/** Those of them whose range is only a bound of a sum of products. */
	readonly bounds: Set<Value> = new Set();
	/** Names in the encodings that the model has no tensor for, or none that is computed on floats. */
	readonly unused: string[] = [];

	constructor(model: Model, types: TypeTable, encodings: Encodings | undefined) {
		if (encodings !== undefined) this.#read(model, types, encodings);
		const sites = new Map(findWeightSites(model).map((site) => [site.node, site]));
		const orders = [...allGraphs(model)].map(({ graph }) => nodesInOrder(graph));
		for (const order of orders) {
			for (const node of order) for (const output of node.outputs) this.#takeExisting(output);
		}
		for (const order of orders) this.#takeFromViews(order);
		for (const order of orders) {
			for (const node of order) {
				for (const output of node.outputs) {
					if (this.#intervals.has(output) || !isFloat(output, types) || constantOf(output) !== undefined) continue;
					const known = knownInterval(output, undefined, (value) => this.of(value));
					const site = known === undefined ? sites.get(node) : undefined;
					const input = site && this.of(node.inputs[1 - site.input]!);
					const bound = site && input && productBound(site, input);
					const interval = known ?? bound;
					if (interval === undefined) continue;
					this.#intervals.set(output, interval);
					this.derived.add(output);
					if (known === undefined) this.bounds.add(output);
				}
			}
		}
	}

	/** From the least to the greatest of what `value` was seen to be, or can be; undefined where nothing is known. */
	of(value: Value): Interval | undefined {
		return this.#intervals.get(value);
	}

	/** The encoding that was given for exactly this value. */
	statedFor(value: Value): Encoding | undefined {
		return this.#stated.get(value);
	}

	/** Takes `interval` for that of `value` from now on. */
	set(value: Value, interval: Interval): void {
		this.#intervals.set(value, interval);
		this.#stated.delete(value);
	}

	/** `to` is from now on what `from` was, whose name it has taken over. */
	move(from: Value, to: Value): void {
		const interval = this.#intervals.get(from);
		const stated = this.#stated.get(from);
		if (interval !== undefined) this.#intervals.set(to, interval);
		if (stated === undefined) this.#stated.delete(to);
		else this.#stated.set(to, stated);
		if (this.derived.has(from)) this.derived.add(to);
		else this.derived.delete(to);
	}

	#read(model: Model, types: TypeTable, { entries }: Encodings): void {
		const names = new TensorNames(model);
		for (const entry of entries) {
			if (entry.section === "parameter" || entry.kind !== "affine" || entry.granularity !== "tensor") continue;
			const values = names.find(entry.name).filter((value) => constantOf(value) === undefined && isFloat(value, types));
			if (values.length === 0) this.unused.push(entry.name);
			const [scale] = entry.scales.values;
			const zeroPoint = entry.zeroPoints?.[0] ?? 0;
			if (scale === undefined || !(scale > 0) || !Number.isFinite(scale)) continue;
			const { signed, bits } = entry.codes;
			const min = signed ? -(2 ** (bits - 1)) : 0;
			const interval = intervalOf({ scale, zeroPoint, min, max: min + 2 ** bits - 1 });
			const dtype = codesType(entry.codes);
			for (const value of values) {
				this.#intervals.set(value, interval);
				if (dtype === DataType.UINT8 || dtype === DataType.UINT16) {
					this.#stated.set(value, encodingOf(dtype, scale, zeroPoint));
				}
			}
		}
	}

	/** What quantizers of the model say already. */
	#takeExisting(output: Value): void {
		const encoding = encodingBehind(output);
		if (encoding !== undefined && output.producer !== undefined && isOnnxOp(output.producer, "DequantizeLinear"))
			this.#intervals.set(output, intervalOf(encoding));
	}

	/** Files leave out what Reshape and its like read, or what they make: it is the same. */
	#takeFromViews(order: readonly Node[]): void {
		for (const node of [...order].reverse()) {
			const shared = inputsOfOneGrid(node);
			const [input] = shared.map((index) => node.inputs[index]);
			if (shared.length !== 1 || input === undefined || this.#intervals.has(input) || constantOf(input)) continue;
			if (input.uses.length > 1) continue;
			const outputs = movedOutputs(node).map((output) => this.#intervals.get(output));
			if (outputs.every((interval) => interval !== undefined)) {
				this.#intervals.set(input, hull(...(outputs as Interval[])));
				this.derived.add(input);
			}
		}
	}
}

/** Is `value` a FLOAT tensor, as far as is known? */
export function isFloat(value: Value, types: TypeTable): boolean {
	const type = types.typeOf(value);
	return type === undefined ? value.name !== "" : type.kind === "tensor" && type.elementType === DataType.FLOAT;
}

/** The range of a constant's finite numbers; undefined where it has none. Reads it in pieces. */
export function constantRange(value: Value | undefined): Interval | undefined {
	const constant = constantOf(value);
	if (constant === undefined || constant.overridable) return undefined;
	let lo = Number.POSITIVE_INFINITY;
	let hi = Number.NEGATIVE_INFINITY;
	eachNumber(constant.tensor, (number) => {
		if (!Number.isFinite(number)) return undefined;
		if (number < lo) lo = number;
		if (number > hi) hi = number;
		return undefined;
	});
	return lo <= hi ? { lo, hi } : undefined;
}
