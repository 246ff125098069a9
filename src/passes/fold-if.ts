import { inferTypes, type TypeTable } from "../inference/index.js";
import type { Graph } from "../ir/graph.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { allGraphs, nodeLabel } from "../ir/walk.js";
import { definePass } from "./infra/pass.js";
import { inlineBranch } from "./support/inline-branch.js";
import { removeUnused } from "./support/subgraph.js";

/**
 * `If(true, then, else)` -> the nodes of `then`: an If whose condition is known, a constant or something computed out of
 * fixed shapes, leaves the branch that it takes.
 */
export const foldIf = definePass<Record<never, never>>({
	name: "fold-if",
	summary: "Replace an If whose condition is known by the branch that it takes.",
	options: {},
	run(model, context) {
		const names = new NameScope(model);
		let changed = false;
		for (let found = true; found; ) {
			found = false;
			// conditions within a branch may follow from what stands around it
			const types = inferTypes(model);
			for (const { graph } of allGraphs(model)) {
				for (const node of [...graph.nodes]) {
					const taken = isOnnxOp(node, "If") ? branchOf(node, types) : undefined;
					if (taken === undefined) continue;
					const [condition] = node.inputs;
					inlineBranch(node, taken, names);
					if (condition !== undefined) removeUnused(condition);
					context.count("branches folded");
					[found, changed] = [true, true];
				}
				if (found) break;
			}
		}
		for (const { graph, path } of allGraphs(model)) {
			for (const node of graph.nodes) {
				if (!isOnnxOp(node, "If")) continue;
				const [input] = inputsBehind(node.inputs[0]);
				const hint =
					input === undefined ? "" : `; it follows from input '${input}': --input-value ${input}=VALUE settles it`;
				const message = `the condition '${node.inputs[0]?.name}' is not known before the model runs${hint}`;
				context.report("fold/condition", message, { graph: path, node: nodeLabel(node) });
			}
		}
		return changed;
	},
});

/** The names of the inputs that a value is computed from, where these are few: at most one that is no constant. */
function inputsBehind(value: Value | undefined): string[] {
	const found = new Set<string>();
	const pending = value === undefined ? [] : [value];
	const seen = new Set<Value>(pending);
	for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
		if (at.isGraphInput && at.initializer === undefined) found.add(at.name);
		for (const input of at.producer?.inputs ?? []) {
			if (input === undefined || seen.has(input)) continue;
			seen.add(input);
			pending.push(input);
		}
	}
	return found.size === 1 ? [...found] : [];
}

/** The branch that an If is known to take. */
function branchOf(node: Node, types: TypeTable): Graph | undefined {
	const [condition] = node.inputs;
	const [known] = (condition && types.elementsOf(condition)) ?? [];
	if (typeof known !== "number") return undefined;
	const branch = node.attributes.get(known === 0 ? "else_branch" : "then_branch");
	return branch?.kind === "graph" ? branch.value : undefined;
}
