import { QGraphError } from "../diagnostics.js";
import { inferTypes } from "../inference/index.js";
import { type FunctionDefinition, type Model, onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isStandardDomain, type Node } from "../ir/node.js";
import { allGraphs, allNodes, functionKey, type GraphSite, nodeLabel } from "../ir/walk.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { convertDraft } from "./support/opset/conversions.js";
import { irVersionOf, NEWEST_OPSET } from "./support/opset/history.js";
import { NodeDraft, Unconvertible } from "./support/opset/node-draft.js";
import { writeDraft } from "./support/opset/write-draft.js";

/** The oldest operator set to raise models to: new nodes are written in the form that they have from there on. */
const OLDEST_TARGET = 13;

export interface UpgradeOpsetOptions {
	readonly to: number;
}

/**
 * `Squeeze(x) {axes=[1]}` -> `Squeeze(x, axes)`: raises the version of the standard operators that the model and its
 * functions import, and the IR version with it, and converts every node whose operator changed its meaning or signature
 * in between. All nodes are tried before the first is changed: where one cannot be converted the model stays as it is.
 */
export const upgradeOpset = definePass<UpgradeOpsetOptions>({
	name: "upgrade-opset",
	summary: "Raise the version of the standard operators and convert the nodes that it changes.",
	options: { to: { default: 21, describe: `operator set version to raise to, ${OLDEST_TARGET} to ${NEWEST_OPSET}` } },
	requires(_model, { options: { to } }) {
		if (Number.isInteger(to) && to >= OLDEST_TARGET && to <= NEWEST_OPSET) return;
		throw new QGraphError(
			"pass/unknown-option",
			`option 'to' of pass 'upgrade-opset' is ${to}, expected an integer from ${OLDEST_TARGET} to ${NEWEST_OPSET}`,
		);
	},
	run(model, context) {
		const { to } = context.options;
		const scopes = [model, ...model.functions].filter((scope) => (onnxOpset(scope) ?? to) < to);
		const drafts = draftsOf(model, context);
		if (drafts === undefined) return false;
		if (scopes.length === 0) {
			const has = onnxOpset(model);
			const state = has === undefined ? "imports no standard operators" : `has operator set ${has} already`;
			context.report("opset/current", `the model ${state}; nothing to raise to ${to}`, {});
			return false;
		}
		const names = new NameScope(model);
		for (const draft of drafts) {
			writeDraft(draft, names);
			context.count(`${draft.node.op.type} converted`);
		}
		for (const { opsetImports } of scopes) {
			for (const domain of [...opsetImports.keys()]) if (isStandardDomain(domain)) opsetImports.set(domain, to);
		}
		raiseIrVersion(model, irVersionOf(to));
		return true;
	},
});

/** What becomes of each node that changes; undefined where some cannot be converted, which is reported, each by itself. */
function draftsOf(model: Model, context: PassContext<UpgradeOpsetOptions>): NodeDraft[] | undefined {
	const { to } = context.options;
	const functions = new Set(model.functions.map(functionKey));
	const types = inferTypes(model);
	const drafts: NodeDraft[] = [];
	let refused = false;
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
				refused = true;
				report(context, node, site, reason);
			} else if (draft.isChanged) drafts.push(draft);
		}
	}
	return refused ? undefined : drafts;
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

function report(context: PassContext<UpgradeOpsetOptions>, node: Node, site: GraphSite, reason: string): void {
	context.report(
		"opset/unconvertible",
		`operator '${node.op.type}' of node '${nodeLabel(node)}' cannot be raised to operator set ${context.options.to}: ${reason}; replace the node or choose another version`,
		{ graph: site.path, node: nodeLabel(node) },
	);
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
function raiseIrVersion(model: Model, irVersion: number): void {
	if (model.irVersion >= irVersion) return;
	if (model.irVersion < 4) {
		for (const value of [...model.graph.inputs]) if (value.initializer !== undefined) model.graph.removeInput(value);
	}
	model.irVersion = irVersion;
}
