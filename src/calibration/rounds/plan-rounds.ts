import { subgraphsOf } from "../../ir/attribute.js";
import type { Model } from "../../ir/model.js";
import type { Node } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";

/**
 * Sorts constants of the main graph into rounds, so that those of a round are read behind all that earlier ones change.
 * Where one of them is read at several places, the last one counts.
 *
 * @param weights names of constants.
 * @param most rounds; where there would be more, neighbours are put together.
 * @returns each of `weights` once, in the model's order.
 */
export function planRounds({ graph }: Model, weights: ReadonlySet<string>, most: number): string[][] {
	/** How many weights there are on the longest way to a value. */
	const depths = new Map<Value, number>();
	const levels = new Map<string, number>();
	for (const node of graph.nodes) {
		const read = readBy(node);
		const depth = Math.max(0, ...read.map((value) => depths.get(value) ?? 0));
		const own = read.filter(({ name }) => weights.has(name));
		for (const { name } of own) levels.set(name, Math.max(depth, levels.get(name) ?? 0));
		for (const output of node.outputs) depths.set(output, own.length > 0 ? depth + 1 : depth);
	}
	const used = [...new Set(levels.values())].sort((a, b) => a - b);
	const count = Math.min(used.length, most);
	const places = new Map(used.map((level, index) => [level, Math.floor((index * count) / used.length)]));
	const rounds = Array.from({ length: Math.max(1, count) }, (): string[] => []);
	for (const name of weights) rounds[places.get(levels.get(name) ?? 0) ?? 0]!.push(name);
	return rounds;
}

/** What a node reads, inside of its subgraphs, too. */
function readBy(node: Node): Value[] {
	const inside = [...subgraphsOf(node)].flatMap(([, graph]) => [...graph.nodes].flatMap(readBy));
	return [...node.inputs.filter((value) => value !== undefined), ...inside];
}
