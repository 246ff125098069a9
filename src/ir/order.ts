import { QGraphError } from "../diagnostics.js";
import { subgraphsOf } from "./attribute.js";
import type { Graph } from "./graph.js";
import type { Model } from "./model.js";
import type { Node } from "./node.js";
import type { Value } from "./value.js";
import { allGraphs, nodeLabel } from "./walk.js";

/** Nodes of a cycle that a message names. */
const MAX_NAMED_NODES = 10;

/**
 * Sorts every graph of `model` as {@link sortNodes} does; returns whether any changed. Throws `graph/cycle`.
 */
export function sortModel(model: Model): boolean {
	let changed = false;
	for (const { graph, path } of [...allGraphs(model)]) if (sortNodes(graph, path)) changed = true;
	return changed;
}

/**
 * Puts the nodes of `graph` (not those of its subgraphs) in an order in which every value is produced before a node, or
 * anything in that node's subgraphs, reads it. Of the nodes that may come next, the one that stands first comes first
 * (Kahn's algorithm with a priority queue), so that a sorted graph stays as it is. Returns whether the order changed.
 * Throws `graph/cycle` where there is no such order, and then changes nothing; `path` names the graph in the error.
 */
export function sortNodes(graph: Graph, path: string = graph.name): boolean {
	const dependencies = dependenciesOf(graph);
	if (holds(dependencies)) return false;
	const { nodes } = dependencies;
	const order = kahnOrder(dependencies);
	if (order.length < nodes.length) {
		const cycle = cycleOutside(order, dependencies);
		throw new QGraphError(
			"graph/cycle",
			`graph '${path}' has a cycle, ${describeCycle(cycle)}; expected that no node needs its own result: break the cycle`,
			{ graph: path, node: nodeLabel(cycle[0]!) },
		);
	}
	graph.nodes._reorder(order.map((index) => nodes[index]!));
	return true;
}

/** Does every node of `graph` stand behind the producers of all that it and its subgraphs read? */
export function isSorted(graph: Graph): boolean {
	return holds(dependenciesOf(graph));
}

/** The nodes of `graph` in the order that {@link sortNodes} would give them; those on cycles, and behind them, are missing. */
export function nodesInOrder(graph: Graph): readonly Node[] {
	const dependencies = dependenciesOf(graph);
	if (holds(dependencies)) return dependencies.nodes;
	return kahnOrder(dependencies).map((index) => dependencies.nodes[index]!);
}

/** The nodes of one cycle of `graph`, each producing what the next one reads; undefined where there is none. */
export function findCycle(graph: Graph): readonly Node[] | undefined {
	const dependencies = dependenciesOf(graph);
	if (holds(dependencies)) return undefined;
	const order = kahnOrder(dependencies);
	return order.length < dependencies.nodes.length ? cycleOutside(order, dependencies) : undefined;
}

/** `'A' -> 'B' -> 'A'`, shortened where the cycle is long. */
export function describeCycle(cycle: readonly Node[]): string {
	const names = cycle.slice(0, MAX_NAMED_NODES).map((node) => `'${nodeLabel(node)}'`);
	if (cycle.length > MAX_NAMED_NODES) names.push(`${cycle.length - MAX_NAMED_NODES} more nodes`);
	return [...names, names[0]].join(" -> ");
}

/**
 * Every value that `node` needs from around it: its inputs, and what its subgraphs read or return but do not define, at
 * any depth. A value comes as often as it is read.
 */
export function* valuesReadBy(node: Node): Generator<Value> {
	for (const value of node.inputs) if (value !== undefined) yield value;
	const pending = Array.from(subgraphsOf(node), ([, graph]) => graph);
	if (pending.length === 0) return;
	const inner = new Set<Graph>();
	for (let graph = pending.pop(); graph !== undefined; graph = pending.pop()) {
		inner.add(graph);
		for (const user of graph.nodes) {
			for (const value of user.inputs) if (value !== undefined && !inner.has(value.graph)) yield value;
			for (const [, subgraph] of subgraphsOf(user)) pending.push(subgraph);
		}
		for (const value of graph.outputs) if (!inner.has(value.graph)) yield value;
	}
}

