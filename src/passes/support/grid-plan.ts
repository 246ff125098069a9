import type { TypeTable } from "../../inference/index.js";
import type { Model } from "../../ir/model.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { nodesInOrder } from "../../ir/order.js";
import { DataType } from "../../ir/types.js";
import type { Use, Value } from "../../ir/value.js";
import { allGraphs } from "../../ir/walk.js";
import { hull, type Interval } from "../../quant/grid.js";
import { constantOf } from "../../weights/constant.js";
import { weightInputs } from "../../weights/weight-axes.js";
import { keepsWithin } from "./absorbed-clamps.js";
import { type ActivationRanges, constantRange, isFloat } from "./activation-ranges.js";
import { inputsOfOneGrid, isParameter, kernelEncoding, movedOutputs } from "./grid-operators.js";
import type { ActivationBits, OperatorPrecisions } from "./operator-precision.js";
import { coveringEncoding, type Encoding, encodingAt, encodingOf, sameEncoding } from "./qdq.js";

/** Values on one grid: a result, and what Reshape, Concat and their like make of it. */
interface Group {
	bits: ActivationBits;
	isSymmetric: boolean;
	/** What the model or the kernel of the operator that makes it prescribes. */
	fixed: Encoding | undefined;
	/** Where its values come from: not out of operators that keep the grid. */
	readonly sources: Set<Value>;
	readonly members: Set<Value>;
	readonly constants: Use[];
	/** What the codes have to keep the values within. */
	readonly limits: Interval[];
	/** Does an operator on integers make or read one of them? */
	isUsed: boolean;
}

/** A value that is to be quantized, and for whom. */
export interface PlannedValue {
	readonly value: Value;
	readonly encoding: Encoding;
	/** undefined: all but quantizers. */
	readonly readers: readonly Use[] | undefined;
}

/** Reads of a value that want another encoding than it has. */
export interface PlannedConversion {
	readonly value: Value;
	readonly encoding: Encoding;
	readonly readers: readonly Use[];
}

/** A float constant that is to be codes for some of its readers. */
export interface PlannedConstant {
	readonly value: Value;
	readonly encoding: Encoding;
	readonly readers: readonly Use[];
}

export interface GridPlan {
	readonly values: readonly PlannedValue[];
	readonly conversions: readonly PlannedConversion[];
	readonly constants: readonly PlannedConstant[];
	/** Values that should be quantized but have no range. */
	readonly unknown: readonly Value[];
}

/** What the plan is made from. */
export interface PlanSource {
	readonly model: Model;
	readonly types: TypeTable;
	readonly ranges: ActivationRanges;
	readonly precisions: OperatorPrecisions;
	/** Values inside of what is computed as one: the product in front of its bias. */
	readonly inner: ReadonlySet<Value>;
	/** Values that keep within limits by nothing but their codes. */
	readonly limits: ReadonlyMap<Value, Interval>;
	/** Inputs that stay as they are: such a bias. */
	readonly untouched: ReadonlySet<Value>;
	/** The right sides of products that are to be 8-bit and symmetric. */
	readonly narrow: readonly Use[];
}

/** Decides which values are on which grid, without changing anything. */
export function planGrids(source: PlanSource): GridPlan {
	return new Planner(source).plan();
}

class Planner {
	readonly #source: PlanSource;
	readonly #groups: Map<Value, Group> = new Map();
	readonly #narrowed: Set<Value> = new Set();
	/** Groups with a view between them. */
	readonly #linked: (readonly [Group, Group])[] = [];
	readonly #orders: readonly (readonly Node[])[];

	constructor(source: PlanSource) {
		this.#source = source;
		this.#orders = [...allGraphs(source.model)].map(({ graph }) => nodesInOrder(graph));
	}

