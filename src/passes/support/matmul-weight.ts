import { intAttribute } from "../../ir/attribute.js";
import { computedData, type TensorData } from "../../ir/data.js";
import type { Graph } from "../../ir/graph.js";
import type { NameScope } from "../../ir/names.js";
import type { Node } from "../../ir/node.js";
import { bytesOf, type Tensor, tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { addConstant, constantOf } from "../../weights/constant.js";
import type { Dequantization } from "../../weights/weight-site.js";
import { transposedData } from "./transposed-data.js";

/** Scales that are multiplied at a time. */
const PIECE_BYTES = 2 ** 18;

/** How a weight is to be changed: by turning it around, and by a factor. */
export interface WeightChange {
	readonly transpose: boolean;
	/** Positive. */
	readonly factor: number;
}

/**
 * Makes dequantized weights anew, [N, K] as [K, N] and multiplied: every weight once, however often it is asked for. Codes,
 * scales and zero points are made when they are written, piece by piece.
 */
export class MatMulWeights {
	readonly #names: NameScope;
	readonly #made: Map<string, Value> = new Map();
	readonly #ids: Map<object, number> = new Map();

	constructor(names: NameScope) {
		this.#names = names;
	}

	/** What comes out of a DequantizeLinear like that of `source` with its weight changed, for a reader in the same graph. */
	dequantized({ node, axis, scaleNode }: Dequantization, change: WeightChange): Value {
		if (!change.transpose && change.factor === 1) return node.outputs[0]!;
		return this.#once("dq", node.outputs[0]!, node.graph!, change, () => {
			const [codes, scale, zeroPoint] = node.inputs;
			const inputs = [
				this.#constant(codes!, node, { ...change, factor: 1 }),
				scaleNode === undefined ? this.#constant(scale!, node, change) : this.#scales(scaleNode, node, change),
				...(zeroPoint === undefined ? [] : [this.#constant(zeroPoint, node, { ...change, factor: 1 })]),
			];
			return this.#dequantize(node, inputs, axis ?? 0, change, node);
		});
	}

	/** LPBQ's block scales; the factor goes into the channel scales. */
	#scales(scaleNode: Node, before: Node, change: WeightChange): Value {
		return this.#once("scale", scaleNode.outputs[0]!, before.graph!, change, () => {
			const [integers, channels, zeroPoint] = scaleNode.inputs;
			const inputs = [
				this.#constant(integers!, before, { ...change, factor: 1 }),
				this.#constant(channels!, before, change),
				...(zeroPoint === undefined ? [] : [this.#constant(zeroPoint, before, { ...change, factor: 1 })]),
			];
			return this.#dequantize(scaleNode, inputs, normalizedAxis(scaleNode), change, before);
		});
	}

	#dequantize(like: Node, inputs: readonly Value[], axis: number, { transpose }: WeightChange, before: Node): Value {
		const graph = before.graph!;
		const name = like.outputs[0]!.name;
		const output = graph.createValue(this.#names.fresh(`${name}_KN`));
		const attributes = new Map(like.attributes).set("axis", intAttribute(transpose ? 1 - axis : axis));
		graph.createNode(
			{ op: like.op, name: this.#names.fresh(`${like.name || name}_KN`), inputs, outputs: [output], attributes },
			before,
		);
		return output;
	}

	#constant(value: Value, reader: Node, change: WeightChange): Value {
		const { tensor: stored } = constantOf(value)!;
		const changed = changedTensor(stored, change);
		if (changed === stored) return value;
		return this.#once("constant", value, value.graph, change, () =>
			addConstant(value.graph, this.#names.fresh(`${value.name}_KN`), changed, value.producer ?? reader),
		);
	}

	#once(kind: string, source: Value, graph: Graph, { transpose, factor }: WeightChange, make: () => Value): Value {
		const key = [kind, this.#idOf(source), this.#idOf(graph), transpose, factor].join();
		const made = this.#made.get(key) ?? make();
		this.#made.set(key, made);
		return made;
	}

	#idOf(object: object): number {
		const id = this.#ids.get(object) ?? this.#ids.size;
		this.#ids.set(object, id);
		return id;
	}
}

function normalizedAxis(node: Node): number {
	const attribute = node.attributes.get("axis");
	const axis = attribute?.kind === "int" ? Number(attribute.value) : 1;
	return axis < 0 ? axis + (constantOf(node.inputs[0])?.tensor.shape.length ?? 0) : axis;
}

/** Only matrices turn around; the same tensor where nothing changes. */
function changedTensor(stored: Tensor, { transpose, factor }: WeightChange): Tensor {
	const [rows, columns] = stored.shape;
	const turns = transpose && stored.shape.length === 2;
	let { data } = stored;
	if (turns) data = transposedData(data, stored.dtype, rows!, columns!);
	if (factor !== 1) data = multiplied(data, factor);
	return data === stored.data && !turns ? stored : tensor(stored.dtype, turns ? [columns!, rows!] : stored.shape, data);
}

/** FLOAT numbers times `factor`. */
function multiplied(data: TensorData, factor: number): TensorData {
	return computedData(data.byteLength, (start, end) => {
		const first = start - (start % 4);
		const last = Math.min(data.byteLength, end + ((4 - (end % 4)) % 4));
		const result = new Float32Array((last - first) / 4);
		for (let at = first; at < last; at += PIECE_BYTES) {
			const bytes = Uint8Array.from(data.read(at, Math.min(last, at + PIECE_BYTES)));
			result.set(
				new Float32Array(bytes.buffer).map((value) => value * factor),
				(at - first) / 4,
			);
		}
		return bytesOf(result).subarray(start - first, end - first);
	});
}

/** Can a weight with these scales be multiplied by a factor? */
export function hasFloatScales({ scale, scaleNode }: Dequantization): boolean {
	const scales = scaleNode === undefined ? scale : constantOf(scaleNode.inputs[1]);
	return scales?.tensor.dtype === DataType.FLOAT;
}
