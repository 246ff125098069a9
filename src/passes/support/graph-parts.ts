import { QGraphError } from "../../diagnostics.js";
import { inferTypes, type TypeTable } from "../../inference/index.js";
import { subgraphsOf } from "../../ir/attribute.js";
import type { Graph } from "../../ir/graph.js";
import type { Model } from "../../ir/model.js";
import { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { elementTypeOf } from "./fusion.js";
import { pruneTo } from "./prune.js";

/** What a part of a graph takes from the parts before it, and what it gives, by name. */
export interface GraphPart {
	readonly inputs: readonly string[];
	readonly outputs: readonly string[];
}

/**
 * Keeps the part of the main graph that computes `outputs` of `inputs` and of what are inputs already. Weights stay with the
 * operators that read them. Throws `split/unknown-value` for names that the graph has not, and `split/unknown-type` where
 * the type of a new input or output cannot be told.
 */
export function keepPart(model: Model, { inputs, outputs }: GraphPart): void {
	const { graph } = model;
	const [types, names] = [inferTypes(model), new NameScope(model)];
	const found = new Map(Array.from(valuesOf(graph), (value) => [value.name, value] as const));
	const [starts, ends] = [inputs, outputs].map((wanted) => wanted.map((name) => found.get(name) ?? unknownValue(name)));
	for (const value of [...starts!, ...ends!]) {
		value.type ??= types.typeOf(value);
		if (value.type !== undefined) continue;
		const message = `the type of '${value.name}' cannot be told, which an input or output has to state`;
		throw new QGraphError("split/unknown-type", message, { value: value.name });
	}
	const made: Value[] = [];
	for (const value of starts!) {
		if (value.isGraphInput) continue;
		const { name, type } = value;
		value.name = names.fresh(`${name}_inside`);
		const input = graph.createValue(name, type);
		value.replaceUsesWith(input);
		made.push(input);
	}
	for (const input of made) graph.addInput(input);
	pruneTo(
		graph,
		ends!.map((value) => made.find(({ name }) => name === value.name) ?? value),
	);
}

function unknownValue(name: string): never {
	throw new QGraphError("split/unknown-value", `the graph has no value '${name}' to be cut at`, { value: name });
}

/**
 * Cuts the main graph into `count` parts, one behind the other, with about as many bytes of weights: where the fewest values
 * go over, codes sooner than floats. Throws `split/parts` where there are not so many places.
 */
export function partsOf(model: Model, count: number): GraphPart[] {
	const { graph } = model;
	const line = new WorkLine(graph);
	return partsAt(graph, line, line.cuts(count, inferTypes(model)));
}

/**
 * Cuts the main graph into parts, one behind the other, whose operators read no more than `bytes` of weights, unless one alone
 * reads more: as few as there can be about, and where the fewest values go over.
 */
export function partsWithin({ graph }: Model, bytes: number): GraphPart[] {
	const line = new WorkLine(graph);
	return partsAt(graph, line, line.cutsWithin(bytes));
}

/** The parts of a graph that is cut in front of some operators. */
function partsAt(graph: Graph, line: WorkLine, cuts: readonly number[]): GraphPart[] {
	const ends = [...cuts, line.length];
	return ends.map((end, part) => {
		const start = part === 0 ? 0 : ends[part - 1]!;
		const inputs = line.crossing(start);
		const given = [...ends.slice(part, -1).flatMap((cut) => line.crossing(cut))].filter((value) =>
			line.isMadeWithin(value, start, end),
		);
		const own = graph.outputs.filter((value) => line.isMadeWithin(value, start, end));
		return {
			inputs: inputs.map(({ name }) => name),
			outputs: [...new Set([...given, ...own].map(({ name }) => name))],
		};
	});
}

/**
 * The operators that depend on inputs, in their order; those on constants alone, and what dequantizes an input, go with who
 * reads them: every part takes the codes.
 */
class WorkLine {
	readonly #madeAt = new Map<Value, number>();
	readonly #readUntil = new Map<Value, number>();
	/** Bytes of constants that the operators up to each one read. */
	readonly #bytes: number[] = [0];

	constructor(graph: Graph) {
		const constantBytes = new Map<Value, number>();
		for (const value of graph.initializers) {
			if (!value.isGraphInput) constantBytes.set(value, value.initializer!.data.byteLength);
		}
		for (const node of graph.nodes) {
			const read = [...readsOf(node)];
			const constants = read.filter((value) => constantBytes.has(value));
			const bytes = constants.reduce((sum, value) => sum + constantBytes.get(value)!, 0);
			if (constants.length === read.length) {
				for (const output of node.outputs) constantBytes.set(output, bytes);
				continue;
			}
			if (isOnnxOp(node, "DequantizeLinear") && node.inputs[0]!.isGraphInput) continue;
			const at = this.length;
			for (const value of read) if (this.#madeAt.has(value)) this.#readUntil.set(value, at);
			for (const output of node.outputs) this.#madeAt.set(output, at);
			this.#bytes.push(this.#bytes.at(-1)! + bytes);
		}
	}

	get length(): number {
		return this.#bytes.length - 1;
	}

	/** Values that are made before operator `at` and read by it or later. */
	crossing(at: number): Value[] {
		return [...this.#readUntil]
			.filter(([value, last]) => this.#madeAt.get(value)! < at && last >= at)
			.map(([value]) => value);
	}

	isMadeWithin(value: Value, start: number, end: number): boolean {
		const at = this.#madeAt.get(value);
		return at !== undefined && at >= start && at < end;
	}

	cuts(parts: number, types: TypeTable): number[] {
		const counts = this.#counts();
		const whole = this.#bytes.at(-1)!;
		const cuts: number[] = [];
		for (let part = 1; part < parts; part++) {
			const target = (whole * part) / parts;
			const near: number[] = [];
			for (let at = (cuts.at(-1) ?? 0) + 1; at < this.length; at++) {
				if (Math.abs(this.#bytes[at]! - target) <= whole / parts / 2) near.push(at);
			}
			const fewest = Math.min(...near.map((at) => counts[at]!));
			const best = near.filter((at) => counts[at] === fewest);
			const ofCodes = best.filter((at) => this.crossing(at).every((value) => isCode(value, types)));
			const places = ofCodes.length > 0 ? ofCodes : best;
			const nearest = places.reduce<number | undefined>((kept, at) => {
				const distance = (place: number) => Math.abs(this.#bytes[place]! - target);
				return kept === undefined || distance(at) < distance(kept) ? at : kept;
			}, undefined);
			if (nearest === undefined) {
				throw new QGraphError("split/parts", `the graph cannot be cut into ${parts} parts, only into ${part}`);
			}
			cuts.push(nearest);
		}
		return cuts;
	}

	/** Where parts begin that read no more than `bytes` of constants, unless one operator alone reads more; the first is left out. */
	cutsWithin(bytes: number): number[] {
		const counts = this.#counts();
		const read = (start: number, end: number) => this.#bytes[end]! - this.#bytes[start]!;
		const cuts: number[] = [];
		for (let start = 0; read(start, this.length) > bytes; start = cuts.at(-1)!) {
			let best = start + 1;
			for (let at = start + 1; at < this.length && read(start, at) <= bytes; at++) {
				// a cut in the first half would make more parts than there need be
				if (2 * read(start, best) < bytes || counts[at]! <= counts[best]!) best = at;
			}
			if (best === this.length) break;
			cuts.push(best);
		}
		return cuts;
	}

	/** How many values go over in front of each operator. */
	#counts(): number[] {
		const changes = new Array<number>(this.length + 1).fill(0);
		for (const [value, last] of this.#readUntil) {
			changes[this.#madeAt.get(value)! + 1]! += 1;
			changes[last + 1]! -= 1;
		}
		let sum = 0;
		return changes.map((change) => (sum += change));
	}
}

function isCode(value: Value, types: TypeTable): boolean {
	const dtype = elementTypeOf(value, types);
	return value.producer !== undefined && isOnnxOp(value.producer, "QuantizeLinear") && dtype !== DataType.FLOAT;
}

/** What a node reads, and what its subgraphs read of the graph around them. */
function* readsOf(node: Node): Generator<Value> {
	for (const input of node.inputs) if (input !== undefined) yield input;
	for (const [, graph] of subgraphsOf(node)) {
		for (const inner of graph.nodes) yield* readsOf(inner);
		yield* graph.outputs;
	}
}

function* valuesOf(graph: Graph): Generator<Value> {
	yield* graph.inputs;
	for (const node of graph.nodes) yield* node.outputs;
}
