import { isOnnxOp, type Node } from "../../ir/node.js";
import { nodesInOrder } from "../../ir/order.js";
import { DataType } from "../../ir/types.js";
import type { Use, Value } from "../../ir/value.js";
import { allGraphs } from "../../ir/walk.js";
import { hull, type Interval, intervalOf } from "../../quant/grid.js";
import { constantRange } from "./activation-ranges.js";
import {
	bitsOf,
	type GridGroup,
	GridGroups,
	type GridSource,
	isFloatConstant,
	isSymmetric,
	middleOf,
	type SymmetricType,
	typeFor,
} from "./grid-groups.js";
import { constantType, inputsOfOneGrid, movedOutputs } from "./grid-operators.js";
import { codeRange, coveringEncoding, type Encoding, encodingOf, sameEncoding } from "./qdq.js";

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

/** What is to be left out of the plan. */
export interface PlanSource extends GridSource {
	/** Inputs that stay as they are: a bias that the target adds to a product at once. */
	readonly untouched: ReadonlySet<Value>;
}

/** Decides which values are on which grid, without changing anything. */
export function planGrids(source: PlanSource): GridPlan {
	return new Planner(source).plan();
}

class Planner {
	readonly #source: PlanSource;
	readonly #groups: GridGroups;

	constructor(source: PlanSource) {
		this.#source = source;
		this.#groups = new GridGroups(source);
	}

	plan(): GridPlan {
		const encodings = new Map<GridGroup, Encoding>();
		const unknown: Value[] = [];
		for (const group of new Set(this.#groups.values.values())) {
			if (!group.isUsed) continue;
			const encoding = this.#encodingOf(group);
			if (encoding === undefined) unknown.push(...[...group.sources].filter((value) => !isQuantized(value)));
			else encodings.set(group, encoding);
		}
		const values: PlannedValue[] = [];
		const conversions: PlannedConversion[] = [];
		for (const [value, group] of this.#groups.values) {
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
		return this.#groups.isView(node) || this.#source.precisions.bitsOf(node) !== undefined;
	}

	/** The encoding in which a reader takes a value that is on the grid `own`; undefined: the reader stays on floats. */
	#wantedAt({ node, index }: Use, own: Encoding, encodings: ReadonlyMap<GridGroup, Encoding>): Encoding | undefined {
		if (isOnnxOp(node, "QuantizeLinear")) return undefined;
		if (this.#groups.isView(node)) {
			const [output] = movedOutputs(node);
			const group = output && this.#groups.of(output);
			const encoding = inputsOfOneGrid(node).includes(index) ? group && encodings.get(group) : undefined;
			// the kernel of Concat converts by itself, exactly as a pair in front of it would
			const isConverted = isOnnxOp(node, "Concat") && encoding?.dtype === own.dtype && group?.symmetric === undefined;
			return isConverted ? own : encoding;
		}
		const bits = this.#source.precisions.bitsOf(node);
		if (bits === undefined) return undefined;
		const side = this.#source.sides.find(({ use }) => use.node === node && use.index === index);
		if (side !== undefined) return isSymmetric(own, side.dtype) ? own : symmetric(intervalOf(own), side.dtype);
		return bitsOf(own) === bits ? own : coveringEncoding(typeFor(bits), intervalOf(own));
	}

	#encodingOf(group: GridGroup): Encoding | undefined {
		if (group.fixed !== undefined) return group.fixed;
		const { ranges } = this.#source;
		const fromSources = [...group.sources].map((value) => ranges.of(value) ?? this.#rangeBehind(value));
		const known = fromSources.every((range) => range !== undefined) ? fromSources : undefined;
		const ofConstants = group.constants.flatMap(({ node, index }) => constantRange(node.inputs[index]) ?? []);
		const all = [...((known ?? []) as Interval[]), ...ofConstants];
		if (known === undefined || all.length === 0) return undefined;
		const interval = hull(...all);
		if (group.symmetric !== undefined) return symmetric(interval, group.symmetric);
		const dtype = typeFor(group.bits);
		const [source, ...more] = group.sources;
		const stated = more.length + ofConstants.length === 0 ? ranges.statedFor(source!) : undefined;
		return stated?.dtype === dtype ? stated : coveringEncoding(dtype, interval);
	}

	/** A view that starts a grid of its own has the range of what it is made of. */
	#rangeBehind(value: Value): Interval | undefined {
		const { producer } = value;
		if (producer === undefined || !this.#groups.isView(producer)) return undefined;
		const inputs = inputsOfOneGrid(producer).flatMap((index) => {
			const input = producer.inputs[index];
			return input === undefined || isFloatConstant(input) ? [] : [this.#source.ranges.of(input)];
		});
		return inputs.every((range) => range !== undefined) ? hull(...(inputs as Interval[])) : undefined;
	}

	/** Nothing but 0, which every grid has, is on that of the result: sums of steps that differ too much are wrong. */
	#besideResult({ outputs }: Node, dtype: DataType, encodings: ReadonlyMap<GridGroup, Encoding>): Encoding | undefined {
		const group = outputs[0] && this.#groups.of(outputs[0]);
		const encoding = group && encodings.get(group);
		return encoding?.dtype === dtype ? encoding : undefined;
	}

	#constants(encodings: ReadonlyMap<GridGroup, Encoding>): PlannedConstant[] {
		const planned: PlannedConstant[] = [];
		const add = (value: Value, encoding: Encoding, use: Use) => {
			const same = planned.find((other) => other.value === value && sameEncoding(other.encoding, encoding));
			if (same !== undefined) (same.readers as Use[]).push(use);
			else planned.push({ value, encoding, readers: [use] });
		};
		for (const [group, encoding] of encodings) {
			for (const use of group.constants) add(use.node.inputs[use.index]!, encoding, use);
		}
		for (const node of [...allGraphs(this.#source.model)].flatMap(({ graph }) => nodesInOrder(graph))) {
			const bits = this.#source.precisions.bitsOf(node);
			if (bits === undefined || this.#groups.isView(node) || isOnnxOp(node, "QuantizeLinear", "DequantizeLinear"))
				continue;
			for (const [index, value] of node.inputs.entries()) {
				if (value === undefined || !isFloatConstant(value) || this.#source.untouched.has(value)) continue;
				const dtype = constantType(node, index, bits);
				const range = dtype === undefined ? undefined : constantRange(value);
				if (range === undefined) continue;
				const encoding = range.lo === 0 && range.hi === 0 ? this.#besideResult(node, dtype!, encodings) : undefined;
				add(value, encoding ?? constantEncoding(dtype!, range), { node, index });
			}
		}
		return planned;
	}
}

/** INT32 codes, which biases have, leave room for sums. */
function constantEncoding(dtype: DataType, range: Interval): Encoding {
	if (dtype !== DataType.INT32) return coveringEncoding(dtype, range);
	return encodingOf(dtype, Math.max(-range.lo, range.hi, 2 ** -100) / 2 ** 20, 0);
}

/** Do none but quantizers read it? */
function isQuantized({ uses, isGraphOutput }: Value): boolean {
	return !isGraphOutput && uses.every(({ node, index }) => index === 0 && isOnnxOp(node, "QuantizeLinear"));
}

function distinct(encodings: readonly Encoding[]): Encoding[] {
	return encodings.filter((each, index) => encodings.findIndex((other) => sameEncoding(other, each)) === index);
}

function symmetric({ lo, hi }: Interval, dtype: SymmetricType): Encoding {
	const { max } = codeRange(dtype);
	const middle = middleOf(dtype);
	return encodingOf(dtype, Math.max(-lo, hi, 2 ** -100) / (max - middle), middle);
}
