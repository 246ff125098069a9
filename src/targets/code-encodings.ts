import { intOf } from "../ir/attribute.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { constantOf } from "../weights/constant.js";
import { eachNumber, numbersOf } from "../weights/numbers.js";

/**
 * The QuantizeLinear that makes the codes which a DequantizeLinear reads, or the first DequantizeLinear that reads the same
 * constant, where its scales, zero points or axis are others; undefined where they are the same, and for codes that are all 0
 * with zero points of 0, which mean 0 with any scale.
 */
export function otherEncoding(node: Node): Node | undefined {
	const codes = node.inputs[0];
	if (codes === undefined || !isOnnxOp(node, "DequantizeLinear")) return undefined;
	const maker = codes.producer !== undefined && isOnnxOp(codes.producer, "QuantizeLinear") ? codes.producer : undefined;
	const first = maker ?? codes.uses.find((use) => isReader(use.node, codes))?.node;
	if (first === undefined || first === node || isSameEncoding(first, node)) return undefined;
	return isAllZero(codes) && [first, node].every(({ inputs }) => isAllZero(inputs[2])) ? undefined : first;
}

/** Every DequantizeLinear that reads the codes of `node` in the encoding of `node`, which is among them. */
export function readersAlike(node: Node): Node[] {
	const codes = node.inputs[0]!;
	const readers = codes.uses.map((use) => use.node).filter((reader) => isReader(reader, codes));
	return readers.filter((reader) => isSameEncoding(reader, node));
}

function isReader(node: Node, codes: Value): boolean {
	return isOnnxOp(node, "DequantizeLinear") && node.inputs[0] === codes;
}

function isSameEncoding(a: Node, b: Node): boolean {
	if (a === b) return true;
	const isSameLayout =
		intOf(a, "axis", 1) === intOf(b, "axis", 1) && intOf(a, "block_size", 0) === intOf(b, "block_size", 0);
	const scale = constantOf(a.inputs[1])?.tensor;
	const isScalar = scale?.shape.every((dim) => dim === 1) === true;
	if (!isSameNumbers(a.inputs[1], b.inputs[1]) || !(isSameLayout || isScalar)) return false;
	const [zeroA, zeroB] = [a.inputs[2], b.inputs[2]];
	return isSameNumbers(zeroA, zeroB) || (isAllZero(zeroA) && isAllZero(zeroB));
}

/** Are both the same constants, or made of such by a DequantizeLinear? */
function isSameNumbers(a: Value | undefined, b: Value | undefined): boolean {
	if (a === b) return true;
	const [left, right] = [constantOf(a)?.tensor, constantOf(b)?.tensor];
	if (left !== undefined && right !== undefined) {
		const others = numbersOf(right);
		return left.shape.join() === right.shape.join() && numbersOf(left).every((number, at) => number === others[at]);
	}
	const [first, second] = [a?.producer, b?.producer];
	if (first === undefined || second === undefined || !isOnnxOp(first, "DequantizeLinear")) return false;
	return (
		isOnnxOp(second, "DequantizeLinear") && [0, 1, 2].every((at) => isSameNumbers(first.inputs[at], second.inputs[at]))
	);
}

/** Is it absent, or a constant of zeros? */
function isAllZero(value: Value | undefined): boolean {
	if (value === undefined) return true;
	const stored = constantOf(value)?.tensor;
	let isZero = stored !== undefined;
	if (stored !== undefined) eachNumber(stored, (number) => (isZero = number === 0));
	return isZero;
}
