import type { TypeTable } from "../../inference/index.js";
import type { Model } from "../../ir/model.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { nodesInOrder } from "../../ir/order.js";
import { DataType } from "../../ir/types.js";
import type { Use, Value } from "../../ir/value.js";
import { allGraphs } from "../../ir/walk.js";
import { hull, type Interval } from "../../quant/grid.js";
import { constantOf } from "../../weights/constant.js";
import { keepsWithin } from "./absorbed-clamps.js";
import { type ActivationRanges, constantRange, isFloat } from "./activation-ranges.js";
import { storedCodes } from "./existing-quantization.js";
import { constantType, inputsOfOneGrid, kernelEncoding, movedOutputs } from "./grid-operators.js";
import type { ActivationBits, OperatorPrecisions } from "./operator-precision.js";
import { coveringEncoding, type Encoding, encodingAt, sameEncoding } from "./qdq.js";

/** Values on one grid: a result, and what Reshape, Concat and their like make of it. */
export interface GridGroup {
	bits: ActivationBits;
	/** The type of codes as far below 0 as above it; undefined where they need not be. */
	symmetric: SymmetricType | undefined;
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

/** UINT8 with the zero point in the middle, or INT16 with 0. */
export type SymmetricType = typeof DataType.UINT8 | typeof DataType.INT16;

/** An input that is to have symmetric codes of a type. */
export interface SymmetricSide {
	readonly use: Use;
	readonly dtype: SymmetricType;
}

/** What grids are chosen by. */
export interface GridSource {
	readonly model: Model;
	readonly types: TypeTable;
	readonly ranges: ActivationRanges;
	readonly precisions: OperatorPrecisions;
	/** Values inside of what is computed as one: the product in front of its bias. */
	readonly inner: ReadonlySet<Value>;
	/** Values that keep within limits by nothing but their codes. */
	readonly limits: ReadonlyMap<Value, Interval>;
	/** The right sides of products that are to be symmetric. */
	readonly sides: readonly SymmetricSide[];
}

/** Which float values of a model share a grid. */
export class GridGroups {
	readonly #source: GridSource;
	readonly #groups: Map<Value, GridGroup> = new Map();
	readonly #symmetric: Map<Value, SymmetricType> = new Map();
	/** Groups with a view between them. */
	readonly #linked: (readonly [GridGroup, GridGroup])[] = [];

	constructor(source: GridSource) {
		this.#source = source;
		for (const { use, dtype } of source.sides) this.#makeSymmetric(use.node.inputs[use.index], dtype);
		const graphs = [...allGraphs(source.model)].map(({ graph }) => graph);
		for (const { inputs } of graphs) for (const input of inputs) if (this.#isActivation(input)) this.#start(input);
		const nodes = graphs.flatMap(nodesInOrder);
		for (const node of nodes) this.#join(node);
		for (const node of nodes) this.#markUse(node);
		this.#spreadUse();
	}

	/** Every value that could be quantized, with its group. */
	get values(): ReadonlyMap<Value, GridGroup> {
		return this.#groups;
	}

	of(value: Value): GridGroup | undefined {
		return this.#groups.get(value);
	}

	/** Does `node` keep the grid of what it reads? */
	isView(node: Node): boolean {
		return inputsOfOneGrid(node).length > 0 && !this.#source.precisions.isFloatByChoice(node);
	}

	/** Marks `value` and what it is a view of, up to where others read it, too, or another part of it. */
	#makeSymmetric(value: Value | undefined, dtype: SymmetricType): void {
		if (value === undefined || value.uses.length > 1 || (value.isGraphOutput && !isCache(value))) return;
		if (value.producer === undefined) {
			if (this.#isActivation(value)) this.#symmetric.set(value, dtype);
			return;
		}
		if (inputsOfOneGrid(value.producer).length === 0 || movedOutputs(value.producer).length > 1) return;
		this.#symmetric.set(value, dtype);
		for (const index of inputsOfOneGrid(value.producer)) this.#makeSymmetric(value.producer.inputs[index], dtype);
	}

	#isActivation(value: Value): boolean {
		const { types, inner } = this.#source;
		return value.name !== "" && isFloat(value, types) && constantOf(value) === undefined && !inner.has(value);
	}

	#start(value: Value, bits = this.#bitsFor(value), fixed?: Encoding): GridGroup {
		const group: GridGroup = {
			bits,
			fixed,
			symmetric: this.#symmetric.get(value),
			sources: new Set([value]),
			members: new Set([value]),
			constants: [],
			limits: [this.#source.limits.get(value) ?? []].flat(),
			isUsed: false,
		};
		if (group.symmetric !== undefined) group.bits = group.symmetric === DataType.UINT8 ? 8 : 16;
		this.#groups.set(value, group);
		return group;
	}

