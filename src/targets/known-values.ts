import type { Model } from "../ir/model.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { allNodes } from "../ir/walk.js";
import { constantOf } from "../weights/constant.js";

/** What ONNX Runtime knows before compilation: constants, and what is made of such and of fixed shapes. */
export class KnownValues {
	readonly #known = new Map<Value, boolean>();

	/** Looks at the nodes in their order, so that what a value comes from was looked at before. */
	constructor(model: Model) {
		for (const { node } of allNodes(model)) for (const output of node.outputs) this.has(output);
	}

	/** An absent input is known. */
	has(value: Value | undefined): boolean {
		if (value === undefined || constantOf(value) !== undefined) return true;
		const { producer } = value;
		if (producer === undefined) return false;
		const known = this.#known.get(value);
		if (known !== undefined) return known;
		this.#known.set(value, false);
		const read = isOnnxOp(producer, "CastLike") ? producer.inputs.slice(0, 1) : producer.inputs;
		const result = isOnnxOp(producer, "Shape") || read.every((input) => this.has(input));
		this.#known.set(value, result);
		return result;
	}

	/** Is the operator computed before compilation? */
	isFolded({ inputs }: Node): boolean {
		return inputs.every((input) => this.has(input));
	}
}
