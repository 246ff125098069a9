import { computedData } from "../../ir/data.js";
import { bytesOf, floatTensor, type Tensor, tensor } from "../../ir/tensor.js";
import { DataType, elementCount } from "../../ir/types.js";
import { addConstant } from "../../weights/constant.js";
import { elementsOf } from "../../weights/numbers.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { smallConstantOf } from "./small-constant.js";

/** How codes of 16 bits are stored anew: what is taken off, and what they are multiplied with. */
interface Packing {
	readonly dtype: typeof DataType.INT8 | typeof DataType.UINT8 | typeof DataType.INT16;
	readonly offset: number;
	readonly zeroPoint: number;
	readonly factor: number;
}

/**
 * Codes of 16 bits of a weight -> the same of 8 bits where they fit, else INT16 ones around 0, times the largest power of two:
 * the same numbers, exactly.
 */
export const packCodes: Remedy = ({ node, weight, graphSite }, { names, architecture }) => {
	const { dequantization, stored, input, indirect } = weight!.site;
	const scale = smallConstantOf(dequantization?.node.inputs[1]);
	const reach = weight!.reach;
	if (dequantization === undefined || scale === undefined || reach === undefined || indirect !== undefined)
		return false;
	const zeroPoint = smallConstantOf(dequantization.node.inputs[2])?.values[0] ?? 0;
	const packing = packingOf(reach, zeroPoint, weight!.scheme === "per-tensor");
	if (packing === undefined || stored.overridable) return false;
	if (packing.dtype === DataType.INT16 && architecture === "v68") return false;
	const { dtype, factor } = packing;
	const before = node.inputs[input]!;
	const { name } = before;
	const { graph } = graphSite;
	const zeros = new Array<number>(elementCount(scale.shape)).fill(packing.zeroPoint);
	const constants = [
		packed(stored.tensor, packing),
		floatTensor(
			scale.shape,
			Float32Array.from(scale.values, (value) => value / factor),
		),
		tensor(dtype, scale.shape, codesAs(dtype, zeros)),
	];
	const inputs = constants.map((constant, index) =>
		addConstant(graph, names.fresh(`${name}_${["packed", "scale", "zero_point"][index]}`), constant, node),
	);
	const made = graph.createValue(names.fresh(`${name}_packed`));
	const { attributes } = dequantization.node;
	const label = names.fresh(`${name}_packed_DQ`);
	graph.createNode({ op: "DequantizeLinear", name: label, inputs, outputs: [made], attributes }, node);
	node.setInput(input, made);
	removeUnused(before);
	return true;
};

function packingOf(
	{ min, max }: { readonly min: number; readonly max: number },
	zeroPoint: number,
	isOne: boolean,
): Packing | undefined {
	const signed = { offset: zeroPoint, zeroPoint: 0 };
	if (min >= -128 && max <= 127) return { dtype: DataType.INT8, ...signed, factor: 1 };
	const [first, last] = [min + zeroPoint, max + zeroPoint];
	const isByte = zeroPoint >= 0 && zeroPoint <= 255 && first >= 0 && last <= 255;
	if (isOne && isByte) return { dtype: DataType.UINT8, offset: 0, zeroPoint, factor: 1 };
	const room = Math.floor(Math.log2(32767 / Math.max(-min, max)));
	return room < 0 ? undefined : { dtype: DataType.INT16, ...signed, factor: 2 ** room };
}

function packed(codes: Tensor, { dtype, offset, factor }: Packing): Tensor {
	const count = elementCount(codes.shape);
	const size = dtype === DataType.INT16 ? 2 : 1;
	const bytes = computedData(count * size, (start, end) => {
		const first = Math.floor(start / size);
		const elements = elementsOf(codes, first, Math.ceil(end / size) - first)!;
		const stored = codesAs(
			dtype,
			Array.from(elements, (code) => (code - offset) * factor),
		);
		return stored.subarray(start - first * size, end - first * size);
	});
	return tensor(dtype, codes.shape, bytes);
}

function codesAs(dtype: Packing["dtype"], codes: readonly number[]): Uint8Array {
	if (dtype === DataType.UINT8) return Uint8Array.from(codes);
	return bytesOf(dtype === DataType.INT8 ? Int8Array.from(codes) : Int16Array.from(codes));
}