	plan(): GridPlan {
		for (const { node, index } of this.#source.narrow) this.#narrow(node.inputs[index]);
		for (const { graph } of allGraphs(this.#source.model)) {
			for (const input of graph.inputs) if (this.#isActivation(input)) this.#start(input);
		}
		for (const order of this.#orders) for (const node of order) this.#join(node);
		for (const order of this.#orders) for (const node of order) this.#markUse(node);
		this.#spreadUse();
		return this.#collect();
	}

	/** Marks `value` and what it is a view of, up to where others read it, too. */
	#narrow(value: Value | undefined): void {
		if (value === undefined || value.uses.length > 1 || value.isGraphOutput) return;
		if (value.producer === undefined) {
			if (this.#isActivation(value)) this.#narrowed.add(value);
			return;
		}
		if (inputsOfOneGrid(value.producer).length === 0) return;
		this.#narrowed.add(value);
		for (const index of inputsOfOneGrid(value.producer)) this.#narrow(value.producer.inputs[index]);
	}

	#isActivation(value: Value): boolean {
		const { types, inner } = this.#source;
		return value.name !== "" && isFloat(value, types) && constantOf(value) === undefined && !inner.has(value);
	}

	#isView(node: Node): boolean {
		return inputsOfOneGrid(node).length > 0 && !this.#source.precisions.isFloatByChoice(node);
	}

	#start(value: Value, bits = this.#bitsFor(value), fixed?: Encoding): Group {
		const group: Group = {
			bits,
			fixed,
			isSymmetric: this.#narrowed.has(value),
			sources: new Set([value]),
			members: new Set([value]),
			constants: [],
			limits: [this.#source.limits.get(value) ?? []].flat(),
			isUsed: false,
		};
		if (group.isSymmetric) group.bits = 8;
		this.#groups.set(value, group);
		return group;
	}

	/** As its maker computes on; else what most of its readers want. */
	#bitsFor(value: Value): ActivationBits {
		const { precisions } = this.#source;
		const { producer } = value;
		const made = producer === undefined || this.#isView(producer) ? undefined : precisions.bitsOf(producer);
		if (made !== undefined) return made;
		const read = value.uses.flatMap(({ node }) => (this.#isView(node) ? [] : (precisions.bitsOf(node) ?? [])));
		return read.length === 0 ? precisions.defaultBits : (Math.max(...read) as ActivationBits);
	}

	#join(node: Node): void {
		if (isOnnxOp(node, "QuantizeLinear", "Constant")) return;
		if (isOnnxOp(node, "DequantizeLinear")) {
			this.#takeExisting(node);
			return;
		}
		if (!this.#isView(node)) {
			for (const output of node.outputs) {
				if (!this.#isActivation(output)) continue;
				const bits = this.#bitsFor(output);
				this.#start(output, bits, kernelEncoding(node, bits === 8 ? DataType.UINT8 : DataType.UINT16));
			}
			return;
		}
		for (const output of movedOutputs(node)) if (this.#isActivation(output)) this.#joinView(node, output);
	}

	#takeExisting(node: Node): void {
		const output = node.outputs[0]!;
		const encoding = encodingAt(node);
		if (encoding === undefined || !this.#isActivation(output) || isStored(node)) return;
		this.#start(output, bitsOf(encoding), encoding);
	}

	/** Puts `output` on the grid of what it is made of, where that is one. */
	#joinView(node: Node, output: Value): void {
		const inputs = inputsOfOneGrid(node).flatMap((index) => node.inputs[index] ?? []);
		const constants = inputsOfOneGrid(node).filter((index) => isFloatConstant(node.inputs[index]));
		const groups = new Set(inputs.flatMap((input) => this.#groups.get(input) ?? []));
		const [first, ...others] = groups;
		const isNarrow = this.#narrowed.has(output);
		const fits = [...groups].every(
			(group) => group.bits === first!.bits && sameFixed(group.fixed, first!.fixed) && group.isSymmetric === isNarrow,
		);
		const isFree = others.length + constants.length === 0 || first?.fixed === undefined;
		let target: Group;
		if (first !== undefined && fits && isFree && this.#keepLimits([...groups], constants, node)) {
			for (const other of others) this.#merge(other, first);
			target = first;
			target.members.add(output);
			this.#groups.set(output, target);
		} else {
			const bits = Math.max(0, ...[...groups].map((group) => group.bits)) || this.#bitsFor(output);
			target = this.#start(output, bits as ActivationBits);
			for (const group of groups) this.#linked.push([group, target]);
		}
		for (const index of constants) target.constants.push({ node, index });
	}

	/** Do the limits of all hold on the grid that they would share? */
	#keepLimits(groups: readonly Group[], constants: readonly number[], node: Node): boolean {
		const limits = groups.flatMap((group) => group.limits);
		if (limits.length === 0 || groups.length + constants.length === 1) return true;
		const { ranges } = this.#source;
		const sources = groups.flatMap((group) => [...group.sources].map((value) => ranges.of(value)));
		const all = [...sources, ...constants.map((index) => constantRange(node.inputs[index]))];
		if (!all.every((range) => range !== undefined)) return false;
		const encoding = coveringEncoding(typeFor(groups[0]!.bits), hull(...(all as Interval[])));
		return limits.every((each) => keepsWithin(encoding, each));
	}

	#merge(from: Group, to: Group): void {
		for (const member of from.members) {
			to.members.add(member);
			this.#groups.set(member, to);
		}
		for (const source of from.sources) to.sources.add(source);
		to.constants.push(...from.constants);
		to.limits.push(...from.limits);
	}

	#markUse(node: Node): void {
		if (this.#isView(node) || this.#source.precisions.bitsOf(node) === undefined) return;
		for (const value of [...node.inputs, ...node.outputs]) {
			const group = value && this.#groups.get(value);
			if (group !== undefined) group.isUsed = true;
		}
	}

	/** What is between integers and a view is on integers, too. */
	#spreadUse(): void {
		for (let changed = true; changed; ) {
			changed = false;
			for (const pair of this.#linked) {
				const [from, to] = pair.map((group) => this.#groups.get(group.members.values().next().value!)!);
				if (from!.isUsed === to!.isUsed) continue;
				from!.isUsed = true;
				to!.isUsed = true;
				changed = true;
			}
		}
	}

	#collect(): GridPlan {
		const encodings = new Map<Group, Encoding>();
		const unknown: Value[] = [];
		for (const group of new Set(this.#groups.values())) {
			if (!group.isUsed) continue;
			const encoding = this.#encodingOf(group);
			if (encoding === undefined) unknown.push(...group.sources);
			else encodings.set(group, encoding);
		}
		const values: PlannedValue[] = [];
		const conversions: PlannedConversion[] = [];
		for (const [value, group] of this.#groups) {
			const encoding = encodings.get(group);
			if (encoding === undefined) continue;
			const isMade = value.producer !== undefined && isOnnxOp(value.producer, "DequantizeLinear");
			const wanted = value.uses.map((use) => ({ use, encoding: this.#wantedAt(use, encoding, encodings) }));
			const ofFloat = value.producer !== undefined && !this.#isOnGrid(value.producer);
			const taken = wanted.filter((want) => want.encoding !== undefined);
			const isComputed = value.producer !== undefined && !ofFloat && !isQuantized(value);
			if (!isMade && (taken.length > 0 || isComputed)) {
				const readers = ofFloat ? taken.map(({ use }) => use) : undefined;
				values.push({ value, encoding, readers });
			}
			const others = taken.filter((want) => !sameEncoding(want.encoding!, encoding));
			for (const each of distinct(others.map((want) => want.encoding!))) {
				const readers = others.filter((want) => sameEncoding(want.encoding!, each)).map(({ use }) => use);
				conversions.push({ value, encoding: each, readers });
			}
		}
		return { values, conversions, constants: this.#constants(encodings), unknown };
	}

	#isOnGrid(node: Node): boolean {
		return this.#isView(node) || this.#source.precisions.bitsOf(node) !== undefined;
	}

	/** The encoding in which a reader takes a value that is on the grid `own`; undefined: the reader stays on floats. */
	#wantedAt({ node, index }: Use, own: Encoding, encodings: ReadonlyMap<Group, Encoding>): Encoding | undefined {
		if (isOnnxOp(node, "QuantizeLinear")) return undefined;
		if (this.#isView(node)) {
			const [output] = movedOutputs(node);
			const group = output && this.#groups.get(output);
			const encoding = inputsOfOneGrid(node).includes(index) ? group && encodings.get(group) : undefined;
			// the kernel of Concat converts by itself, exactly as a pair in front of it would
			const isConverted = isOnnxOp(node, "Concat") && encoding?.dtype === own.dtype && group?.isSymmetric === false;
			return isConverted ? own : encoding;
		}
		const bits = this.#source.precisions.bitsOf(node);
		if (bits === undefined) return undefined;
		if (this.#source.narrow.some((use) => use.node === node && use.index === index)) {
			return own.dtype === DataType.UINT8 && own.zeroPoint === 128 ? own : symmetric(rangeOfEncoding(own));
		}
		return bitsOf(own) === bits ? own : coveringEncoding(typeFor(bits), rangeOfEncoding(own));
	}

	#encodingOf(group: Group): Encoding | undefined {
		if (group.fixed !== undefined) return group.fixed;
		const { ranges } = this.#source;
		const fromSources = [...group.sources].map((value) => ranges.of(value) ?? this.#rangeBehind(value));
		const known = fromSources.every((range) => range !== undefined) ? fromSources : undefined;
		const ofConstants = group.constants.flatMap(({ node, index }) => constantRange(node.inputs[index]) ?? []);
		const all = [...((known ?? []) as Interval[]), ...ofConstants];
		if (known === undefined || all.length === 0) return undefined;
		const interval = hull(...all);
		if (group.isSymmetric) return symmetric(interval);
		const dtype = typeFor(group.bits);
		const [source, ...more] = group.sources;
		const stated = more.length + ofConstants.length === 0 ? ranges.statedFor(source!) : undefined;
		return stated?.dtype === dtype ? stated : coveringEncoding(dtype, interval);
	}

	/** A view that starts a grid of its own has the range of what it is made of. */
	#rangeBehind(value: Value): Interval | undefined {
		const { producer } = value;
		if (producer === undefined || !this.#isView(producer)) return undefined;
		const inputs = inputsOfOneGrid(producer).flatMap((index) => {
			const input = producer.inputs[index];
			return input === undefined || isFloatConstant(input) ? [] : [this.#source.ranges.of(input)];
		});
		return inputs.every((range) => range !== undefined) ? hull(...(inputs as Interval[])) : undefined;
	}

	#constants(encodings: ReadonlyMap<Group, Encoding>): PlannedConstant[] {
		const planned: PlannedConstant[] = [];
		const add = (value: Value, encoding: Encoding, use: Use) => {
			const same = planned.find((other) => other.value === value && sameEncoding(other.encoding, encoding));
			if (same !== undefined) (same.readers as Use[]).push(use);
			else planned.push({ value, encoding, readers: [use] });
		};
		for (const [group, encoding] of encodings) {
			for (const use of group.constants) add(use.node.inputs[use.index]!, encoding, use);
		}
		for (const node of this.#orders.flat()) {
			const bits = this.#source.precisions.bitsOf(node);
			if (bits === undefined || this.#isView(node) || isOnnxOp(node, "QuantizeLinear", "DequantizeLinear")) continue;
			for (const [index, value] of node.inputs.entries()) {
				if (value === undefined || !this.#isOperand(node, index, value)) continue;
				const range = constantRange(value);
				if (range !== undefined) add(value, coveringEncoding(typeFor(bits), range), { node, index });
			}
		}
		return planned;
	}

	#isOperand(node: Node, index: number, value: Value): boolean {
		if (!isFloatConstant(value) || this.#source.untouched.has(value) || isParameter(node, index)) return false;
		if (isOnnxOp(node, "Conv", "ConvTranspose", "Gemm")) return false;
		return !isOnnxOp(node, "MatMul") || !weightInputs(node).includes(index);
	}
}

function isFloatConstant(value: Value | undefined): boolean {
	const constant = constantOf(value);
	return constant !== undefined && !constant.overridable && constant.tensor.dtype === DataType.FLOAT;
}

/** Do none but quantizers read it? */
function isQuantized({ uses, isGraphOutput }: Value): boolean {
	return !isGraphOutput && uses.every(({ node, index }) => index === 0 && isOnnxOp(node, "QuantizeLinear"));
}

/** Does the DequantizeLinear read stored codes? */
function isStored(node: Node): boolean {
	const codes = constantOf(node.inputs[0]);
	return codes !== undefined && !codes.overridable;
}

function sameFixed(a: Encoding | undefined, b: Encoding | undefined): boolean {
	return a === undefined || b === undefined ? a === b : sameEncoding(a, b);
}

function distinct(encodings: readonly Encoding[]): Encoding[] {
	return encodings.filter((each, index) => encodings.findIndex((other) => sameEncoding(other, each)) === index);
}

function bitsOf({ dtype }: Encoding): ActivationBits {
	return dtype === DataType.UINT8 || dtype === DataType.INT8 ? 8 : 16;
}

function typeFor(bits: ActivationBits): DataType {
	return bits === 8 ? DataType.UINT8 : DataType.UINT16;
}

function rangeOfEncoding({ scale, zeroPoint, min, max }: Encoding): Interval {
	return { lo: (min - zeroPoint) * scale, hi: (max - zeroPoint) * scale };
}

/** UINT8 with the zero point in the middle. */
function symmetric({ lo, hi }: Interval): Encoding {
	return encodingOf(DataType.UINT8, Math.max(-lo, hi, 2 ** -100) / 127, 128);
}
