import { type Attribute, intOf } from "../../ir/attribute.js";
import type { Node } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import { smallConstantOf } from "./small-constant.js";
import { isSame, operandsOf, originOf, producerOf, scalarOf } from "./subgraph.js";

/** x / sqrt(mean(x^2) + epsilon), or the same of x - mean(x), as it is written with simpler operators. */
export interface Normalization {
	readonly x: Value;
	/** Is the mean of x taken from it first? */
	readonly isCentered: boolean;
	readonly epsilon: number;
	/** The ReduceMean nodes, which say over what. */
	readonly means: readonly Node[];
	/** The node that gives the result, which has no scale and no bias yet. */
	readonly root: Node;
}

/** The operator that does RMS normalization in operator set `opset`: ONNX Runtime's own of the same meaning below 23. */
export function rmsNormOperator(opset: number): "RMSNormalization" | "SimplifiedLayerNormalization" {
	return opset >= 23 ? "RMSNormalization" : "SimplifiedLayerNormalization";
}

/** The normalization whose root of a mean square is what `sqrt` gives; undefined where that is something else. */
export function normalizationAt(sqrt: Node): Normalization | undefined {
	const sum = producerOf(sqrt.inputs[0], "Add");
	for (const [meanSquare, constant] of sum === undefined ? [] : operandsOf(sum)) {
		const epsilon = scalarOf(constant);
		const mean = producerOf(meanSquare, "ReduceMean");
		const deviation = mean && squaredValue(mean.inputs[0]);
		if (epsilon === undefined || mean === undefined || deviation === undefined) continue;
		const centered = centeredValue(deviation);
		const quotient = quotientBy(sqrt.outputs[0]!, [deviation, ...(centered?.again ?? [])]);
		if (quotient === undefined) continue;
		const { root, dividend } = quotient;
		if (centered === undefined) return { x: deviation, isCentered: false, epsilon, means: [mean], root };
		const means = new Set([mean, centered.mean, centeredValue(dividend)!.mean]);
		return { x: centered.x, isCentered: true, epsilon, means: [...means], root };
	}
	return undefined;
}

/** The a of a^2 or a a. */
function squaredValue(value: Value | undefined): Value | undefined {
	const node = producerOf(value, "Pow", "Mul");
	const [base, other] = node?.inputs ?? [];
	if (node === undefined || base === undefined) return undefined;
	const isSquare = node.op.type === "Mul" ? isSame(base, other) : scalarOf(other) === 2;
	return isSquare ? base : undefined;
}

interface Centered {
	readonly x: Value;
	readonly mean: Node;
	/** Other values that are x - mean(x), as exporters write it that compute it once for the square and once for the quotient. */
	readonly again: readonly Value[];
}

/** The x of x - mean(x). */
function centeredValue(value: Value): Centered | undefined {
	const difference = producerOf(value, "Sub");
	const found = difference && centeredBy(difference);
	if (difference === undefined || found === undefined) return undefined;
	const others = readersOf(originOf(found.x)).filter(
		(node) => node !== difference && node.op.type === "Sub" && isSame(node.inputs[0], found.x),
	);
	return { ...found, again: others.filter(centeredBy).map((node) => node.outputs[0]!) };
}

function centeredBy(difference: Node): { readonly x: Value; readonly mean: Node } | undefined {
	const mean = producerOf(difference.inputs[1], "ReduceMean");
	const x = difference.inputs[0];
	return x !== undefined && mean !== undefined && isSame(mean.inputs[0], x) ? { x, mean } : undefined;
}

interface Quotient {
	/** The node that divides, or multiplies by the reciprocal. */
	readonly root: Node;
	readonly dividend: Value;
}

/** The quotient of one of `dividends` by `divisor`. */
function quotientBy(divisor: Value, dividends: readonly Value[]): Quotient | undefined {
	const quotient = (root: Node, value: Value | undefined): Quotient | undefined => {
		const dividend = dividends.find((candidate) => isSame(candidate, value));
		return dividend && { root, dividend };
	};
	for (const node of readersOf(divisor)) {
		if (node.op.type === "Div" && isSame(node.inputs[1], divisor)) {
			const found = quotient(node, node.inputs[0]);
			if (found !== undefined) return found;
		}
		const isReciprocal = node.op.type === "Reciprocal" || (node.op.type === "Div" && scalarOf(node.inputs[0]) === 1);
		if (!isReciprocal) continue;
		const factor = node.outputs[0]!;
		for (const product of readersOf(factor)) {
			if (product.op.type !== "Mul") continue;
			for (const [a, b] of operandsOf(product)) {
				const found = isSame(b, factor) ? quotient(product, a) : undefined;
				if (found !== undefined) return found;
			}
		}
	}
	return undefined;
}

const COPIES = ["Cast", "Identity", "QuantizeLinear", "DequantizeLinear"];

/** The nodes that read `value`, copies in between aside. */
export function readersOf(value: Value): Node[] {
	const readers: Node[] = [];
	const pending = [value];
	for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
		for (const { node } of at.uses) {
			if (COPIES.includes(node.op.type)) pending.push(node.outputs[0]!);
			else readers.push(node);
		}
	}
	return readers;
}

/** The axes over which a ReduceMean goes; undefined for all, and where they are computed. */
export function axesOf(mean: Node): readonly number[] | undefined {
	const attribute: Attribute | undefined = mean.attributes.get("axes");
	if (attribute?.kind === "ints") return attribute.value.map(Number);
	const constant = smallConstantOf(mean.inputs[1]);
	return constant && Array.from(constant.values);
}

/** Does the ReduceMean go over the last axis only, and keep it? `rank` is that of its input, undefined where not known. */
export function isOverLastAxis(mean: Node, rank: number | undefined): boolean {
	const axes = axesOf(mean);
	if (axes?.length !== 1 || intOf(mean, "keepdims", 1) !== 1) return false;
	return axes[0] === -1 || (rank !== undefined && axes[0] === rank - 1);
}
