import { inferTypes } from "../inference/index.js";
import { subgraphsOf } from "../ir/attribute.js";
import type { Graph } from "../ir/graph.js";
import type { Model } from "../ir/model.js";
import type { Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { allGraphs, allNodes, nodeLabel } from "../ir/walk.js";

import { constantOf } from "../weights/constant.js";
import { isFloatType } from "../weights/derived-tensor.js";

/** Values of a graph that cannot be seen from outside of it. */
export interface HiddenValues {
	/** The path of the graph. */
	readonly graph: string;
	/** Of float values that operators compute there. */
	readonly names: readonly string[];
	/** Why they cannot be seen, and what helps. */
	readonly reason: string;
}

/** The float values that are computed in bodies of control flow and in functions, graph by graph. */
export function hiddenValues(model: Model): HiddenValues[] {
	const types = inferTypes(model);
	const owners = new Map<Graph, Node>();
	for (const { node } of allNodes(model)) for (const [, graph] of subgraphsOf(node)) owners.set(graph, node);
	const found: HiddenValues[] = [];
	for (const { graph, path } of allGraphs(model)) {
		if (graph === model.graph) continue;
		const values = [...graph.nodes].flatMap(({ outputs }) => outputs);
		const isFloat = (value: Value) => {
			const type = types.typeOf(value);
			return type === undefined || (type.kind === "tensor" && isFloatType(type.elementType));
		};
		const names = values
			.filter((value) => value.name !== "" && constantOf(value) === undefined && isFloat(value))
			.map(({ name }) => name);
		if (names.length > 0) found.push({ graph: path, names, reason: reasonOf(owners.get(graph)) });
	}
	return found;
}

function reasonOf(owner: Node | undefined): string {
	if (owner === undefined) return "they lie in a function; inline it (onnx.inliner does) to have their ranges";
	const label = `'${nodeLabel(owner)}'`;
	switch (owner.op.type) {
		case "If":
			return `the condition of ${label} is not known before it runs; make it a constant and take the branch out with 'convert --fold-if'`;
		case "Loop":
		case "Scan":
			return `${label} runs its body any number of times; export the model with the loop unrolled`;
		default:
			return `they lie in a body of ${label}; export the model without it`;
	}
}
