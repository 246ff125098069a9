import type { Model } from "../ir/model.js";
import type { NameScope } from "../ir/names.js";
import { DataType, elementCount, tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { product } from "./batch/rule.js";
import type { RowInput, RowPicks } from "./instruments.js";

/** Elements of a value out of which rows are picked where they are, and what part of them at most: else all are handed out. */
const LARGE = 2 ** 14;
const PICKED_PART = 2;

interface Entry {
	readonly value: Value;
	readonly picks: RowPicks;
}

/** Adds inputs to a model that say which windows of large values are handed out, one for all values of the same windows. */
export class RowPicker {
	readonly #model: Model;
	readonly #names: NameScope;
	readonly #entries: Map<string, Entry> = new Map();

	constructor(model: Model, names: NameScope) {
		this.#model = model;
		this.#names = names;
	}

	get picks(): RowPicks[] {
		return [...this.#entries.values()].map(({ picks }) => picks);
	}

	/** The input that says which windows of one image are picked; undefined where all elements are to be handed out. */
	inputFor({ plan, shape, most }: Pick<RowInput, "plan" | "shape" | "most">): Value | undefined {
		if (plan.kind !== "patches" || shape?.[0] !== 1) return undefined;
		const lengths = shape.slice(2);
		const picked = most * product(plan.kernel);
		if (elementCount(shape) < LARGE || picked * PICKED_PART > product(lengths)) return undefined;
		const { groups: _, ...windows } = plan;
		const key = JSON.stringify([windows, lengths, most]);
		const known = this.#entries.get(key);
		if (known !== undefined) return known.value;
		const { graph } = this.#model;
		const name = this.#names.fresh("qgraph_picks");
		// of windows that are fewer than wanted all are picked
		const value = graph.createValue(name, tensorType(DataType.INT32, ["picks"]));
		graph.addInput(value);
		this.#entries.set(key, { value, picks: { input: name, plan, shape, most } });
		return value;
	}

	remove(): void {
		for (const { value } of this.#entries.values()) this.#model.graph.removeInput(value);
	}
}
