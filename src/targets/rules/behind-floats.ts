import type { Model } from "../../ir/model.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { allNodes } from "../../ir/walk.js";
import { isComputed } from "./producers.js";

/** Operators on codes that are looked for. */
export interface SoughtOperators {
	/** These, wherever they are. */
	readonly failing: readonly string[];
	/** These, where they join computed values and an operator of `images` is in front of them. */
	readonly joining: readonly string[];
	readonly images: readonly string[];
	/** Is `node` one behind which floats are as others? */
	settles(node: Node): boolean;
}

/** Of nodes, what was found behind them. */
type Found = ReadonlyMap<Node, Node>;

/**
 * For every node the operator that `sought` names behind the first quantizers that its results reach on floats; those on
 * the way to these do not count. One walk over the model, from the end.
 */
export function soughtBehindFloats(model: Model, { failing, joining, images, settles }: SoughtOperators): Found {
	const nodes = [...allNodes(model)].map(({ node }) => node);
	const behindImages = reachedFrom(nodes, images);
	const reversed = nodes.reverse();
	const codes = searched(reversed, (node, found) => (isOnnxOp(node, ...failing) ? node : nextBehind(node, found)));
	const joins = searched(reversed, (node, found) => {
		const isJoin = isOnnxOp(node, ...joining) && node.inputs.filter(isComputed).length > 1;
		return isJoin && behindImages.has(node) ? node : nextBehind(node, found);
	});
	const floats = searched(reversed, (node, found) => {
		if (settles(node)) return undefined;
		return isOnnxOp(node, "QuantizeLinear")
			? (nextBehind(node, codes) ?? nextBehind(node, joins))
			: nextBehind(node, found);
	});
	return searched(reversed, (node) => nextBehind(node, floats));
}

/** For every node the first behind it, on the way of its results, that is `failing`; none behind those that are `ending`. */
export function soughtBehind(model: Model, failing: (node: Node) => boolean, ending: (node: Node) => boolean): Found {
	const reversed = [...allNodes(model)].map(({ node }) => node).reverse();
	const reached = searched(reversed, (node, found) => {
		if (failing(node)) return node;
		return ending(node) ? undefined : nextBehind(node, found);
	});
	return searched(reversed, (node) => nextBehind(node, reached));
}

function searched(reversed: readonly Node[], find: (node: Node, found: Found) => Node | undefined): Found {
	const found = new Map<Node, Node>();
	for (const node of reversed) {
		const one = find(node, found);
		if (one !== undefined) found.set(node, one);
	}
	return found;
}

function nextBehind(node: Node, found: Found): Node | undefined {
	for (const output of node.outputs) {
		for (const use of output.uses) {
			const one = found.get(use.node);
			if (one !== undefined) return one;
		}
	}
	return undefined;
}

/** The operators of `types` and those behind them. */
function reachedFrom(nodes: readonly Node[], types: readonly string[]): Set<Node> {
	const reached = new Set<Node>();
	for (const node of nodes) {
		const isBehind = node.inputs.some((input) => input?.producer !== undefined && reached.has(input.producer));
		if (isBehind || isOnnxOp(node, ...types)) reached.add(node);
	}
	return reached;
}
