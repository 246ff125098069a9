import type { Model } from "./model.js";
import { allGraphs } from "./walk.js";

/** The names taken in a model, all graphs together, so that a new name can never capture or shadow another. */
export class NameScope {
	readonly #taken: Set<string> = new Set();

	constructor(model: Model) {
		for (const { graph } of allGraphs(model)) {
			for (const value of [...graph.inputs, ...graph.initializers, ...graph.sparseInitializers, ...graph.valueInfo]) {
				this.#taken.add(value.name);
			}
			for (const node of graph.nodes) {
				this.#taken.add(node.name);
				for (const value of [...node.inputs, ...node.outputs]) if (value) this.#taken.add(value.name);
			}
		}
	}

	/** `wanted`, or `wanted_1`, `wanted_2`, ... where it is taken. The result is taken from then on. */
	fresh(wanted: string): string {
		let name = wanted;
		for (let suffix = 1; this.#taken.has(name); suffix++) name = `${wanted}_${suffix}`;
		this.#taken.add(name);
		return name;
	}
}

/** `*` stands for any characters, `?` for one, everything else for itself; the whole name must match. */
export function globPattern(glob: string): RegExp {
	const source = glob
		.replace(/[.+^${}()|[\]\\]/g, "\\$&")
		.replaceAll("*", ".*")
		.replaceAll("?", ".");
	return new RegExp(`^${source}$`, "s");
}
