import { distance } from "fastest-levenshtein";
import type { Model } from "../../ir/model.js";
import type { Value } from "../../ir/value.js";
import { allGraphs } from "../../ir/walk.js";

/** Suggestions are looked for among so many names at most, and for so many lost ones. */
const MAX_COMPARED = 20000;

/** The tensors of a model by their names. Names of functions count where neither the main graph nor a subgraph has them. */
export class TensorNames {
	readonly #values: Map<string, Set<Value>> = new Map();

	constructor(model: Model) {
		const inFunctions = new Map<string, Set<Value>>();
		for (const { graph, function: definition } of allGraphs(model)) {
			const map = definition === undefined ? this.#values : inFunctions;
			const add = (value: Value) => map.set(value.name, (map.get(value.name) ?? new Set()).add(value));
			for (const value of [...graph.inputs, ...graph.initializers]) add(value);
			for (const node of graph.nodes) for (const output of node.outputs) if (output.name !== "") add(output);
		}
		for (const [name, values] of inFunctions) if (!this.#values.has(name)) this.#values.set(name, values);
	}

	/** Several where subgraphs use one name for different tensors. */
	find(name: string): readonly Value[] {
		return [...(this.#values.get(name) ?? [])];
	}

	/** The name that is most like `name`; undefined where none is like it. */
	nearest(name: string): string | undefined {
		const plain = plainName(name);
		let best: string | undefined;
		let least = Math.max(2, Math.floor(plain.length / 4)) + 1;
		let compared = 0;
		for (const candidate of this.#values.keys()) {
			if (compared++ > MAX_COMPARED) break;
			const edits = distance(plain, plainName(candidate));
			if (edits < least) [best, least] = [candidate, edits];
		}
		return best;
	}
}

/** Exporters differ in case and in what they put between the parts of a name. */
function plainName(name: string): string {
	return name
		.toLowerCase()
		.replace(/[^a-z0-9]+/g, "_")
		.replace(/^_|_$/g, "");
}
