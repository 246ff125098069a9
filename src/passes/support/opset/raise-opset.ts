import type { Location } from "../../../diagnostics.js";
import { inferTypes } from "../../../inference/index.js";
import { type FunctionDefinition, type Model, onnxOpset } from "../../../ir/model.js";
import { NameScope } from "../../../ir/names.js";
import { isStandardDomain, type Node } from "../../../ir/node.js";
import { allGraphs, allNodes, functionKey, nodeLabel } from "../../../ir/walk.js";
import { convertDraft } from "./conversions.js";
import { irVersionOf } from "./history.js";
import { NodeDraft, Unconvertible } from "./node-draft.js";
import { writeDraft } from "./write-draft.js";

/** A node that has no equal in the operator set that is wanted. */
export interface Obstacle {
	readonly message: string;
	readonly at: Location;
}

/**
 * Raises the version of the standard operators that the model and its functions import to `to` where it is lower, and the
 * IR version with it, and converts every node whose operator changed in between; returns the types of the nodes that were.
 * All nodes are tried before the first is changed: where there are obstacles the model stays as it is.
 */
export function raiseOpset(
	model: Model,
	to: number,
): { readonly converted: readonly string[] } | { readonly obstacles: readonly Obstacle[] } {
	const result = draftsOf(model, to);
	if ("obstacles" in result) return result;
	const { drafts } = result;
	const scopes = [model, ...model.functions].filter((scope) => (onnxOpset(scope) ?? to) < to);
	const names = new NameScope(model);
	for (const draft of drafts) writeDraft(draft, names);
	for (const { opsetImports } of scopes) {
		for (const domain of [...opsetImports.keys()]) if (isStandardDomain(domain)) opsetImports.set(domain, to);
	}
	if (scopes.length > 0) raiseIrVersion(model, irVersionOf(to));
	return { converted: drafts.map(({ node }) => node.op.type) };
}

/** What becomes of each node that changes, or what stands in the way. */
function draftsOf(model: Model, to: number): { readonly drafts: NodeDraft[] } | { readonly obstacles: Obstacle[] } {
	const functions = new Set(model.functions.map(functionKey));
	const types = inferTypes(model);
	const drafts: NodeDraft[] = [];
	const obstacles: Obstacle[] = [];
	for (const site of allGraphs(model)) {
		const from = onnxOpset(site.function ?? model);
		for (const node of site.graph.nodes) {
			if (!isStandardDomain(node.op.domain) || functions.has(keyOf(node))) continue;
			if (from !== undefined && from >= to) continue;
			const draft = new NodeDraft(node, {
				target: to,
				types,
				isAlwaysGiven: (name) => isAlwaysGiven(model, site.function, name),
			});
			const reason = reasonAgainst(draft, from);
			if (reason !== undefined) {
				obstacles.push({ message: messageOf(node, to, reason), at: { graph: site.path, node: nodeLabel(node) } });
			} else if (draft.isChanged) drafts.push(draft);
		}
	}
	return obstacles.length > 0 ? { obstacles } : { drafts };
}

/** Converts `draft`; returns why that is not possible, where it is not. */
function reasonAgainst(draft: NodeDraft, from: number | undefined): string | undefined {
	if (from === undefined) return "nothing says which operator set it belongs to";
	try {
		convertDraft(draft, from);
		return undefined;
	} catch (error) {
		if (error instanceof Unconvertible) return error.message;
		throw error;
	}
}

function messageOf(node: Node, to: number, reason: string): string {
	return `operator '${node.op.type}' of node '${nodeLabel(node)}' cannot be raised to operator set ${to}: ${reason}; replace the node or choose another version`;
}

function keyOf({ op }: Node): string {
	return functionKey({ domain: op.domain, name: op.type, overload: op.overload });
}

/** Has attribute `name` of the function around a node a value in every call? */
function isAlwaysGiven(model: Model, definition: FunctionDefinition | undefined, name: string): boolean {
	if (definition === undefined || definition.attributeDefaults.has(name)) return true;
	const key = functionKey(definition);
	for (const { node } of allNodes(model)) if (keyOf(node) === key && !node.attributes.has(name)) return false;
	return true;
}

/**
 * Before IR version 4 every initializer is listed as an input too and constant all the same; from then on a listed one is
 * a default that the caller may replace, which would be a new freedom.
 */
export function raiseIrVersion(model: Model, irVersion: number): void {
	if (model.irVersion >= irVersion) return;
	if (model.irVersion < 4) {
		for (const value of [...model.graph.inputs]) if (value.initializer !== undefined) model.graph.removeInput(value);
	}
	model.irVersion = irVersion;
}
