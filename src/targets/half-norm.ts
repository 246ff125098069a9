import { isOnnxOp, type Node } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { constantOf } from "../weights/constant.js";
import type { TypeSource } from "./type-source.js";

/**
 * The Cast from FLOAT16 to FLOAT in front of a layer normalization, written with ReduceMean, Sub, Pow, Sqrt and Div, whose
 * root `sqrt` takes and whose scale and bias are FLOAT: what ONNX Runtime makes one LayerNormalization of that reads what
 * is in front of the Cast. undefined where it does not.
 */
export function castOfNorm(sqrt: Node, types: TypeSource): Node | undefined {
	const square = isOnnxOp(sqrt, "Sqrt") ? producer(producer(producer(sqrt, "Add"), "ReduceMean"), "Pow") : undefined;
	const cast = producer(producer(square, "Sub"), "Cast");
	if (cast === undefined || !isScaled(sqrt, types)) return undefined;
	const isAlone = cast.outputs[0]!.uses.every(({ node }) => isOnnxOp(node, "ReduceMean", "Sub"));
	if (!isAlone || cast.outputs[0]!.isGraphOutput) return undefined;
	return types.elementTypeOf(cast.inputs[0]!) === DataType.FLOAT16 ? cast : undefined;
}

/** The operator `type` that makes the first input of `node` that is computed. */
function producer(node: Node | undefined, type: string): Node | undefined {
	const made = node?.inputs.find((input) => input?.producer !== undefined && constantOf(input) === undefined)?.producer;
	return made !== undefined && isOnnxOp(made, type) ? made : undefined;
}

/** Is the quotient by the root, or the product with its reciprocal, multiplied by a FLOAT vector, and another one added? */
function isScaled(sqrt: Node, types: TypeSource): boolean {
	const divided = soleReader(sqrt.outputs[0]!, "Div");
	const isReciprocal = divided !== undefined && constantOf(divided.inputs[0]) !== undefined;
	const quotient = isReciprocal ? soleReader(divided.outputs[0]!, "Mul") : divided;
	const scaled = quotient && soleReader(quotient.outputs[0]!, "Mul");
	const biased = scaled && soleReader(scaled.outputs[0]!, "Add");
	return biased !== undefined && [scaled, biased].every((node) => node !== undefined && hasVector(node, types));
}

function soleReader(value: Value, type: string): Node | undefined {
	const [use, ...others] = value.uses;
	if (use === undefined || others.length > 0 || value.isGraphOutput) return undefined;
	return isOnnxOp(use.node, type) ? use.node : undefined;
}

function hasVector({ inputs }: Node, types: TypeSource): boolean {
	return inputs.some(
		(input) =>
			input !== undefined &&
			constantOf(input)?.tensor.shape.length === 1 &&
			types.elementTypeOf(input) === DataType.FLOAT,
	);
}
