import { inferTypes } from "../inference/index.js";
import { subgraphsOf } from "../ir/attribute.js";
import type { Graph } from "../ir/graph.js";
import { type Model, onnxOpset } from "../ir/model.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { allGraphs, allNodes, nodeLabel } from "../ir/walk.js";
import { constantOf } from "../weights/constant.js";
import { isFloatType } from "../weights/derived-tensor.js";
import type { Watched } from "./instruments.js";
import { watch } from "./watched-values.js";

/** A graph inside of another one, or a function, and the float values that are given to it or computed there. */
export interface Body {
	readonly graph: Graph;
	readonly path: string;
	/** The node that carries it; undefined for a function. */
	readonly owner: Node | undefined;
	/** Those that are observed. */
	readonly values: readonly Watched[];
	/** Names of those that cannot be. */
	readonly hidden: readonly string[];
}

/** From this operator set on there is a Where, and Scan has no batch of its own. */
const LEAST_OPSET = 9;

/** The bodies of control flow and functions that compute on floats, outer ones first. */
export function bodiesOf(model: Model): Body[] {
	const types = inferTypes(model);
	const owners = new Map<Graph, Node>();
	for (const { node } of allNodes(model)) for (const [, graph] of subgraphsOf(node)) owners.set(graph, node);
	const isOpen = (graph: Graph): boolean => {
		const owner = owners.get(graph);
		if (graph === model.graph) return (onnxOpset(model) ?? 0) >= LEAST_OPSET;
		return owner !== undefined && isOnnxOp(owner, "If", "Loop", "Scan") && isOpen(owner.graph!);
	};
	return [...allGraphs(model)].flatMap(({ graph, path }) => {
		if (graph === model.graph) return [];
		const isFloat = (value: Value) => {
			const type = types.typeOf(value);
			return type === undefined || (type.kind === "tensor" && isFloatType(type.elementType));
		};
		const computed = [...graph.nodes].flatMap(({ outputs }) => outputs);
		const values = [...graph.inputs, ...computed].filter((value) => {
			return value.name !== "" && constantOf(value) === undefined && isFloat(value);
		});
		if (values.length === 0) return [];
		const isSeen = (value: Value) => isOpen(graph) && types.typeOf(value) !== undefined;
		return {
			graph,
			path,
			owner: owners.get(graph),
			values: values.filter(isSeen).map((value) => watch(value, types)),
			hidden: values.filter((value) => !isSeen(value)).map(({ name }) => name),
		};
	});
}

/** Why values of a body have no ranges, and what helps. @param isRun can it be looked into? */
export function reasonOf({ owner }: Body, isRun: boolean): string {
	if (owner === undefined) return "they lie in a function; inline it (onnx.inliner does) to have their ranges";
	const label = `'${nodeLabel(owner)}'`;
	if (!isRun) return `they lie in a body of ${label}; export the model without it`;
	return isOnnxOp(owner, "If")
		? `no sample takes this branch of ${label}; add samples that do, or make the condition a constant and take the branch out with 'convert --fold-if'`
		: `no sample runs the body of ${label}; add samples that do`;
}
