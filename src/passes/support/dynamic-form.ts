import { intOf } from "../../ir/attribute.js";
import { isMicrosoftOp, isOnnxOp, type Node } from "../../ir/node.js";
import { DataType, dataTypeName, elementCount } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { nodeLabel } from "../../ir/walk.js";
import { type Constant, constantOf } from "../../weights/constant.js";
import { isReadable, numbersOf } from "../../weights/numbers.js";
import type { Obstacle, Types } from "./fusion.js";
import { operandsOf } from "./subgraph.js";

/** A product of codes that stands for `operator(x, weight) + bias`. */
export interface DynamicForm {
	readonly operator: "MatMul" | "Conv";
	/** The product of codes itself. */
	readonly node: Node;
	/** What gives the result in floats: `node`, or the Mul by the scales behind it. */
	readonly root: Node;
	readonly x: Value;
	readonly weight: Constant;
	/** The weight's axis of channels. */
	readonly axis: number;
	/** FLOAT, one element or one a channel. */
	readonly scale: Constant;
	/** One element or one a channel; undefined where all are 0. */
	readonly zeroPoint: Constant | undefined;
	/** Only of the operators that add one themselves. */
	readonly bias: Value | undefined;
}

/** Is `node` a product of codes and of a weight's codes? */
export function isIntegerProduct(node: Node): boolean {
	return (
		isOnnxOp(node, "MatMulInteger", "ConvInteger") ||
		isMicrosoftOp(node, "DynamicQuantizeMatMul", "MatMulIntegerToFloat")
	);
}

/** What the product of codes `node` stands for, or why that cannot be told. */
export function dynamicFormOf(node: Node, types: Types): DynamicForm | Obstacle {
	const parts = isOnnxOp(node, "MatMulInteger", "ConvInteger") ? scaledSums(node) : floatResult(node);
	if ("code" in parts) return parts;
	const operator = isOnnxOp(node, "ConvInteger") ? "Conv" : "MatMul";
	const weight = constantOf(parts.weight);
	if (weight === undefined || weight.overridable) {
		const why = weight === undefined ? "is no constant" : "may be replaced by the caller";
		return { code: "dynamic/weight", message: `weight '${parts.weight?.name}' ${why}, expected stored codes` };
	}
	const { dtype, shape } = weight.tensor;
	const rank = shape.length;
	if (!CODES.includes(dtype) || !isReadable(weight.tensor) || rank < (operator === "Conv" ? 3 : 2)) {
		return {
			code: "dynamic/weight",
			message: `weight '${weight.value.name}' is no tensor of 8-bit codes that a ${operator} takes`,
		};
	}
	const axis = operator === "Conv" ? 0 : rank - 1;
	const channels = shape[axis]!;
	const scale = constantOf(parts.scale);
	const place = operator === "Conv" ? rank - 2 : 0;
	const xRank = types.shapeOf(parts.x)?.length ?? 1;
	const mostAxes = operator === "Conv" ? rank : xRank === 1 ? rank - 1 : Math.max(xRank, rank);
	if (!fits(scale, DataType.FLOAT, channels, place, mostAxes))
		return unfit("scale", parts.scale, DataType.FLOAT, channels);
	const zeroPoint = parts.zeroPoint === undefined ? undefined : constantOf(parts.zeroPoint);
	if (parts.zeroPoint !== undefined && !fits(zeroPoint, dtype, channels, 0, rank)) {
		return unfit("zero point", parts.zeroPoint, dtype, channels);
	}
	const isAsymmetric = zeroPoint !== undefined && numbersOf(zeroPoint.tensor).some((number) => number !== 0);
	const { root, x, bias } = parts;
	return { operator, node, root, x, weight, axis, scale, zeroPoint: isAsymmetric ? zeroPoint : undefined, bias };
}

const CODES: readonly DataType[] = [DataType.INT8, DataType.UINT8];

interface Parts {
	readonly root: Node;
	readonly x: Value;
	readonly weight: Value | undefined;
	readonly scale: Value | undefined;
	readonly zeroPoint: Value | undefined;
	readonly bias: Value | undefined;
}

