import { isOnnxOp } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import type { OperatorFacts } from "./operator-facts.js";
import type { WeightFacts } from "./weight-facts.js";

/** Of INT8. */
const LARGEST_CODE = 127;

/**
 * Does ONNX Runtime make INT8 codes with one scale of the float weight? It does for linear operators between quantized
 * values, for a MatMul only with the Add of a float vector behind it.
 */
export function becomesInt8({ node, weight, inputs, fusedAdd, result }: OperatorFacts): boolean {
	if (!isOnnxOp(node, "MatMul", "Gemm", "Conv", "ConvTranspose") || weight?.scheme !== "float") return false;
	if (inputs[0]?.quantization === undefined || result === undefined) return false;
	return !isOnnxOp(node, "MatMul") || fusedAdd?.addend.constant?.dtype === DataType.FLOAT;
}

/** The step of the codes that a float weight becomes. */
export function roundedStep({ magnitude: { largest } }: WeightFacts): number {
	return largest / LARGEST_CODE;
}

/** Steps of a weight's codes, one a channel or one for all; none where it is computed in floats, or is 0. */
export function codeSteps(operator: OperatorFacts): ArrayLike<number> {
	const { weight } = operator;
	if (weight === undefined) return [];
	if (weight.scheme !== "float") return weight.channelScales;
	const step = becomesInt8(operator) ? roundedStep(weight) : 0;
	return step > 0 ? [step] : [];
}
