import { inferTypes } from "../../inference/index.js";
import { intAttribute } from "../../ir/attribute.js";
import type { Model } from "../../ir/model.js";
import { NameScope } from "../../ir/names.js";
import type { Node } from "../../ir/node.js";
import { int64Tensor } from "../../ir/tensor.js";
import type { Value } from "../../ir/value.js";
import { addConstant } from "../../weights/constant.js";
import type { BatchPlan } from "./plan-batch.js";

/**
 * Makes a model compute `size` samples at once; the function that is returned makes it what it was. undefined, and nothing is
 * changed, where shapes do not come out as they were planned.
 */
export function stackSamples(model: Model, plan: BatchPlan, size: number): (() => void) | undefined {
	const stacker = new Stacker(model, size);
	stacker.run(plan);
	const types = inferTypes(model);
	const isAsPlanned = [...plan.axes].every(([value, axis]) => {
		const shape = types.staticShapeOf(value);
		return plan.shapes.get(value)!.every((length, at) => shape?.[at] === (at === axis ? size * length : length));
	});
	if (isAsPlanned) return () => stacker.undo();
	stacker.undo();
	return undefined;
}

class Stacker {
	readonly #model: Model;
	readonly #size: number;
	readonly #names: NameScope;
	readonly #undo: (() => void)[] = [];

	constructor(model: Model, size: number) {
		this.#model = model;
		this.#size = size;
		this.#names = new NameScope(model);
	}

	run({ axes, lengths, edits }: BatchPlan): void {
		for (const [value, axis] of axes) this.#lengthen(value, axis);
		for (const [value, elements] of lengths) this.#fix(value, elements);
		for (const edit of edits) {
			const value =
				"lengths" in edit
					? this.#constant(edit.lengths.map((length, at) => (at === edit.axis ? this.#size * length : length)))
					: this.#repeated(edit.node.inputs[edit.input]!, edit.repeated, edit.node);
			this.#setInput(edit.node, edit.input, value);
		}
	}

	undo(): void {
		for (const undo of this.#undo.splice(0).reverse()) undo();
	}

	/** What the model says of a value's shape. */
	#lengthen(value: Value, axis: number): void {
		const { type } = value;
		if (type?.kind !== "tensor") return;
		const shape = type.shape?.map((length, at) =>
			at !== axis ? length : typeof length === "number" ? length * this.#size : length,
		);
		value.type = { ...type, shape };
		this.#undo.push(() => {
			value.type = type;
		});
	}

	/** Readers of a value get what it is of one sample. */
	#fix(value: Value, elements: readonly number[]): void {
		if (value.uses.length === 0) return;
		const isScalar = value.producer!.op.type === "Size";
		const constant = this.#constant(elements, isScalar ? [] : undefined);
		for (const { node, index } of [...value.uses]) this.#setInput(node, index, constant);
	}

	/** What all samples share, repeated along an axis where its length is 1. */
	#repeated(value: Value, axis: number, before: Node): Value {
		const { graph } = this.#model;
		const output = graph.createValue(this.#names.fresh("qgraph_repeated"));
		const inputs = Array.from({ length: this.#size }, () => value);
		const node = graph.createNode(
			{ op: "Concat", inputs, outputs: [output], attributes: { axis: intAttribute(axis) } },
			before,
		);
		this.#undo.push(() => node.remove());
		return output;
	}

	#constant(elements: readonly number[], shape: readonly number[] = [elements.length]): Value {
		const tensor = int64Tensor(shape, elements);
		const value = addConstant(this.#model.graph, this.#names.fresh("qgraph_lengths"), tensor, undefined);
		this.#undo.push(() => this.#model.graph.removeInitializer(value));
		return value;
	}

	#setInput(node: Node, index: number, value: Value): void {
		const before = node.inputs[index];
		node.setInput(index, value);
		this.#undo.push(() => node.setInput(index, before));
	}
}
