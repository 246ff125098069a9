import { type Attribute, intAttribute, subgraphsOf } from "../ir/attribute.js";
import type { Graph } from "../ir/graph.js";
import type { Model } from "../ir/model.js";
import type { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { floatTensor, int64Tensor, type Tensor } from "../ir/tensor.js";
import { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { MASK_MAGNITUDE } from "../quant/clipped-range.js";
import { addConstant } from "../weights/constant.js";
import type { Body } from "./body-values.js";
import type { Watched } from "./instruments.js";
import { reductionAxes } from "./reduction.js";

/** What stands for an end of a range where nothing was seen: larger than any other. */
const NOTHING = 3.4e38;

/** Attributes of Scan that say something of each output of its body, the rest being 0. */
const PER_OUTPUT = ["scan_output_axes", "scan_output_directions"];

/** What was seen inside of bodies, as one value of the main graph. */
export interface BodySummary {
	/** FLOAT with one axis: of each value the smallest element and the largest one times -1; see {@link bodyRange}. */
	readonly vector: Value;
	/** Of the values, in their order. */
	readonly names: readonly string[];
	remove(): void;
}

/**
 * Adds to bodies of control flow outputs that say how far values reach there, over all runs of the body. Elements that are
 * masks, infinite or no numbers do not count. undefined where no body has values.
 */
export function instrumentBodies(model: Model, bodies: readonly Body[], names: NameScope): BodySummary | undefined {
	const builder = new BodyBuilder(model, bodies, names);
	const summary = builder.summary(model.graph);
	return summary && { ...summary, remove: () => builder.remove() };
}

/** What an entry of a summary stands for; undefined where the value had no elements. */
export function bodyRange(least: number, negatedMost: number): readonly [min: number, max: number] | undefined {
	return least >= Math.fround(NOTHING) ? undefined : [least, -negatedMost];
}

interface Summary {
	readonly vector: Value;
	readonly names: readonly string[];
}

class BodyBuilder {
	readonly #model: Model;
	readonly #bodies: ReadonlyMap<Graph, Body>;
	readonly #names: NameScope;
	readonly #undo: (() => void)[] = [];
	readonly #constants: Map<string, Value> = new Map();

	constructor(model: Model, bodies: readonly Body[], names: NameScope) {
		this.#model = model;
		this.#bodies = new Map(bodies.map((body) => [body.graph, body] as const));
		this.#names = names;
	}

	/** Of the values of `graph`, where it is a body, and of all bodies in it. */
	summary(graph: Graph): Summary | undefined {
		const own = this.#bodies.get(graph)?.values ?? [];
		const nodes = [...graph.nodes];
		const parts = own.flatMap((watched) => this.#ends(graph, watched));
		const names = own.map(({ value }) => value.name);
		for (const node of nodes) {
			if (!isOnnxOp(node, "If", "Loop", "Scan")) continue;
			for (const [, body] of [...subgraphsOf(node)]) {
				const inner = this.summary(body);
				if (inner === undefined) continue;
				parts.push(this.#handOut(node, body, inner));
				names.push(...inner.names);
			}
		}
		return parts.length === 0 ? undefined : { vector: this.#joined(graph, parts), names };
	}

	remove(): void {
		for (const undo of this.#undo.reverse()) undo();
	}

	/** The smallest element of a value, and the largest one times -1. */
	#ends(graph: Graph, { value, dtype }: Watched): Value[] {
		const cast = dtype === DataType.FLOAT ? value : this.#add(graph, "Cast", [value], { to: intAttribute(1) });
		const flat = this.#add(graph, "Reshape", [cast, this.#integers([-1])]);
		const isPlain = this.#add(graph, "And", [
			this.#add(graph, "Greater", [flat, this.#floats([-MASK_MAGNITUDE])]),
			this.#add(graph, "Less", [flat, this.#floats([NOTHING])]),
		]);
		const nothing = this.#floats([NOTHING]);
		return [flat, this.#add(graph, "Neg", [flat])].map((elements) => {
			const plain = this.#add(graph, "Where", [isPlain, elements, nothing]);
			// nothing is the smallest of no elements
			return this.#add(graph, "ReduceMin", [this.#joined(graph, [plain, nothing])], { keepdims: intAttribute(1) });
		});
	}

	/** Makes what a body saw an output of its node. Returns what it is over all runs, in the node's graph. */
	#handOut(node: Node, body: Graph, { vector, names }: Summary): Value {
		const graph = node.graph!;
		const nothing = this.#floats(Array<number>(2 * names.length).fill(NOTHING));
		for (const [, other] of subgraphsOf(node)) {
			const output = other === body ? vector : this.#add(other, "Identity", [nothing]);
			other.addOutput(output);
			this.#undo.push(() => other.removeOutput(output));
		}
		const output = graph.createValue(this.#names.fresh("qgraph_body"));
		node.addOutput(output);
		this.#undo.push(() => node.removeOutput(output));
		if (isOnnxOp(node, "If")) return output;
		this.#addScanOutput(node);
		const runs = this.#add(graph, "Reshape", [output, this.#integers([-1])]);
		const rows = this.#add(graph, "Reshape", [
			this.#joined(graph, [nothing, runs]),
			this.#integers([-1, 2 * names.length]),
		]);
		const { input, attributes } = reductionAxes(this.#model, "ReduceMin", [0]);
		const inputs = input === undefined ? [rows] : [rows, this.#integers(input)];
		return this.#add(graph, "ReduceMin", inputs, { ...attributes, keepdims: intAttribute(0) });
	}

	/** Says of one more output of a Scan's body what it says of others. */
	#addScanOutput(node: Node): void {
		for (const name of PER_OUTPUT) {
			const before = node.attributes.get(name);
			if (before?.kind !== "ints") continue;
			node.attributes.set(name, { ...before, value: [...before.value, 0n] });
			this.#undo.push(() => node.attributes.set(name, before));
		}
	}

	#joined(graph: Graph, values: readonly Value[]): Value {
		return values.length === 1 ? values[0]! : this.#add(graph, "Concat", values, { axis: intAttribute(0) });
	}

	#add(graph: Graph, op: string, inputs: readonly Value[], attributes: Record<string, Attribute> = {}): Value {
		const output = graph.createValue(this.#names.fresh(`qgraph_${op}`));
		const node = graph.createNode({ op, inputs, outputs: [output], attributes });
		this.#undo.push(() => node.remove());
		return output;
	}

	#floats(values: readonly number[]): Value {
		return this.#constant(`floats ${values.join()}`, floatTensor([values.length], values));
	}

	#integers(values: readonly number[]): Value {
		return this.#constant(`integers ${values.join()}`, int64Tensor([values.length], values));
	}

	/** A constant of the main graph, which all graphs can read. */
	#constant(key: string, tensor: Tensor): Value {
		const known = this.#constants.get(key);
		if (known !== undefined) return known;
		const { graph } = this.#model;
		const value = addConstant(graph, this.#names.fresh("qgraph_constant"), tensor, undefined);
		this.#undo.push(() => graph.removeInitializer(value));
		this.#constants.set(key, value);
		return value;
	}
}
