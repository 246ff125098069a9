import { intOf } from "../../ir/attribute.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { type Tensor, tensor } from "../../ir/tensor.js";
import { bitsPerElement, DataType, dataTypeName, elementCount, rawByteLength } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { isView } from "../../weights/activation.js";
import { constantOf } from "../../weights/constant.js";
import { asCodeType, asFloatType, isFloatType } from "../../weights/derived-tensor.js";
import { foldedQuantize } from "../../weights/folded-quantize.js";
import type { Refusal } from "./eligibility.js";
import { smallConstantOf } from "./small-constant.js";
import { isIdentity, type View, viewedTensor, viewOf } from "./tensor-view.js";

/** What stands in `value` once everything constant in front of it is done: a constant, or a dequantized one. */
export interface SeenWeight {
	/** Of a constant its elements, else the codes. The stored tensor itself where nothing changes it. */
	readonly codes: Tensor;
	readonly scales: SeenScales | undefined;
	/** The same for values that are made of the same constants in the same way. */
	readonly key: string;
}

/** What a DequantizeLinear reads besides the codes. */
export interface SeenScales {
	/** FLOAT, FLOAT16 or BFLOAT16, the type of the weight. LPBQ: one a channel. */
	readonly scale: Tensor;
	/** LPBQ's integers, and the axis of the channels. */
	readonly lpbq: { readonly integers: Tensor; readonly axis: number } | undefined;
	readonly zeroPoint: Tensor | undefined;
	/** 0 or more; undefined where the stored axis is out of range. */
	readonly axis: number | undefined;
	/** 0 where scales are not blocked. */
	readonly blockSize: number;
}

/**
 * Looks through what stands between constants and the operators that read them as weights: views, Cast, QuantizeLinear of a
 * constant, one DequantizeLinear. Changes nothing; what it returns is made when it is read.
 */
export class WeightViewer {
	readonly #seen: Map<Value, SeenWeight | Refusal> = new Map();
	readonly #ids: Map<Value, number> = new Map();

	at(value: Value): SeenWeight | Refusal {
		const known = this.#seen.get(value);
		if (known !== undefined) return known;
		const seen = this.#look(value);
		this.#seen.set(value, seen);
		return seen;
	}

	#look(value: Value): SeenWeight | Refusal {
		const constant = constantOf(value);
		if (constant?.overridable === true) return refuse("weight/overridable", `'${value.name}' is a graph input too`);
		if (constant !== undefined) {
			if (isWhole(constant.tensor)) return { codes: constant.tensor, scales: undefined, key: this.#id(value) };
			return refuse("weight/data-length", `'${value.name}' has not as many bytes as its shape needs`);
		}
		const { producer } = value;
		const source = producer?.inputs[0];
		if (producer === undefined || source === undefined) return NOT_CONSTANT;
		if (isOnnxOp(producer, "QuantizeLinear")) return this.#quantized(producer);
		const inner = this.at(source);
		if ("code" in inner) return inner;
		if (isView(producer)) return viewed(producer, inner);
		if (isOnnxOp(producer, "Cast")) return cast(producer, inner);
		return isOnnxOp(producer, "DequantizeLinear") ? this.#dequantized(producer, inner) : NOT_CONSTANT;
	}

	#quantized(node: Node): SeenWeight | Refusal {
		const codes = foldedQuantize(node);
		if (codes === undefined) return NOT_CONSTANT;
		if (codes.overridable) return refuse("weight/overridable", `'${codes.value.name}' is a graph input too`);
		const inputs = node.inputs.map((input) => (input === undefined ? "" : this.#id(input)));
		const attributes = ["axis", "block_size", "output_dtype"].map((name) => intOf(node, name, -1));
		return { codes: codes.tensor, scales: undefined, key: `Q(${inputs},${attributes})` };
	}

	#dequantized(node: Node, codes: SeenWeight): SeenWeight | Refusal {
		const [, scaleInput, zeroInput] = node.inputs;
		if (codes.scales !== undefined || scaleInput === undefined) return NOT_CONSTANT;
		const scale = this.at(scaleInput);
		const zeroPoint = zeroInput && this.at(zeroInput);
		if ("code" in scale) return scale;
		if (zeroPoint !== undefined && "code" in zeroPoint) return zeroPoint;
		if (zeroPoint?.scales !== undefined || scale.scales?.lpbq !== undefined) return NOT_CONSTANT;
		const type = scale.scales?.scale.dtype ?? scale.codes.dtype;
		const output = intOf(node, "output_dtype", DataType.UNDEFINED) || type;
		if (output !== type || !isFloatType(type)) {
			const found = output === type ? dataTypeName(type) : `output type ${dataTypeName(output)}`;
			return refuse("weight/scale-type", `its scales have ${found}, expected FLOAT or FLOAT16`);
		}
		const blockSize = intOf(node, "block_size", 0);
		const axis = normalized(intOf(node, "axis", 1), codes.codes.shape.length);
		const key = `DQ(${codes.key},${scale.key},${zeroPoint?.key},${axis},${blockSize})`;
		const rest = { zeroPoint: zeroPoint?.codes, axis, blockSize };
		if (scale.scales === undefined) {
			return { codes: codes.codes, scales: { scale: scale.codes, lpbq: undefined, ...rest }, key };
		}
		const zeros = scale.scales.zeroPoint === undefined ? [] : smallConstantOf(scaleZeroPointOf(scaleInput))?.values;
		const isSymmetric = zeros !== undefined && Array.from(zeros).every((zero) => zero === 0);
		if (!isSymmetric || scale.scales.blockSize !== 0 || scale.scales.axis === undefined) return NOT_CONSTANT;
		const lpbq = { integers: scale.codes, axis: scale.scales.axis };
		return { codes: codes.codes, scales: { scale: scale.scales.scale, lpbq, ...rest }, key };
	}

