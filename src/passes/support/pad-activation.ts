import type { TypeTable } from "../../inference/index.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { int64Tensor } from "../../ir/tensor.js";
import { tensorType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { addConstant } from "../../weights/constant.js";
import type { WeightSite } from "../../weights/weight-site.js";
import { addQdq, encodingBehind } from "./qdq.js";

/**
 * Appends zeros to quantized activations: `DQ(x)` -> `DQ(Q(Pad(DQ(x))))` with the encoding that they had. The HTP takes a
 * Pad in this form, between DequantizeLinear and QuantizeLinear, and refuses it on codes.
 */
export class ActivationPadding {
	readonly #types: TypeTable;
	readonly #names: NameScope;
	readonly #padded: Map<Value, Map<string, Value>> = new Map();

	constructor(types: TypeTable, names: NameScope) {
		this.#types = types;
		this.#names = names;
	}

	/** Can the activation that the operator at `site` sums over be padded? */
	isPossible(site: WeightSite): boolean {
		return this.#axisOf(site) !== undefined && encodingBehind(site.node.inputs[0]) !== undefined;
	}

	/** Makes the operator read the activation with `count` more zeros along the axis that it sums over. */
	pad(site: WeightSite, count: number): void {
		const { node } = site;
		const source = node.inputs[0]!;
		const axis = this.#axisOf(site)!;
		const made = this.#padded.get(source) ?? new Map<string, Value>();
		this.#padded.set(source, made);
		const key = `${axis}+${count}`;
		const padded = made.get(key) ?? this.#make(source, axis, count);
		made.set(key, padded);
		node.setInput(0, padded);
	}

	#axisOf({ node, input }: WeightSite): number | undefined {
		const rank = this.#types.shapeOf(node.inputs[0]!)?.length;
		if (input !== 1 || rank === undefined || rank < 2) return undefined;
		if (isOnnxOp(node, "MatMul")) return rank - 1;
		if (isOnnxOp(node, "Gemm")) return node.attributes.has("transA") ? undefined : 1;
		return isOnnxOp(node, "Conv") ? 1 : undefined;
	}

	#make(source: Value, axis: number, count: number): Value {
		const { graph } = source;
		const before = following(source.producer!);
		const shape = this.#types.shapeOf(source)!;
		const pads = new Array<number>(shape.length * 2).fill(0);
		pads[shape.length + axis] = count;
		const name = this.#names.fresh(`${source.name}_pads`);
		const amounts = addConstant(graph, name, int64Tensor([pads.length], pads), before);
		const type = this.#types.typeOf(source);
		const longer = shape.map((dim, index) =>
			index !== axis ? dim : typeof dim === "number" ? dim + count : undefined,
		);
		const output = graph.createValue(
			this.#names.fresh(`${source.name}_padded`),
			type?.kind === "tensor" ? tensorType(type.elementType, longer) : undefined,
		);
		const label = this.#names.fresh(`${source.name}_Pad`);
		graph.createNode({ op: "Pad", name: label, inputs: [source, amounts], outputs: [output] }, before);
		return addQdq(graph, output, encodingBehind(source)!, this.#names, before);
	}
}

/** The node behind `node` in its graph. */
function following(node: Node): Node | undefined {
	let found = false;
	for (const other of node.graph!.nodes) {
		if (found) return other;
		found = other === node;
	}
	return undefined;
}
