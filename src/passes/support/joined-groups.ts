import { intOf } from "../../ir/attribute.js";
import { computedData } from "../../ir/data.js";
import { bytesOf, floatTensor, type Tensor, tensor } from "../../ir/tensor.js";
import { bitsPerElement, DataType, elementCount } from "../../ir/types.js";
import { packInt4 } from "../../quant/packing.js";
import { addConstant } from "../../weights/constant.js";
import { elementsOf } from "../../weights/numbers.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { smallConstantOf } from "./small-constant.js";

/** Elements up to which a weight of several groups is written as one of one group. */
const LARGEST_JOINED = 2 ** 26;

/**
 * A ConvTranspose of several groups as one of one group: weights [C, M/groups, ...] as [C, M, ...], 0 between the groups. For
 * floats, and for INT4 and INT8 with zero points of 0.
 */
export const joinGroups: Remedy = ({ node, weight }, { names }) => {
	const group = intOf(node, "group", 1);
	if (weight === undefined) return false;
	const { dequantization, stored, indirect, input } = weight.site;
	const isFloat = weight.scheme === "float";
	const scale = smallConstantOf(dequantization?.node.inputs[1]);
	if (indirect !== undefined || input !== 1) return false;
	if (!isFloat && (scale === undefined || dequantization?.scaleNode !== undefined || !weight.isSymmetric)) return false;
	const wide = widened(stored.tensor, group);
	if (wide === undefined) return false;
	const graph = node.graph!;
	const before = node.inputs[1]!;
	const { name } = before;
	const add = (suffix: string, made: Tensor) => addConstant(graph, names.fresh(`${name}_${suffix}`), made, node);
	if (scale === undefined) {
		node.setInput(1, add("joined", wide));
	} else {
		const perGroup = stored.tensor.shape[1]!;
		const shape = scale.values.length === 1 ? scale.shape : [perGroup * group];
		const count = elementCount(shape);
		const scales = Float32Array.from({ length: count }, (_, channel) => scale.values[channel % scale.values.length]!);
		const zeros = new Uint8Array(Math.ceil((count * bitsPerElement(weight.dtype)!) / 8));
		const inputs = [
			add("joined", wide),
			add("scales", floatTensor(shape, scales)),
			add("zero_points", tensor(weight.dtype, shape, zeros)),
		];
		const made = graph.createValue(names.fresh(`${name}_one_group`));
		const label = names.fresh(`${name}_one_group_DQ`);
		const { attributes } = dequantization!.node;
		graph.createNode({ op: "DequantizeLinear", name: label, inputs, outputs: [made], attributes }, node);
		node.setInput(1, made);
	}
	node.attributes.delete("group");
	removeUnused(before);
	return true;
};

/** The weight [C, M/groups, ...] as [C, M, ...]; undefined where it has another type, or is too large or cut short. */
function widened(weight: Tensor, group: number): Tensor | undefined {
	const { dtype, shape } = weight;
	const [inputs, perGroup] = [shape[0]!, shape[1]!];
	const count = elementCount(shape) * group;
	if (inputs % group !== 0 || count > LARGEST_JOINED || elementsOf(weight, 0, 1) === undefined) return undefined;
	const row = perGroup * elementCount(shape.slice(2));
	/** Puts into `joined`, elements from `first` on, the rows that lie there. */
	const fill = (joined: Int8Array | Float32Array, first: number) => {
		const end = first + joined.length;
		for (let at = Math.floor(first / (row * group)); at * row * group < end; at++) {
			const start = (at * group + Math.floor((at * group) / inputs)) * row;
			const from = Math.max(first, start);
			const to = Math.min(end, start + row);
			if (from < to) joined.set(elementsOf(weight, at * row + from - start, to - from)!, from - first);
		}
		return bytesOf(joined);
	};
	const wide = [inputs, perGroup * group, ...shape.slice(2)];
	const made = (bits: number, produce: (start: number, end: number) => Uint8Array) =>
		tensor(dtype, wide, computedData(Math.ceil((count * bits) / 8), produce));
	switch (dtype) {
		case DataType.FLOAT:
			return made(32, (start, end) => {
				const first = Math.floor(start / 4);
				const bytes = fill(new Float32Array(Math.ceil(end / 4) - first), first);
				return bytes.subarray(start - first * 4, end - first * 4);
			});
		case DataType.INT8:
			return made(8, (start, end) => fill(new Int8Array(end - start), start));
		case DataType.INT4:
			return made(4, (start, end) => {
				const codes = new Int8Array(Math.min(count, end * 2) - start * 2);
				fill(codes, start * 2);
				return packInt4(codes);
			});
		default:
			return undefined;
	}
}
