import { computedData } from "../../ir/data.js";
import type { NameScope } from "../../ir/names.js";
import { bytesOf, floatTensor, type Tensor, tensor } from "../../ir/tensor.js";
import { DataType, elementCount } from "../../ir/types.js";
import { addConstant } from "../../weights/constant.js";
import { elementsOf } from "../../weights/numbers.js";
import type { WeightSite } from "../../weights/weight-site.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { type SmallConstant, smallConstantOf } from "./small-constant.js";

/** How codes of 16 bits are stored anew: what is taken off, and what they are multiplied with. */
interface Packing {
	readonly dtype: typeof DataType.INT8 | typeof DataType.UINT8 | typeof DataType.INT16 | typeof DataType.UINT16;
	readonly offset: number;
	readonly zeroPoint: number;
	readonly factor: number;
}

/**
 * Codes of 16 bits of a weight -> the same of 8 bits where they fit, else INT16 ones around 0, times the largest power of two:
 * the same numbers, exactly.
 */
export const packCodes: Remedy = ({ weight }, { names, architecture }) => {
	const { dequantization, stored, indirect } = weight!.site;
	const scale = smallConstantOf(dequantization?.node.inputs[1]);
	const reach = weight!.reach;
	if (dequantization === undefined || scale === undefined || reach === undefined || indirect !== undefined)
		return false;
	const zeroPoint = smallConstantOf(dequantization.node.inputs[2])?.values[0] ?? 0;
	const packing = packingOf(reach, zeroPoint, weight!.scheme === "per-tensor");
	if (packing === undefined || stored.overridable) return false;
	if (packing.dtype === DataType.INT16 && architecture === "v68") return false;
	store(weight!.site, scale, packing, names);
	return true;
};

/** Codes of one type of 16 bits -> the same numbers in the other: UINT16 codes less 32768 are INT16 ones. */
export const exchangeTypes: Remedy = ({ weight }, { names }) => {
	const { dequantization, stored, indirect } = weight!.site;
	const scale = smallConstantOf(dequantization?.node.inputs[1]);
	if (dequantization === undefined || scale === undefined || stored.overridable || indirect !== undefined) return false;
	const zeroPoint = smallConstantOf(dequantization.node.inputs[2])?.values[0] ?? 0;
	const isSigned = stored.tensor.dtype === DataType.INT16;
	const offset = isSigned ? -MIDDLE : MIDDLE;
	const dtype = isSigned ? DataType.UINT16 : DataType.INT16;
	store(weight!.site, scale, { dtype, offset, zeroPoint: zeroPoint - offset, factor: 1 }, names);
	return true;
};

/** Of UINT16 codes. */
const MIDDLE = 2 ** 15;

/** The operator reads the codes of its weight stored as `packing` says. */
function store(
	{ node, input, dequantization, stored, graphSite }: WeightSite,
	scale: SmallConstant,
	packing: Packing,
	names: NameScope,
): void {
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
	const { attributes } = dequantization!.node;
	const label = names.fresh(`${name}_packed_DQ`);
	graph.createNode({ op: "DequantizeLinear", name: label, inputs, outputs: [made], attributes }, node);
	node.setInput(input, made);
	removeUnused(before);
}

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
	const size = dtype === DataType.INT16 || dtype === DataType.UINT16 ? 2 : 1;
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

const ARRAYS = {
	[DataType.INT8]: Int8Array,
	[DataType.UINT8]: Uint8Array,
	[DataType.INT16]: Int16Array,
	[DataType.UINT16]: Uint16Array,
} as const;

function codesAs(dtype: Packing["dtype"], codes: readonly number[]): Uint8Array {
	return bytesOf(ARRAYS[dtype].from(codes));
}
