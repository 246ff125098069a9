import { isOnnxOp, type Node } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import { HTP_CAPABILITIES } from "./capabilities.js";
import type { OperatorFacts } from "./operator-facts.js";
import type { HtpArchitecture } from "./target.js";

const { INT4, UINT4, INT8, UINT8, INT16, UINT16 } = DataType;

type TypesBeside = ReadonlyMap<DataType, readonly DataType[]>;

/** Types of weights with one scale, by the type of what they are multiplied with, where nothing is added. */
const ALONE: TypesBeside = new Map([
	[UINT8, [INT8, UINT8, INT4, UINT4]],
	[INT8, [INT8, UINT8, INT4, UINT4, INT16, UINT16]],
	[UINT16, [INT8, UINT8, INT4, UINT4, INT16, UINT16]],
	[INT16, [INT8, INT4]],
]);

/** The same of weights with one scale a channel, and of those beside a bias. */
const COMMON: TypesBeside = new Map([
	[UINT8, [INT8, UINT8, INT4]],
	[INT8, [INT8]],
	[UINT16, [INT8, UINT8, INT4, INT16, UINT16]],
	[INT16, [INT8, INT4]],
]);

const WIDE: readonly DataType[] = [INT16, UINT16];

/** The type of the codes that the weight of `operator` is multiplied with; undefined where these are floats. */
export function activationType({ inputs, weight }: OperatorFacts): DataType | undefined {
	return inputs[weight?.site.input === 0 ? 1 : 0]?.quantization?.dtype;
}

/**
 * Does the kernel of `operator` take its weight, on the right of the product and without blocks, stored as `dtype`? True where
 * the activations are no codes, of which this does not speak.
 */
export function takesWeightType(operator: OperatorFacts, dtype: DataType, architecture: HtpArchitecture): boolean {
	const beside = activationType(operator);
	if (WIDE.includes(dtype) && !HTP_CAPABILITIES[architecture].wideProducts) return false;
	if (beside === undefined) return true;
	const isAlone = operator.weight?.scheme === "per-tensor" && !isBiased(operator);
	const types = (isAlone ? ALONE : COMMON).get(beside);
	return types === undefined || types.includes(dtype) || takesUnsignedNibbles(operator, dtype, beside);
}

function isBiased({ node, inputs, fusedAdd }: OperatorFacts): boolean {
	return !isOnnxOp(node, "MatMul") ? inputs[2] !== undefined : fusedAdd !== undefined;
}

/** A Gemm takes UINT4 with one scale beside a bias, too. */
function takesUnsignedNibbles({ node, weight }: OperatorFacts, dtype: DataType, beside: DataType): boolean {
	if (dtype !== UINT4 || weight?.scheme !== "per-tensor") return false;
	return isMatrixProduct(node) && (beside === UINT8 || beside === UINT16);
}

function isMatrixProduct(node: Node): boolean {
	return isOnnxOp(node, "Gemm", "MatMul");
}