	#id(value: Value): string {
		const id = this.#ids.get(value) ?? this.#ids.size;
		this.#ids.set(value, id);
		return `#${id}`;
	}
}

function viewed(node: Node, inner: SeenWeight): SeenWeight | Refusal {
	const { codes, scales } = inner;
	const view = bitsPerElement(codes.dtype)! < 4 ? undefined : viewOf(node, codes.shape);
	if (view === undefined) return scales === undefined ? reshaped(node, inner) : notSimple(node);
	const rank = codes.shape.length;
	if (isIdentity(view, rank)) return inner;
	const key = `${node.op.type}(${inner.key},${view.map(String)})`;
	const made = viewedTensor(view, codes);
	if (scales === undefined) return { codes: made, scales: undefined, key };
	const { axis, blockSize, zeroPoint, lpbq, scale } = scales;
	const moved = movedAxis(view, axis);
	if (axis !== undefined && moved === undefined && elementCount(scale.shape) !== 1) return notSimple(node);
	const isBlocked = blockSize !== 0;
	const turn = (source: Tensor): Tensor => (isBlocked ? viewedTensor(view, source) : source);
	const channelAxis = movedAxis(view, lpbq?.axis);
	if (lpbq !== undefined && channelAxis === undefined) return notSimple(node);
	return {
		codes: made,
		scales: {
			scale: lpbq === undefined ? turn(scale) : scale,
			lpbq: lpbq && { integers: turn(lpbq.integers), axis: channelAxis! },
			zeroPoint: zeroPoint && turn(zeroPoint),
			axis: moved,
			blockSize,
		},
		key,
	};
}

function isWhole({ dtype, shape, data }: Tensor): boolean {
	return bitsPerElement(dtype) !== undefined && data.byteLength === rawByteLength(dtype, shape);
}

function movedAxis(view: View, axis: number | undefined): number | undefined {
	const place = axis === undefined ? -1 : view.indexOf(axis);
	return place === -1 ? undefined : place;
}

/** A constant in another shape: elements stay where they are. */
function reshaped(node: Node, { codes, key }: SeenWeight): SeenWeight | Refusal {
	const wanted = isOnnxOp(node, "Reshape") ? smallConstantOf(node.inputs[1])?.values : undefined;
	if (wanted === undefined) return notSimple(node);
	const copiesZeros = intOf(node, "allowzero", 0) === 0;
	const known = Array.from(wanted, (length, axis) => (length === 0 && copiesZeros ? (codes.shape[axis] ?? 0) : length));
	const rest = elementCount(codes.shape) / elementCount(known.filter((length) => length !== -1));
	const shape = known.map((length) => (length === -1 ? rest : length));
	if (elementCount(shape) !== elementCount(codes.shape)) return notSimple(node);
	return { codes: tensor(codes.dtype, shape, codes.data), scales: undefined, key: `Reshape(${key},${shape})` };
}

function cast(node: Node, { codes, scales, key }: SeenWeight): SeenWeight | Refusal {
	const dtype = intOf(node, "to", 0);
	const castKey = `Cast(${key},${dtype})`;
	if (scales !== undefined) {
		if (!isFloatType(dtype)) return notSimple(node);
		return { codes, scales: { ...scales, scale: asFloatType(scales.scale, dtype) }, key: castKey };
	}
	if (isFloatType(codes.dtype) && isFloatType(dtype)) {
		return { codes: asFloatType(codes, dtype), scales: undefined, key: castKey };
	}
	const made = asCodeType(codes, dtype);
	return made === undefined ? notSimple(node) : { codes: made, scales: undefined, key: castKey };
}

function scaleZeroPointOf(scale: Value): Value | undefined {
	return scale.producer?.inputs[2];
}

function normalized(axis: number, rank: number): number | undefined {
	const found = axis < 0 ? axis + rank : axis;
	return found >= 0 && found < rank ? found : undefined;
}

function notSimple(node: Node): Refusal {
	return refuse(
		"weight/indirect",
		`what ${node.op.type} does to it cannot be put into it, expected a new order of axes, axes of length 1 or another type`,
	);
}

const NOT_CONSTANT: Refusal = refuse("weight/scale-not-constant", "it is computed, expected constants only");

function refuse(code: Refusal["code"], message: string): Refusal {
	return { code, message };
}
