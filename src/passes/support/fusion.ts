import type { DiagnosticCode } from "../../diagnostics.js";
import { inferTypes, type TypeTable } from "../../inference/index.js";
import { type Model, onnxOpset } from "../../ir/model.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import type { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { type GraphSite, nodeLabel } from "../../ir/walk.js";
import type { OptionSpec, PassContext } from "../infra/pass.js";
import { nodesBetween, sharedValue, uncast } from "./subgraph.js";

/** Why a subgraph that was recognized stays as it is. */
export interface Obstacle {
	readonly code: DiagnosticCode;
	readonly message: string;
}

/** What is known of types and shapes. */
export type Types = Pick<TypeTable, "typeOf" | "shapeOf">;

/** What to do with a subgraph whose operators have Q/DQ between them. */
export type Quantized = "keep" | "fuse";

/**
 * What keeps the nodes from `root` up to `x` from becoming one operator `type`: a value in between is read elsewhere, or
 * there are Q/DQ in between and these are to be kept.
 */
export function obstacleTo(type: string, root: Node, x: Value, quantized: Quantized): Obstacle | undefined {
	const nodes = nodesBetween(root, [x]);
	const shared = sharedValue(nodes, root.outputs[0]!);
	if (shared !== undefined) {
		return {
			code: "fuse/shared",
			message: `'${shared.name}' is inside of what would become one ${type} and is read elsewhere, too`,
		};
	}
	return quantizedObstacle(type, nodes, quantized);
}

/** There are Q/DQ among what would become one operator `type`, and these are to be kept. */
export function quantizedObstacle(type: string, nodes: ReadonlySet<Node>, quantized: Quantized): Obstacle | undefined {
	if (quantized === "fuse" || ![...nodes].some((node) => isOnnxOp(node, "QuantizeLinear"))) return undefined;
	return {
		code: "fuse/quantized",
		message: `the operators that would become one ${type} have Q/DQ between them, which would go away`,
	};
}

/** An operator of the standard domain is there from an operator set on. */
export function opsetObstacle(model: Model, site: GraphSite, type: string, since: number): Obstacle | undefined {
	const opset = onnxOpset(site.function ?? model) ?? 0;
	if (opset >= since) return undefined;
	return {
		code: "fuse/opset",
		message: `operator set ${opset} has no ${type}, which is there from ${since} on; run upgrade-opset first`,
	};
}

/** Says why `node` stays as it is; returns that nothing changed. */
export function leave(
	{ code, message }: Obstacle,
	node: Node,
	site: GraphSite,
	context: Pick<PassContext<unknown>, "report">,
): false {
	context.report(code, message, { graph: site.path, node: nodeLabel(node) });
	return false;
}

/** `x`, before Casts or behind them, so that it has the element type that `root` gives; undefined where that is not known. */
export function likeOutput(x: Value, root: Node, types: Types): Value | undefined {
	if (uncast(x) === x && ![...nodesBetween(root, [x])].some((node) => isOnnxOp(node, "Cast"))) return x;
	const wanted = elementTypeOf(root.outputs[0]!, types);
	return wanted === undefined ? undefined : [x, uncast(x)].find((value) => elementTypeOf(value, types) === wanted);
}

/** The element type of a tensor. */
export function elementTypeOf(value: Value, types: Types): DataType | undefined {
	const type = types.typeOf(value);
	return type?.kind === "tensor" ? type.elementType : undefined;
}

export const MIXED_TYPES: Obstacle = {
	code: "fuse/type",
	message: "what goes in and what comes out have different element types, or their types are not known",
};

/** What one operator `type` in the place of the nodes from `x` to `root` reads, or what keeps them from becoming one. */
export function fusedInput(type: string, root: Node, x: Value, types: Types, quantized: Quantized): Value | Obstacle {
	return obstacleTo(type, root, x, quantized) ?? likeOutput(x, root, types) ?? MIXED_TYPES;
}

/** What inferTypes finds out of `model` when it is first asked, for few models have anything to ask for. */
export function lazyTypes(model: Model): Types {
	let table: Types | undefined;
	const known = () => {
		table ??= inferTypes(model);
		return table;
	};
	return { typeOf: (value) => known().typeOf(value), shapeOf: (value) => known().shapeOf(value) };
}

/** For passes that fuse what the HTP takes with Q/DQ inside, too. */
export const QUANTIZED_OPTION: { readonly quantized: OptionSpec<Quantized> } = {
	quantized: {
		default: "keep",
		describe: "where there are Q/DQ inside: leave it or fuse it, dropping them",
		choices: ["keep", "fuse"],
	},
};
