import { intOf } from "../ir/attribute.js";
import { isOnnxOp, type Node } from "../ir/node.js";

/**
 * Which axes of a weight mean what. An operator sums over the block axis, and one output channel is one index of the
 * channel axis:
 *
 * | operator | weight | shape | block axis | channel axis |
 * | --- | --- | --- | --- | --- |
 * | MatMul | right input | [..., K, N] | -2 | -1 |
 * | MatMul | left input | [..., M, K] | -1 | -2 |
 * | Gemm | B, transB = 0 | [K, N] | 0 | 1 |
 * | Gemm | B, transB = 1 | [N, K] | 1 | 0 |
 * | Gemm | A, transA = 0 | [M, K] | 1 | 0 |
 * | Gemm | A, transA = 1 | [K, M] | 0 | 1 |
 * | Conv | W | [O, I / group, kernel...] | 1 | 0 |
 * | ConvTranspose | W | [I, O / group, kernel...] | 0 | 1 |
 */
export interface WeightAxes {
	readonly blockAxis: number;
	readonly channelAxis: number;
}

/** The inputs of `node` that may hold a weight, the usual one first; none for operators without weights. */
export function weightInputs(node: Node): readonly number[] {
	if (isOnnxOp(node, "MatMul", "Gemm")) return [1, 0];
	return isOnnxOp(node, "Conv", "ConvTranspose") ? [1] : [];
}

/** The axes of a weight of `rank` dimensions at `input` of `node`; undefined where the rank does not fit the operator. */
export function weightAxes(node: Node, input: number, rank: number): WeightAxes | undefined {
	switch (node.op.type) {
		case "MatMul":
			if (rank < 2) return undefined;
			return input === 1
				? { blockAxis: rank - 2, channelAxis: rank - 1 }
				: { blockAxis: rank - 1, channelAxis: rank - 2 };
		case "Gemm": {
			if (rank !== 2) return undefined;
			const blockAxis = input === 1 ? intOf(node, "transB", 0) : 1 - intOf(node, "transA", 0);
			return { blockAxis: blockAxis === 0 ? 0 : 1, channelAxis: blockAxis === 0 ? 1 : 0 };
		}
		case "Conv":
			return rank >= 3 && rank <= 5 ? { blockAxis: 1, channelAxis: 0 } : undefined;
		case "ConvTranspose":
			return rank >= 3 && rank <= 5 ? { blockAxis: 0, channelAxis: 1 } : undefined;
		default:
			return undefined;
	}
}
