import type { Graph } from "./graph.js";
import type { Node } from "./node.js";

/** The nodes of a graph in order: a linked list, so that passes insert and remove anywhere at no cost. */
export class NodeList implements Iterable<Node> {
	readonly #graph: Graph;
	#first: Node | undefined;
	#last: Node | undefined;
	#length = 0;

	constructor(graph: Graph) {
		this.#graph = graph;
	}

	get length(): number {
		return this.#length;
	}

	/** The walk allows that any nodes, the current one too, are removed, and that others are inserted. */
	*[Symbol.iterator](): Generator<Node> {
		let node = this.#first;
		while (node !== undefined) {
			yield node;
			node = this.#after(node);
		}
	}

	/** What follows `node`, which may be gone: a removed node still knows what followed it then. */
	#after(node: Node): Node | undefined {
		let next = node._next;
		while (next !== undefined && next._graph !== this.#graph) next = next._next;
		return next;
	}

	/** @internal Puts `node` in front of `before`, or at the end. */
	_link(node: Node, before?: Node): void {
		const previous = before === undefined ? this.#last : before._previous;
		node._graph = this.#graph;
		node._previous = previous;
		node._next = before;
		if (previous === undefined) this.#first = node;
		else previous._next = node;
		if (before === undefined) this.#last = node;
		else before._previous = node;
		this.#length++;
	}

	/** @internal */
	_unlink(node: Node): void {
		if (node._previous === undefined) this.#first = node._next;
		else node._previous._next = node._next;
		if (node._next === undefined) this.#last = node._previous;
		else node._next._previous = node._previous;
		node._graph = undefined;
		node._previous = undefined;
		this.#length--;
	}

	/** @internal Brings the list into the order of `nodes`, which holds the same nodes. */
	_reorder(nodes: readonly Node[]): void {
		for (const node of nodes) {
			this._unlink(node);
			this._link(node);
		}
	}
}
