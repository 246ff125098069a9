import { isStatic } from "../inference/dimension.js";
import type { Shape } from "../inference/fact.js";
import { intAttribute } from "../ir/attribute.js";
import type { NodeSpec } from "../ir/graph.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { floatTensor } from "../ir/tensor.js";
import { DataType, elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allGraphs, type GraphSite } from "../ir/walk.js";
import { definePass, type PassContext } from "./infra/pass.js";
import {
	elementTypeOf,
	lazyTypes,
	leave,
	MIXED_TYPES,
	opsetObstacle,
	QUANTIZED_OPTION,
	type Quantized,
	quantizedObstacle,
	type Types,
} from "./support/fusion.js";
import { vector } from "./support/lengths.js";
import { GraphWriter } from "./support/node-writer.js";
import { nodesBetween, operandsOf, producerOf, replaceSubgraph, scalarOf } from "./support/subgraph.js";

export interface FuseReduceL2Options {
	readonly quantized: Quantized;
}

/**
 * `sqrt(a^2 + b^2)` -> `ReduceL2` of both side by side; `sqrt(sum(x^2))` of up to four numbers -> `ReduceL2(x)`. Squares are Mul
 * or Pow, roots Sqrt or Pow; there may be more than two squares, and a constant epsilon.
 *
 * A square takes twice the bits of what is squared. In codes of 16 bits all below a 256th of the largest number is 0, and its
 * root has steps of as much there: the quiet parts of a spectrogram are lost. ReduceL2 keeps its squares to itself.
 */
export const fuseReduceL2 = definePass<FuseReduceL2Options>({
	name: "fuse-reduce-l2",
	summary: "Make the root of a sum of squares one ReduceL2 operator, so that no squares are rounded to codes.",
	options: QUANTIZED_OPTION,
	run(model, context) {
		const run = { model, types: lazyTypes(model), context, names: new NameScope(model) };
		let changed = false;
		for (const site of allGraphs(model)) {
			for (const node of site.graph.nodes) changed = fuse(node, site, run) || changed;
		}
		return changed;
	},
});

interface Run {
	readonly model: Model;
	readonly types: Types;
	readonly context: PassContext<FuseReduceL2Options>;
	readonly names: NameScope;
}

/** What is squared and summed up, with a number that is added; where `sum` is there, it is that ReduceSum of one square. */
interface Squares {
	readonly terms: readonly Value[];
	readonly epsilon: number;
	readonly sum?: Node;
}

function fuse(root: Node, site: GraphSite, run: Run): boolean {
	const { model, types, context, names } = run;
	const squares = isRoot(root) ? squaresOf(root.inputs[0]) : undefined;
	if (squares === undefined) return false;
	const isSum = squares.sum !== undefined || squares.terms.length > 1 || squares.epsilon > 0;
	if (
		!isSum ||
		!isSameShape(types.shapeOf(root.outputs[0]!), types.shapeOf(squares.sum?.outputs[0] ?? squares.terms[0]!))
	)
		return false;
	const nodes = nodesBetween(root, squares.terms);
	const obstacle =
		opsetObstacle(model, site, "ReduceL2 with its axes as an input", 18) ??
		quantizedObstacle("ReduceL2", nodes, context.options.quantized);
	if (obstacle !== undefined) return leave(obstacle, root, site, context);
	const elementType = elementTypeOf(root.outputs[0]!, types);
	if (elementType === undefined || squares.terms.some((term) => elementTypeOf(term, types) !== elementType))
		return leave(MIXED_TYPES, root, site, context);
	const writer = new GraphWriter(site.graph, names, root.outputs[0]!.name, root);
	const norm =
		squares.sum === undefined ? normBeside(squares, writer, types) : normOver(squares.sum, squares.terms[0]!, types);
	if (norm === undefined) return false;
	replaceSubgraph(root, { op: "ReduceL2", name: root.name, ...norm });
	context.count("subgraphs fused");
	return true;
}

