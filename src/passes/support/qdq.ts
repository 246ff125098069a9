import { intOf } from "../../ir/attribute.js";
import type { Graph } from "../../ir/graph.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { bytesOf, floatTensor, type Tensor, tensor } from "../../ir/tensor.js";
import { DataType, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { codeOf, coveringGrid, type Grid, hull, type Interval, intervalOf } from "../../quant/grid.js";
import { isView } from "../../weights/activation.js";
import { addConstant, constantOf } from "../../weights/constant.js";
import { valuesOf } from "./small-constant.js";

/** How the values of a tensor are written as integers, one scale and one zero point for all of it. */
export interface Encoding extends Grid {
	/** Of the codes: UINT8, INT8, UINT16, INT16 or INT32. */
	readonly dtype: DataType;
}

const ARRAYS = {
	[DataType.UINT8]: Uint8Array,
	[DataType.INT8]: Int8Array,
	[DataType.UINT16]: Uint16Array,
	[DataType.INT16]: Int16Array,
	[DataType.INT32]: Int32Array,
} as const;

type CodeType = keyof typeof ARRAYS;

const isCodeType = (dtype: DataType): dtype is CodeType => dtype in ARRAYS;

/** The smallest and the largest code of a type; throws for types that Encoding does not name. */
export function codeRange(dtype: DataType): { readonly min: number; readonly max: number } {
	if (!isCodeType(dtype)) throw new Error(`no encoding has codes of type ${dtype}`);
	const bits = ARRAYS[dtype].BYTES_PER_ELEMENT * 8;
	const isSigned = dtype === DataType.INT8 || dtype === DataType.INT16 || dtype === DataType.INT32;
	return isSigned ? { min: -(2 ** (bits - 1)), max: 2 ** (bits - 1) - 1 } : { min: 0, max: 2 ** bits - 1 };
}

export function encodingOf(dtype: DataType, scale: number, zeroPoint: number): Encoding {
	return { dtype, scale: Math.fround(scale), zeroPoint, ...codeRange(dtype) };
}

/** An encoding of 8 bits with the same values as UINT16: 257 steps for one. */
export function widened(encoding: Encoding): Encoding {
	return recoded(encoding, DataType.UINT16);
}

/** An encoding with the same values in codes of another type; in fewer bits the finest that reaches as far. */
export function recoded(encoding: Encoding, dtype: DataType): Encoding {
	const { scale, zeroPoint, min, max } = encoding;
	const range = codeRange(dtype);
	const steps = (range.max - range.min) / (max - min);
	if (steps < 1) return coveringEncoding(dtype, intervalOf(encoding));
	return encodingOf(dtype, scale / steps, (zeroPoint - min) * steps + range.min);
}

/** The finest encoding of the type that reaches over `interval` and represents 0 exactly. */
export function coveringEncoding(dtype: DataType, interval: Interval): Encoding {
	const { min, max } = codeRange(dtype);
	return { dtype, ...coveringGrid(interval, min, max) };
}

export function sameEncoding(a: Encoding, b: Encoding): boolean {
	return a.dtype === b.dtype && a.scale === b.scale && a.zeroPoint === b.zeroPoint;
}

/**
 * The encoding that a QuantizeLinear or DequantizeLinear uses; undefined where it has several scales, or parameters that
 * are not constants, not FLOAT or of a type without encoding. A zero point that is absent is 0, of the type that ONNX
 * takes then.
 */
export function encodingAt(node: Node): Encoding | undefined {
	const [input, scale, zeroPoint] = node.inputs;
	const scaleTensor = constantOf(scale)?.tensor;
	if (scaleTensor?.dtype !== DataType.FLOAT || elementCount(scaleTensor.shape) !== 1) return undefined;
	const zeroTensor = constantOf(zeroPoint)?.tensor;
	if (zeroPoint !== undefined && zeroTensor === undefined) return undefined;
	const dtype = zeroTensor?.dtype ?? implicitCodeType(node, input);
	if (dtype === undefined || !isCodeType(dtype)) return undefined;
	const scaleValue = valuesOf(scaleTensor)?.[0];
	const zeroValue = zeroTensor === undefined ? 0 : valuesOf(zeroTensor)?.[0];
	if (scaleValue === undefined || zeroValue === undefined || !(scaleValue > 0)) return undefined;
	return encodingOf(dtype, scaleValue, zeroValue);
}

/** The type of the codes where no zero point names it. */
function implicitCodeType(node: Node, input: Value | undefined): DataType | undefined {
	if (isOnnxOp(node, "QuantizeLinear")) return intOf(node, "output_dtype", 0) || DataType.UINT8;
	const stored = constantOf(input)?.tensor.dtype;
	if (stored !== undefined) return stored;
	if (input?.producer !== undefined && isOnnxOp(input.producer, "QuantizeLinear")) {
		const zeroPoint = constantOf(input.producer.inputs[2])?.tensor.dtype;
		return zeroPoint ?? implicitCodeType(input.producer, undefined);
	}
	return input?.type?.kind === "tensor" ? input.type.elementType : undefined;
}

/** The encoding of the DequantizeLinear that `value` comes out of, view operators aside. */
export function encodingBehind(value: Value | undefined): Encoding | undefined {
	const producer = value === undefined ? undefined : sourceOf(value).producer;
	return producer !== undefined && isOnnxOp(producer, "DequantizeLinear") ? encodingAt(producer) : undefined;
}

/** What `value` is a view of: what comes into the Reshape, Transpose and so on that it comes out of. */
export function sourceOf(value: Value): Value {
	let at = value;
	while (at.producer !== undefined && isView(at.producer) && at.producer.inputs[0] !== undefined) {
		at = at.producer.inputs[0];
	}
	return at;
}

/**
 * Makes `QuantizeLinear -> DequantizeLinear` that read `value`, in front of `before` (undefined: at the end of the graph),
 * and returns what comes out. Who is to read it instead of `value` is the caller's business.
 */
export function addQdq(
	graph: Graph,
	value: Value,
	encoding: Encoding,
	names: NameScope,
	before: Node | undefined,
): Value {
	const { name } = value;
	const parameters = addParameters(graph, name, encoding, names, before);
	const codes = graph.createValue(names.fresh(`${name}_q`));
	const result = graph.createValue(names.fresh(`${name}_qdq`), value.type);
	const node = (op: string, input: Value, output: Value, suffix: string) =>
		graph.createNode(
			{ op, name: names.fresh(`${name}_${suffix}`), inputs: [input, ...parameters], outputs: [output] },
			before,
		);
	node("QuantizeLinear", value, codes, "Q");
	node("DequantizeLinear", codes, result, "DQ");
	return result;
}

/** The scale and the zero point of an encoding as constants, in the order of the operators' inputs. */
export function addParameters(
	graph: Graph,
	name: string,
	{ dtype, scale, zeroPoint }: Encoding,
	names: NameScope,
	before: Node | undefined,
): [scale: Value, zeroPoint: Value] {
	return [
		addConstant(graph, names.fresh(`${name}_scale`), floatTensor([], [scale]), before),
		addConstant(graph, names.fresh(`${name}_zero_point`), codesTensor(dtype, [], [zeroPoint]), before),
	];
}

/**
 * Puts `values` into the graph as integers behind a DequantizeLinear, in the finest encoding of the type that holds all of
 * them, and returns what comes out.
 */
export function addQuantizedConstant(
	graph: Graph,
	name: string,
	{ shape, values, dtype }: { shape: readonly number[]; values: ArrayLike<number>; dtype: DataType },
	names: NameScope,
	before: Node,
): Value {
	const encoding = coveringEncoding(dtype, rangeOf(values));
	const codes = Array.from(values, (value) => codeOf(value, encoding));
	const stored = addConstant(graph, names.fresh(`${name}_codes`), codesTensor(dtype, shape, codes), before);
	const inputs = [stored, ...addParameters(graph, name, encoding, names, before)];
	const result = graph.createValue(names.fresh(`${name}_dq`));
	graph.createNode({ op: "DequantizeLinear", name: names.fresh(`${name}_DQ`), inputs, outputs: [result] }, before);
	return result;
}

/** The smallest interval that holds all values; of none, nothing but 0. */
export function rangeOf(values: ArrayLike<number>): Interval {
	if (values.length === 0) return hull();
	let lo = Number.POSITIVE_INFINITY;
	let hi = Number.NEGATIVE_INFINITY;
	for (let index = 0; index < values.length; index++) {
		lo = Math.min(lo, values[index]!);
		hi = Math.max(hi, values[index]!);
	}
	return { lo, hi };
}

/** A tensor of integers of a type that encodings have. */
export function codesTensor(dtype: DataType, shape: readonly number[], codes: ArrayLike<number>): Tensor {
	if (!isCodeType(dtype)) throw new Error(`no encoding has codes of type ${dtype}`);
	return tensor(dtype, shape, bytesOf(ARRAYS[dtype].from(codes)));
}

/** The codes nearest to `values`, as the bytes of a tensor; what lies outside becomes the first or last code. */
export function codesOf(values: ArrayLike<number>, encoding: Encoding): Uint8Array {
	const { dtype } = encoding;
	if (!isCodeType(dtype)) throw new Error(`no encoding has codes of type ${dtype}`);
	const codes = new ARRAYS[dtype](values.length);
	for (let index = 0; index < codes.length; index++) codes[index] = codeOf(values[index]!, encoding);
	return bytesOf(codes);
}
