import { intAttribute } from "../../ir/attribute.js";
import type { Graph } from "../../ir/graph.js";
import type { NameScope } from "../../ir/names.js";
import type { Node } from "../../ir/node.js";
import { int64Tensor, type Tensor } from "../../ir/tensor.js";
import type { Value } from "../../ir/value.js";
import { addConstant, type Constant } from "../../weights/constant.js";
import type { NBitsForm } from "./nbits-form.js";
import type { NBitsTensors } from "./nbits-tensors.js";
import { addQdq, encodingBehind } from "./qdq.js";
import { removeUnused } from "./remove-unused.js";

/** The constants that stand for a packed weight. */
export interface UnpackedWeight {
	readonly codes: Value;
	readonly scale: Value;
	readonly zeroPoint: Value | undefined;
}

/**
 * Writes MatMulNBits nodes as DequantizeLinear, MatMul and Add. Nodes that read the same constants in the same way share
 * what is made of them.
 */
export class NBitsRewriter {
	readonly #names: NameScope;
	readonly #made: Map<string, Value> = new Map();
	readonly #ids: Map<object, number> = new Map();
	/** Values that were made, and those that they stand for. */
	readonly #standIns: Map<Value, Value> = new Map();

	constructor(names: NameScope) {
		this.#names = names;
	}

	/** The constants of a weight, beside those that it was packed into; `reader` is a node that reads it. */
	constants(form: NBitsForm, { codes, scale, zeroPoint }: NBitsTensors, reader: Node): UnpackedWeight {
		const constant = (kind: string, made: Tensor, source: Constant, like: readonly Constant[]) =>
			this.#once([kind, ...like.map(({ value }) => value), made.shape.join(), made.dtype], () =>
				this.#constant(made, source, reader),
			);
		const all = [form.packed, form.scales, ...(form.zeroPoints === undefined ? [] : [form.zeroPoints])];
		return {
			codes: constant("codes", codes, form.packed, all),
			scale: constant("scale", scale, form.scales, all),
			zeroPoint: zeroPoint && constant("zero", zeroPoint, form.zeroPoints!, all),
		};
	}

	/** Puts the operators of ONNX in the place of `node`; returns the MatMul. */
	replace(node: Node, form: NBitsForm, tensors: NBitsTensors, weight: UnpackedWeight): Node {
		const graph = node.graph!;
		const [output] = node.outputs;
		const inputs = new Set(node.inputs.slice(1, 5));
		const activation = this.#sorted(node, tensors);
		const dequantized = this.#dequantized(node, form, tensors, weight);
		const product = form.bias === undefined ? output! : graph.createValue(this.#names.fresh(`${output!.name}_matmul`));
		const matMul = { op: "MatMul", name: node.name, inputs: [activation, dequantized], outputs: [product] };
		let made: Node;
		if (form.bias === undefined) made = graph.replaceNode(node, matMul);
		else {
			made = graph.createNode(matMul, node);
			const name = node.name === "" ? "" : this.#names.fresh(`${node.name}_Add`);
			graph.replaceNode(node, { op: "Add", name, inputs: [product, form.bias], outputs: [output!] });
		}
		made.docString = node.docString;
		for (const [key, text] of node.metadata) made.metadata.set(key, text);
		for (const input of inputs) if (input !== undefined) removeUnused(input);
		return made;
	}

	/** Gives what was made the names of what is gone. */
	takeNames(): void {
		for (const [made, original] of this.#standIns) {
			if (original.producer === undefined && original.initializer === undefined) made.name = original.name;
		}
	}

	#dequantized(node: Node, { packed }: NBitsForm, { blockSize }: NBitsTensors, weight: UnpackedWeight): Value {
		const graph = node.graph!;
		const { codes, scale, zeroPoint } = weight;
		return this.#once(["dq", codes, scale, blockSize, graph], () => {
			const output = graph.createValue(this.#names.fresh(`${packed.value.name}_dq`));
			graph.createNode(
				{
					op: "DequantizeLinear",
					name: this.#names.fresh(`${packed.value.name}_DQ`),
					inputs: [codes, scale, ...(zeroPoint === undefined ? [] : [zeroPoint])],
					outputs: [output],
					attributes: { axis: intAttribute(0), block_size: intAttribute(blockSize) },
				},
				node,
			);
			return output;
		});
	}

	/** The activations in the order of the weight's rows, quantized as they were. */
	#sorted(node: Node, { order }: NBitsTensors): Value {
		const source = node.inputs[0]!;
		if (order === undefined) return source;
		const graph = node.graph!;
		return this.#once(["sorted", source, graph, node.inputs[4]!], () => {
			const indices = addConstant(
				graph,
				this.#names.fresh(`${node.inputs[4]!.name}_order`),
				int64Tensor([order.length], Array.from(order)),
				node,
			);
			const output = graph.createValue(this.#names.fresh(`${source.name}_sorted`));
			const name = this.#names.fresh(`${node.name || source.name}_Gather`);
			graph.createNode(
				{ op: "Gather", name, inputs: [source, indices], outputs: [output], attributes: { axis: intAttribute(-1) } },
				node,
			);
			const encoding = encodingBehind(source);
			return encoding === undefined ? output : addQdq(graph, output, encoding, this.#names, node);
		});
	}

	#constant(made: Tensor, { value }: Constant, reader: Node): Value {
		const name = this.#names.fresh(`${value.name}_KN`);
		const result = addConstant(value.graph, name, made, value.producer ?? reader);
		this.#standIns.set(result, value);
		return result;
	}

	#once(key: readonly (Value | Graph | string | number)[], make: () => Value): Value {
		const text = key.map((part) => (typeof part === "object" ? this.#idOf(part) : part)).join(" ");
		const made = this.#made.get(text) ?? make();
		this.#made.set(text, made);
		return made;
	}

	#idOf(object: object): number {
		const id = this.#ids.get(object) ?? this.#ids.size;
		this.#ids.set(object, id);
		return id;
	}
}