/** Edge e says that node `from[e]` must stand in front of node `to[e]`; numbers are positions in `nodes`. */
interface Dependencies {
	readonly nodes: readonly Node[];
	readonly from: readonly number[];
	readonly to: readonly number[];
}

function dependenciesOf(graph: Graph): Dependencies {
	const nodes = [...graph.nodes];
	const positions = new Map(nodes.map((node, index) => [node, index]));
	const from: number[] = [];
	const to: number[] = [];
	for (const [index, node] of nodes.entries()) {
		for (const value of valuesReadBy(node)) {
			const producer = value.producer && positions.get(value.producer);
			if (producer === undefined) continue;
			from.push(producer);
			to.push(index);
		}
	}
	return { nodes, from, to };
}

function holds({ from, to }: Dependencies): boolean {
	return from.every((producer, edge) => producer < to[edge]!);
}

/** Positions of the nodes in sorted order; those on cycles and behind them are missing. */
function kahnOrder({ nodes, from, to }: Dependencies): number[] {
	const waitsFor = new Int32Array(nodes.length);
	const firstEdge = new Int32Array(nodes.length).fill(-1);
	const nextEdge = new Int32Array(from.length);
	for (const [edge, producer] of from.entries()) {
		waitsFor[to[edge]!]!++;
		nextEdge[edge] = firstEdge[producer]!;
		firstEdge[producer] = edge;
	}
	const ready = new MinHeap();
	for (const [index, count] of waitsFor.entries()) if (count === 0) ready.push(index);
	const order: number[] = [];
	for (let index = ready.pop(); index !== undefined; index = ready.pop()) {
		order.push(index);
		for (let edge = firstEdge[index]!; edge >= 0; edge = nextEdge[edge]!) {
			const user = to[edge]!;
			waitsFor[user]!--;
			if (waitsFor[user] === 0) ready.push(user);
		}
	}
	return order;
}

/** A cycle among the nodes that `order` leaves out: each of them waits for another one, so walking back must close one. */
function cycleOutside(order: readonly number[], { nodes, from, to }: Dependencies): readonly Node[] {
	const ordered = new Set(order);
	const producerOf = new Map<number, number>();
	for (const [edge, producer] of from.entries()) if (!ordered.has(producer)) producerOf.set(to[edge]!, producer);
	const seenAt = new Map<number, number>();
	const walk: number[] = [];
	let at = nodes.findIndex((_, index) => !ordered.has(index));
	while (!seenAt.has(at)) {
		seenAt.set(at, walk.length);
		walk.push(at);
		at = producerOf.get(at)!;
	}
	const backwards = walk.slice(seenAt.get(at));
	return [backwards[0]!, ...backwards.slice(1).reverse()].map((index) => nodes[index]!);
}

/** A priority queue of numbers, the smallest first. */
class MinHeap {
	readonly #items: number[] = [];

	push(item: number): void {
		const items = this.#items;
		let at = items.length;
		while (at > 0) {
			const parent = (at - 1) >> 1;
			if (items[parent]! <= item) break;
			items[at] = items[parent]!;
			at = parent;
		}
		items[at] = item;
	}

	pop(): number | undefined {
		const items = this.#items;
		const smallest = items[0];
		const last = items.pop();
		if (smallest === undefined || last === undefined || items.length === 0) return smallest;
		let at = 0;
		for (let child = 1; child < items.length; child = 2 * at + 1) {
			if (child + 1 < items.length && items[child + 1]! < items[child]!) child++;
			if (last <= items[child]!) break;
			items[at] = items[child]!;
			at = child;
		}
		items[at] = last;
		return smallest;
	}
}