	/** As its maker computes on; else what most of its readers want. */
	#bitsFor(value: Value): ActivationBits {
		const { precisions } = this.#source;
		const { producer } = value;
		const made = producer === undefined || this.isView(producer) ? undefined : precisions.bitsOf(producer);
		if (made !== undefined) return made;
		const read = value.uses.flatMap(({ node }) => (this.isView(node) ? [] : (precisions.bitsOf(node) ?? [])));
		return read.length === 0 ? precisions.defaultBits : (Math.max(...read) as ActivationBits);
	}

	#join(node: Node): void {
		if (isOnnxOp(node, "QuantizeLinear", "Constant")) return;
		if (isOnnxOp(node, "DequantizeLinear")) {
			this.#takeExisting(node);
			return;
		}
		if (!this.isView(node)) {
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
		if (encoding === undefined || encoding.dtype === DataType.INT32 || !this.#isActivation(output)) return;
		if (storedCodes(node) !== undefined && !output.uses.every(isOperand)) return;
		this.#start(output, bitsOf(encoding), encoding);
	}

	/** Puts `output` on the grid of what it is made of, where that is one. */
	#joinView(node: Node, output: Value): void {
		const inputs = inputsOfOneGrid(node).flatMap((index) => node.inputs[index] ?? []);
		const constants = inputsOfOneGrid(node).filter((index) => isFloatConstant(node.inputs[index]));
		const groups = new Set(inputs.flatMap((input) => this.#groups.get(input) ?? []));
		const [first, ...others] = groups;
		const symmetric = this.#symmetric.get(output);
		const fits = [...groups].every(
			(group) => group.bits === first!.bits && sameFixed(group.fixed, first!.fixed) && isAs(group, symmetric),
		);
		const isFree = constants.length === 0 || first?.fixed === undefined;
		let target: GridGroup;
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
	#keepLimits(groups: readonly GridGroup[], constants: readonly number[], node: Node): boolean {
		const limits = groups.flatMap((group) => group.limits);
		if (limits.length === 0 || groups.length + constants.length === 1) return true;
		const { ranges } = this.#source;
		const sources = groups.flatMap((group) => [...group.sources].map((value) => ranges.of(value)));
		const all = [...sources, ...constants.map((index) => constantRange(node.inputs[index]))];
		if (!all.every((range) => range !== undefined)) return false;
		const encoding = coveringEncoding(typeFor(groups[0]!.bits), hull(...(all as Interval[])));
		return limits.every((each) => keepsWithin(encoding, each));
	}

	#merge(from: GridGroup, to: GridGroup): void {
		for (const member of from.members) {
			to.members.add(member);
			this.#groups.set(member, to);
		}
		for (const source of from.sources) to.sources.add(source);
		to.constants.push(...from.constants);
		to.limits.push(...from.limits);
	}

	#markUse(node: Node): void {
		if (this.isView(node) || this.#source.precisions.bitsOf(node) === undefined) return;
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
}

/** Is it a FLOAT constant that nobody may replace? */
export function isFloatConstant(value: Value | undefined): boolean {
	const constant = constantOf(value);
	return constant !== undefined && !constant.overridable && constant.tensor.dtype === DataType.FLOAT;
}

/** Is it what comes out of a cache of keys or values: what came in, with more behind it? */
function isCache({ producer }: Value): boolean {
	return producer !== undefined && isOnnxOp(producer, "Concat") && producer.inputs.some((input) => input?.isGraphInput);
}

/** Is it read as a tensor to compute on, not as a weight or a parameter? */
function isOperand({ node, index }: Use): boolean {
	return constantType(node, index, 16) === DataType.UINT16 && !isOnnxOp(node, "LayerNormalization", "RMSNormalization");
}

/** Are the codes of a group symmetric where they are to be, by choice or because the model has them so? */
function isAs({ symmetric, fixed }: GridGroup, wanted: SymmetricType | undefined): boolean {
	return symmetric === wanted || (wanted !== undefined && fixed !== undefined && isSymmetric(fixed, wanted));
}

/** Has an encoding codes of the type, 0 in their middle? */
export function isSymmetric({ dtype, zeroPoint }: Encoding, wanted: SymmetricType): boolean {
	return dtype === wanted && zeroPoint === middleOf(wanted);
}

/** The code of 0. */
export function middleOf(dtype: SymmetricType): number {
	return dtype === DataType.UINT8 ? 128 : 0;
}

function sameFixed(a: Encoding | undefined, b: Encoding | undefined): boolean {
	return a === undefined || b === undefined ? a === b : sameEncoding(a, b);
}

export function bitsOf({ dtype }: Encoding): ActivationBits {
	return dtype === DataType.UINT8 || dtype === DataType.INT8 ? 8 : 16;
}

export function typeFor(bits: ActivationBits): DataType {
	return bits === 8 ? DataType.UINT8 : DataType.UINT16;
}
