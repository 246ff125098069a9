import { floatOf, intOf } from "../../ir/attribute.js";
import type { Node } from "../../ir/node.js";
import { dataTypeName } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { nodeLabel } from "../../ir/walk.js";
import { constantOf } from "../../weights/constant.js";
import type { Dequantization, WeightSite } from "../../weights/weight-site.js";
import type { Refusal } from "./eligibility.js";
import { hasFloatScales } from "./matmul-weight.js";
import { type SmallConstant, smallConstantOf } from "./small-constant.js";

/** A Gemm that can be written as MatMul and Add: alpha * A * B + beta * C. */
export interface GemmForm {
	readonly dequantization: Dequantization;
	readonly transposesLeft: boolean;
	/** Is B stored as [N, K]? */
	readonly transpose: boolean;
	/** Not 0. */
	readonly alpha: number;
	readonly beta: number;
	/** C: numbers or a value that is computed; undefined where it adds nothing. */
	readonly addend: (SmallConstant & { readonly from?: Value }) | { readonly value: Value } | undefined;
}

/** What a Gemm with a quantized weight at the right computes, or why it cannot be taken apart. */
export function gemmForm(site: WeightSite, dequantization: Dequantization): GemmForm | Refusal {
	const { node, weightName } = site;
	const label = nodeLabel(node);
	if (site.input !== 1)
		return { code: "lpbq/operator", message: `weight '${weightName}' belongs to the left operand of Gemm` };
	if (site.stored.overridable) {
		return { code: "weight/overridable", message: `weight '${weightName}' is a graph input too` };
	}
	if (site.indirect !== undefined) {
		const message = `weight '${weightName}' reaches its operator through ${site.indirect.op.type}`;
		return { code: "weight/indirect", message };
	}
	if (!hasConstantParameters(dequantization)) {
		return {
			code: "weight/scale-not-constant",
			message: `the scales or zero points of weight '${weightName}' are not constants`,
		};
	}
	if (site.axes === undefined) {
		const rank = site.stored.tensor.shape.length;
		return { code: "weight/rank", message: `weight '${weightName}' of Gemm has rank ${rank}, expected 2` };
	}
	const alpha = floatOf(node, "alpha", 1);
	const beta = floatOf(node, "beta", 1);
	if (alpha === 0 || !Number.isFinite(alpha)) {
		return { code: "gemm/kept", message: `'${label}' has alpha = ${alpha}, expected a number other than 0` };
	}
	if (Math.abs(alpha) !== 1 && !hasFloatScales(dequantization)) {
		const found = constantOf(dequantization.scaleNode?.inputs[1])?.tensor.dtype ?? dequantization.scale!.tensor.dtype;
		return {
			code: "gemm/kept",
			message: `'${label}' has alpha = ${alpha}, and the scales that would take it are ${dataTypeName(found)}, expected FLOAT`,
		};
	}
	return {
		dequantization,
		transposesLeft: intOf(node, "transA", 0) !== 0,
		transpose: intOf(node, "transB", 0) !== 0,
		alpha,
		beta,
		addend: addendOf(node, alpha, beta),
	};
}

function hasConstantParameters({ scale, scaleNode, zeroPoint, hasZeroPoint }: Dequantization): boolean {
	if (hasZeroPoint && (zeroPoint === undefined || zeroPoint.overridable)) return false;
	if (scaleNode === undefined) return scale !== undefined && !scale.overridable;
	return scaleNode.inputs.every((input) => input === undefined || constantOf(input)?.overridable === false);
}

function addendOf(node: Node, alpha: number, beta: number): GemmForm["addend"] {
	const bias = node.inputs[2];
	const nothing = alpha > 0 ? undefined : { shape: [], values: [0] };
	if (bias === undefined || beta === 0) return nothing;
	const constant = smallConstantOf(bias);
	if (constant === undefined) return { value: bias };
	return Array.from(constant.values).every((value) => value === 0) ? nothing : { ...constant, from: bias };
}