function isRoot(node: Node): boolean {
	return isOnnxOp(node, "Sqrt") || (isOnnxOp(node, "Pow") && scalarOf(node.inputs[1]) === 0.5);
}

/** What `value` is the sum of squares of. */
function squaresOf(value: Value | undefined): Squares | undefined {
	const node = producerOf(value, "Add", "Mul", "Pow", "ReduceSum", "ReduceSumSquare");
	if (node === undefined) return undefined;
	const [a, b] = node.inputs;
	if (isOnnxOp(node, "ReduceSumSquare")) return { terms: [a!], epsilon: 0, sum: node };
	if (isOnnxOp(node, "ReduceSum")) {
		const squared = squaresOf(a);
		return squared?.terms.length === 1 && squared.sum === undefined && squared.epsilon === 0
			? { ...squared, sum: node }
			: undefined;
	}
	if (!isOnnxOp(node, "Add")) {
		const isSquare = isOnnxOp(node, "Mul") ? a === b : scalarOf(b) === 2;
		return isSquare ? { terms: [a!], epsilon: 0 } : undefined;
	}
	for (const [sum, constant] of operandsOf(node)) {
		const epsilon = scalarOf(constant);
		const squared = epsilon !== undefined && epsilon >= 0 ? squaresOf(sum) : undefined;
		if (squared !== undefined && squared.sum === undefined) return { ...squared, epsilon: squared.epsilon + epsilon! };
	}
	const [left, right] = [squaresOf(a), squaresOf(b)];
	if (left === undefined || right === undefined || left.sum !== undefined || right.sum !== undefined) return undefined;
	return { terms: [...left.terms, ...right.terms], epsilon: left.epsilon + right.epsilon };
}

type Norm = Pick<NodeSpec, "inputs" | "attributes">;

/** The norm of terms of one shape, put side by side along a new axis; undefined where their shapes differ or are not known. */
function normBeside({ terms, epsilon }: Squares, writer: GraphWriter, types: Types): Norm | undefined {
	const [shape, ...others] = terms.map((term) => types.shapeOf(term));
	if (shape === undefined || !others.every((other) => isSameShape(shape, other))) return undefined;
	if (epsilon > 0 && !(isStatic(shape) && elementTypeOf(terms[0]!, types) === DataType.FLOAT)) return undefined;
	const axis = Math.min(shape.length, 1);
	const axes = vector(writer, "axes", axis);
	const sides = terms.map((term) => writer.emit("Unsqueeze", [term, axes], {}, "side"));
	if (epsilon > 0) {
		const one = shape.toSpliced(axis, 0, 1) as number[];
		sides.push(
			writer.constant("epsilon", floatTensor(one, new Float32Array(elementCount(one)).fill(Math.sqrt(epsilon)))),
		);
	}
	const all = writer.emit("Concat", sides, { axis: intAttribute(axis) }, "sides");
	return { inputs: [all, axes], attributes: { keepdims: intAttribute(0) } };
}

function isSameShape(a: Shape | undefined, b: Shape | undefined): boolean {
	if (a === undefined || a.length !== b?.length) return false;
	return a.every((length, axis) => length !== undefined && length === b[axis]);
}

/** The norm of what `sum` sums the squares of; undefined where these are many, or it is not known how many. */
function normOver(sum: Node, x: Value, types: Types): Norm | undefined {
	const [before, behind] = [types.shapeOf(x), types.shapeOf(sum.outputs[0]!)];
	if (before === undefined || behind === undefined || !isStatic(before) || !isStatic(behind)) return undefined;
	if (elementCount(before) > MAX_SUMMED * elementCount(behind)) return undefined;
	return { inputs: [x, ...sum.inputs.slice(1)], attributes: Object.fromEntries(sum.attributes) };
}

/** Sums of more squares differ less from each other, and the HTP computes ReduceL2 on floats of 16 bits from v73 on. */
const MAX_SUMMED = 4;