/** `Cast(sums) * (scale of x * scale of the weight)`. */
function scaledSums(node: Node): Parts | Obstacle {
	const [codes, weight, zeroOfX, zeroPoint] = node.inputs;
	const quantizer = codes?.producer;
	if (!isQuantizer(quantizer, codes, zeroOfX)) return notQuantized(node);
	const cast = onlyReader(node.outputs[0]!);
	if ("code" in cast) return cast;
	if (!isOnnxOp(cast, "Cast") || intOf(cast, "to", 0) !== DataType.FLOAT) return notScaled(node);
	const root = onlyReader(cast.outputs[0]!);
	if ("code" in root) return root;
	if (!isOnnxOp(root, "Mul")) return notScaled(node);
	const factor = root.inputs.find((input) => input !== cast.outputs[0]);
	const scales = factor?.producer;
	if (scales === undefined || !isOnnxOp(scales, "Mul")) return notScaled(node);
	for (const [scaleOfX, scale] of operandsOf(scales)) {
		if (scaleOfX !== quantizer.outputs[1]) continue;
		return { root, x: quantizer.inputs[0]!, weight, scale, zeroPoint, bias: undefined };
	}
	return notScaled(node);
}

/** What ONNX Runtime makes of it: operators of its own that give floats. */
function floatResult(node: Node): Parts | Obstacle {
	if (isMicrosoftOp(node, "DynamicQuantizeMatMul")) {
		const [x, weight, scale, zeroPoint, bias] = node.inputs;
		return { root: node, x: x!, weight, scale, zeroPoint, bias };
	}
	const [codes, weight, scaleOfX, scale, zeroOfX, zeroPoint, bias] = node.inputs;
	const quantizer = codes?.producer;
	if (!isQuantizer(quantizer, codes, zeroOfX) || quantizer.outputs[1] !== scaleOfX) return notQuantized(node);
	return { root: node, x: quantizer.inputs[0]!, weight, scale, zeroPoint, bias };
}

function isQuantizer(node: Node | undefined, codes: Value | undefined, zeroPoint: Value | undefined): node is Node {
	if (node === undefined || !isOnnxOp(node, "DynamicQuantizeLinear")) return false;
	return node.outputs[0] === codes && zeroPoint !== undefined && node.outputs[2] === zeroPoint;
}

function onlyReader(value: Value): Node | Obstacle {
	const [first, ...others] = value.uses;
	if (first !== undefined && others.length === 0 && !value.isGraphOutput) return first.node;
	const who = value.isGraphOutput ? "an output of the graph" : `read ${value.uses.length} times, expected once`;
	return { code: "dynamic/shared", message: `'${value.name}', sums of products of codes, is ${who}` };
}

function notQuantized(node: Node): Obstacle {
	const message = `what '${nodeLabel(node)}' multiplies are not the codes of a DynamicQuantizeLinear with their zero point and scale`;
	return { code: "dynamic/form", message };
}

function notScaled(node: Node): Obstacle {
	const message = `the sums of '${nodeLabel(node)}' are not cast to FLOAT and multiplied by the product of both scales`;
	return { code: "dynamic/form", message };
}

/** Is it one element, or one a channel along axis `place` from the end, of at most `mostAxes` axes? */
function fits(
	constant: Constant | undefined,
	dtype: DataType,
	channels: number,
	place: number,
	mostAxes: number,
): constant is Constant {
	if (constant === undefined || constant.overridable || constant.tensor.dtype !== dtype) return false;
	const { shape } = constant.tensor;
	const count = elementCount(shape);
	if (!isReadable(constant.tensor) || shape.length > mostAxes) return false;
	if (count !== 1 && (count !== channels || shape.at(-1 - place) !== channels)) return false;
	return numbersOf(constant.tensor).every(Number.isFinite);
}

function unfit(what: string, value: Value | undefined, dtype: DataType, channels: number): Obstacle {
	const message = `${what} '${value?.name}' is neither one constant number nor one for each of ${channels} channels, of type ${dataTypeName(dtype)}`;
	return { code: "dynamic/scale", message };
}
