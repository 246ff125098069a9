import type { DiagnosticCode } from "../../diagnostics.js";
import { intOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { DataType, dataTypeName, rawByteLength } from "../../ir/types.js";
import { isFloatType } from "../../weights/derived-tensor.js";
import { type Dequantization, isSymmetric, type WeightSite } from "../../weights/weight-site.js";

/** Why a weight is left alone. */
export interface Refusal {
	readonly code: DiagnosticCode;
	readonly message: string;
}

type Check = (site: WeightSite, dequantization: Dequantization) => Refusal | undefined;

/**
 * Can the weight at `site` become LPBQ? undefined means yes; otherwise the first reason against it. What is checked is
 * what neither the ONNX checker nor shape inference looks at, and what LPBQ asks for on top: int4, symmetric, blocks
 * along the axis that the operator sums over, whole blocks.
 */
export function refusalOf(site: WeightSite, activations: "integer" | "any"): Refusal | undefined {
	if (site.stored.overridable) return refuse("weight/overridable", `weight '${site.weightName}' is a graph input too`);
	const { dequantization } = site;
	if (dequantization === undefined) {
		return refuse(
			"weight/float",
			`weight '${site.weightName}' is ${dataTypeName(site.stored.tensor.dtype)}, not quantized`,
		);
	}
	for (const check of CHECKS) {
		const refusal = check(site, dequantization);
		if (refusal !== undefined) return refusal;
	}
	if (activations === "integer" && site.activations === "float") {
		return refuse(
			"weight/float-activations",
			`the input or the output of '${site.node.op.type}' is float, expected both to be quantized: 'qgraph calibrate' finds ranges, with which '--insert-activation-qdq --encodings' puts Q/DQ in; for other runtimes '--bq-to-lpbq-activations any' converts it as it is`,
		);
	}
	return undefined;
}

const CHECKS: readonly Check[] = [
	isReachedDirectly,
	isInt4,
	isBlocked,
	hasOpset,
	isLpbqOperand,
	hasConstantScales,
	hasFloatScales,
	isBlockedAlongContraction,
	hasMatchingScaleShape,
	hasWholeBlocks,
	isSymmetricWeight,
	hasExactData,
];

function isReachedDirectly({ indirect, weightName }: WeightSite): Refusal | undefined {
	if (indirect === undefined) return undefined;
	return refuse("weight/indirect", `weight '${weightName}' reaches its operator through ${indirect.op.type}`);
}

function isInt4({ stored, scheme, weightName }: WeightSite): Refusal | undefined {
	if (stored.tensor.dtype === DataType.INT4) return undefined;
	if (stored.tensor.dtype === DataType.UINT4 && scheme === "block") return asymmetryOf(weightName);
	return refuse("weight/not-int4", `weight '${weightName}' is ${dataTypeName(stored.tensor.dtype)}, expected INT4`);
}

function isBlocked({ scheme, weightName }: WeightSite, { blockSize, scale }: Dequantization): Refusal | undefined {
	if (scheme === "lpbq") return refuse("lpbq/already", `weight '${weightName}' has integer block scales already`);
	if (scheme !== "block")
		return refuse("weight/not-block", `weight '${weightName}' is ${scheme}, expected one scale a block`);
	if (scale !== undefined && scale.tensor.shape.length < 2) {
		return refuse(
			"weight/scale-shape",
			`weight '${weightName}' has block size ${blockSize} but a scale of shape [${scale.tensor.shape.join(", ")}]`,
		);
	}
	return undefined;
}

function hasOpset({ opset, weightName }: WeightSite): Refusal | undefined {
	if (opset >= 21) return undefined;
	return refuse(
		"weight/opset",
		`weight '${weightName}' is blocked INT4, which needs operator set 21, but the model imports ${opset}`,
	);
}

function isLpbqOperand({ node, input, weightName, axes, stored }: WeightSite): Refusal | undefined {
	if (input !== 1 || isOnnxOp(node, "ConvTranspose")) {
		const place = isOnnxOp(node, "ConvTranspose") ? "ConvTranspose" : `the left operand of ${node.op.type}`;
		return refuse("lpbq/operator", `weight '${weightName}' belongs to ${place}`);
	}
	const rank = stored.tensor.shape.length;
	const expected = isOnnxOp(node, "Conv") ? 4 : 2;
	if (axes !== undefined && rank === expected) return undefined;
	return refuse("weight/rank", `weight '${weightName}' of ${node.op.type} has rank ${rank}, expected ${expected}`);
}

function hasConstantScales(
	{ weightName }: WeightSite,
	{ scale, zeroPoint, hasZeroPoint }: Dequantization,
): Refusal | undefined {
	if (scale !== undefined && !scale.overridable && hasZeroPoint === (zeroPoint !== undefined)) return undefined;
	return refuse("weight/scale-not-constant", `the scales or zero points of weight '${weightName}' are not constants`);
}

function hasFloatScales({ weightName }: WeightSite, { node, scale }: Dequantization): Refusal | undefined {
	const output = intOf(node, "output_dtype", DataType.UNDEFINED);
	const type = scale?.tensor.dtype ?? DataType.UNDEFINED;
	if (isFloatType(type) && (output === DataType.UNDEFINED || output === type)) return undefined;
	const found = isFloatType(type) ? `output type ${dataTypeName(output)}` : dataTypeName(type);
	const expected = isFloatType(type) ? dataTypeName(type) : "FLOAT or FLOAT16";
	return refuse("weight/scale-type", `the scales of weight '${weightName}' have ${found}, expected ${expected}`);
}

function isBlockedAlongContraction(
	{ axes, node, weightName }: WeightSite,
	{ axis }: Dequantization,
): Refusal | undefined {
	if (axis !== undefined && axis === axes?.blockAxis) return undefined;
	const found = axis === undefined ? "an axis that it does not have" : `axis ${axis}`;
	return refuse(
		"weight/block-axis",
		`weight '${weightName}' is blocked along ${found}, but ${node.op.type} sums over axis ${axes?.blockAxis}`,
	);
}

function hasMatchingScaleShape(
	{ stored, weightName }: WeightSite,
	{ axis, blockSize, scale }: Dequantization,
): Refusal | undefined {
	const shape = stored.tensor.shape;
	if (blockSize < 0) return refuse("weight/scale-shape", `weight '${weightName}' has block size ${blockSize}`);
	const expected = shape.map((dim, index) => (index === axis ? Math.ceil(dim / blockSize) : dim));
	const found = scale?.tensor.shape ?? [];
	if (found.length === expected.length && found.every((dim, index) => dim === expected[index])) return undefined;
	return refuse(
		"weight/scale-shape",
		`the scales of weight '${weightName}' have shape [${found.join(", ")}], expected [${expected.join(", ")}] for [${shape.join(", ")}] in blocks of ${blockSize}`,
	);
}

function hasWholeBlocks(
	{ stored, node, weightName }: WeightSite,
	{ axis, blockSize }: Dequantization,
): Refusal | undefined {
	const depth = stored.tensor.shape[axis ?? 0] ?? 0;
	if (isOnnxOp(node, "Conv") && depth === 1) {
		return refuse("weight/depthwise", `weight '${weightName}' has one input channel a group`);
	}
	if (depth > 0 && depth % blockSize === 0) return undefined;
	return refuse(
		"weight/indivisible",
		`weight '${weightName}' has block size ${blockSize}, which does not divide K = ${depth}`,
	);
}

function isSymmetricWeight({ weightName }: WeightSite, dequantization: Dequantization): Refusal | undefined {
	const { zeroPoint, scale } = dequantization;
	const shape = zeroPoint?.tensor.shape;
	if (shape !== undefined && shape.join() !== scale?.tensor.shape.join()) {
		return refuse(
			"weight/zero-point",
			`the zero points of weight '${weightName}' have shape [${shape.join(", ")}], the scales [${scale?.tensor.shape.join(", ")}]`,
		);
	}
	if (zeroPoint !== undefined && zeroPoint.tensor.dtype !== DataType.INT4) {
		return refuse(
			"weight/zero-point",
			`the zero points of weight '${weightName}' are ${dataTypeName(zeroPoint.tensor.dtype)}, expected INT4`,
		);
	}
	return isSymmetric(dequantization) ? undefined : asymmetryOf(weightName);
}

/** What is said of a weight with zero points. */
export function asymmetryOf(weightName: string): Refusal {
	return refuse(
		"weight/zero-point",
		`weight '${weightName}' has zero points that are not zero; '--requantize' quantizes it anew without, at a loss`,
	);
}

function hasExactData({ weightName }: WeightSite, { codes, scale, zeroPoint }: Dequantization): Refusal | undefined {
	for (const constant of [codes, scale, zeroPoint]) {
		if (constant === undefined) continue;
		const { dtype, shape, data } = constant.tensor;
		const expected = rawByteLength(dtype, shape);
		if (data.byteLength !== expected) {
			return refuse(
				"weight/data-length",
				`'${constant.value.name}' of weight '${weightName}' has ${data.byteLength} bytes, expected ${expected}`,
			);
		}
	}
	return undefined;
}

function refuse(code: DiagnosticCode, message: string): Refusal {
	return { code, message };
}
