import type { PlacedEncoding } from "../../encodings/placement.js";
import type { Attribute } from "../../ir/attribute.js";
import type { NameScope } from "../../ir/names.js";
import type { Node } from "../../ir/node.js";
import type { Tensor } from "../../ir/tensor.js";
import { DataType, tensorType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { addConstant } from "../../weights/constant.js";
import { dequantizedTensor } from "./encoded-constant.js";
import type { QuantizedTensor } from "./quantized-tensors.js";
import { removeUnused } from "./remove-unused.js";

/** Float constants in the place of quantized ones, made when they are written: one for all places that dequantize the same codes in the same way. */
export class FloatConstants {
	readonly #names: NameScope;
	readonly #made: Map<string, Value> = new Map();
	readonly #ids: Map<unknown, number> = new Map();
	readonly #taken: Set<string> = new Set();

	constructor(names: NameScope) {
		this.#names = names;
	}

	/** Makes the readers of a dequantized constant read floats; says whether it could. */
	replace({ codes, dequantize: [node], encoding, name }: QuantizedTensor): boolean {
		const output = node?.outputs[0];
		if (node === undefined || output === undefined || output.isGraphOutput || codes === undefined) return false;
		const { value, tensor: stored } = codes;
		const key = [...node.inputs.map((input) => this.#id(input)), ...[...node.attributes.values()].map(attributeText)];
		const made =
			this.#made.get(key.join()) ?? this.#add(value, dequantizedTensor(stored, encoding as PlacedEncoding), node);
		this.#made.set(key.join(), made);
		output.replaceUsesWith(made);
		removeUnused(output);
		const isFree = name !== value.name || (value.initializer === undefined && value.producer === undefined);
		if (isFree && !this.#taken.has(name)) {
			made.name = name;
			this.#taken.add(name);
		}
		return true;
	}

	#add({ graph, producer, name, type }: Value, floats: Tensor, node: Node): Value {
		const made = addConstant(graph, this.#names.fresh(`${name}_float`), floats, producer ?? node);
		if (type !== undefined) made.type = tensorType(DataType.FLOAT, floats.shape);
		return made;
	}

	#id(object: unknown): number {
		const id = this.#ids.get(object) ?? this.#ids.size;
		this.#ids.set(object, id);
		return id;
	}
}

function attributeText(attribute: Attribute): string {
	return attribute.kind === "int" ? String(attribute.value) : attribute.kind;
}
