import { isOnnxOp, type Node } from "../ir/node.js";
import { bitsPerElement } from "../ir/types.js";
import type { Interval } from "../quant/grid.js";
import { constantOf } from "../weights/constant.js";
import { resultBehind } from "./cut-range.js";
import { fixedShape } from "./fixed-shape.js";
import type { OperatorFacts } from "./operator-facts.js";
import { codeInterval } from "./readers.js";
import { sourceOf } from "./rules/producers.js";
import type { TypeSource } from "./type-source.js";

/** How many widths of the output's encoding away from 0 inputs may be. */
const REACH = 4;

/** What a HardSwish writes, and the lowest that it reads. */
export interface NarrowHardSwish extends Interval {
	readonly lowest: number;
}

/** The ranges of a HardSwish whose output is too narrow for its input; undefined where it is right. */
export function narrowHardSwish(
	{ node, inputs: [input] }: OperatorFacts,
	types: TypeSource,
): NarrowHardSwish | undefined {
	const [before, behind] = [input?.quantization, resultBehind(node, types)];
	if (!isOnnxOp(node, "HardSwish") || before?.dtype === undefined || behind === undefined) return undefined;
	if (bitsPerElement(before.dtype) !== 16) return undefined;
	const [read, written] = [codeInterval(before), codeInterval(behind)];
	if (read === undefined || written === undefined || written.lo >= 0) return undefined;
	const source = sourceOf(input!.value, ["Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"]);
	const product = source && biasedBy(source);
	if (product === undefined || !isOnnxOp(product, "Conv", "Gemm", "MatMul")) return undefined;
	if (isOddLine(product, types)) return undefined;
	return read.lo < (written.lo - written.hi) * REACH ? { ...written, lowest: read.lo } : undefined;
}

/** The product that `node` adds a vector to, with no quantizer between; else `node`. */
function biasedBy(node: Node): Node {
	if (!isOnnxOp(node, "Add")) return node;
	const product = node.inputs.find((input) => input !== undefined && constantOf(input) === undefined)?.producer;
	return product !== undefined && isOnnxOp(product, "MatMul") ? product : node;
}

/** Does a product make one line of more than 32 rows, no multiple of 8 of them? Another kernel computes these. */
function isOddLine(product: Node, types: TypeSource): boolean {
	const shape = fixedShape(types.shapeOf(product.outputs[0]!));
	if (shape === undefined) return false;
	const [rows, others] = isOnnxOp(product, "Conv")
		? [shape.at(-1)!, shape.slice(2, -1)]
		: [shape.at(-2)!, shape.slice(0, -2)];
	return others.every((length) => length === 1) && rows > 32 && rows % 8 !== 0;
}
