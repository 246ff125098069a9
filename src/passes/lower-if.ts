import { inferTypes, type TypeTable } from "../inference/index.js";
import type { Graph } from "../ir/graph.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, isStandardDomain, type Node } from "../ir/node.js";
import { int64Tensor } from "../ir/tensor.js";
import type { Value } from "../ir/value.js";
import { allGraphs, nodeLabel } from "../ir/walk.js";
import { fixedShape } from "../targets/fixed-shape.js";
import { constantOf } from "../weights/constant.js";
import { definePass } from "./infra/pass.js";
import { giveResults, moveBranch } from "./support/inline-branch.js";
import { GraphWriter } from "./support/node-writer.js";

/**
 * `If(c, then, else)` -> the nodes of both branches, and `Where(c, a, b)` of what each hands out: for targets that have no
 * branches. That costs what both cost. An If stays where a branch may fail when it is not taken, as a Gather with computed
 * indices does, where it is random, or where results of the branches differ in shape.
 */
export const lowerIf = definePass<Record<never, never>>({
	name: "lower-if",
	summary: "Compute both branches of an If whose condition is data, and choose between the results.",
	options: {},
	run(model, context) {
		const names = new NameScope(model);
		const kept = new Set<Node>();
		let changed = false;
		for (let found = true; found; ) {
			found = false;
			const types = inferTypes(model);
			for (const { graph, path } of allGraphs(model)) {
				for (const node of [...graph.nodes]) {
					if (!isOnnxOp(node, "If") || kept.has(node)) continue;
					const reason = whyKept(node, types);
					if (reason === undefined) {
						computeBoth(node, types, names);
						context.count("branches computed both");
						[found, changed] = [true, true];
						continue;
					}
					kept.add(node);
					const message = `'${nodeLabel(node)}' stays: ${reason}`;
					context.report("if/kept", message, { graph: path, node: nodeLabel(node) });
				}
				if (found) break;
			}
		}
		return changed;
	},
});

/** Of which another run gives something else. */
const RANDOM = [
	"Bernoulli",
	"Dropout",
	"Multinomial",
	"RandomNormal",
	"RandomNormalLike",
	"RandomUniform",
	"RandomUniformLike",
];
/** Which fail with indices, or lengths, that are out of bounds. */
const INDEXED = [
	"Gather",
	"GatherElements",
	"GatherND",
	"Scatter",
	"ScatterElements",
	"ScatterND",
	"Expand",
	"Reshape",
	"Slice",
	"Split",
];
const NESTED = ["Loop", "Scan", "SequenceMap"];

function branchesOf(node: Node): [then: Graph | undefined, otherwise: Graph | undefined] {
	const [then, otherwise] = ["then_branch", "else_branch"].map((name) => {
		const attribute = node.attributes.get(name);
		return attribute?.kind === "graph" ? attribute.value : undefined;
	});
	return [then, otherwise];
}

/** Why both branches cannot be computed; undefined: they can. */
function whyKept(node: Node, types: TypeTable): string | undefined {
	const branches = branchesOf(node);
	const condition = node.inputs[0] && types.shapeOf(node.inputs[0]);
	if (fixedShape(condition)?.some((length) => length !== 1) ?? true)
		return "nothing says that its condition is one value, expected a shape of ones";
	for (const branch of branches) {
		if (branch === undefined) return "it has no two branches";
		const bad = [...branch.nodes].find((inner) => !isHarmless(inner));
		if (bad !== undefined)
			return `${bad.op.type} '${nodeLabel(bad)}' of '${branch.name}' may fail, or be random, where the branch is not taken`;
	}
	for (const [index, output] of node.outputs.entries()) {
		const [a, b] = branches.map((branch) => fixedShape(types.shapeOf(branch!.outputs[index]!)));
		if (a === undefined || b === undefined || a.join() !== b.join())
			return `nothing says that both branches give '${output.name}' one shape; fix the dimensions (--dim)`;
	}
	return undefined;
}

/** Can it be computed where its branch is not taken? */
function isHarmless(node: Node): boolean {
	if (!isStandardDomain(node.op.domain) || isOnnxOp(node, ...RANDOM, ...NESTED)) return false;
	if (isOnnxOp(node, "If")) return branchesOf(node).every((branch) => branch && [...branch.nodes].every(isHarmless));
	return !isOnnxOp(node, ...INDEXED) || node.inputs.slice(1).every((input) => input === undefined || isStored(input));
}

function isStored(value: Value): boolean {
	return constantOf(value) !== undefined || (value.producer !== undefined && isOnnxOp(value.producer, "Constant"));
}

function computeBoth(node: Node, types: TypeTable, names: NameScope): void {
	const writer = new GraphWriter(node.graph!, names, node.name || node.outputs[0]!.name, node);
	const shapes = node.outputs.map((_, index) => types.shapeOf(branchesOf(node)[0]!.outputs[index]!)!);
	const rank = Math.min(...shapes.map((shape) => shape.length));
	const condition = node.inputs[0]!;
	const isBroadcast = types.shapeOf(condition)!.length <= rank;
	const [then, otherwise] = branchesOf(node).map((branch) => moveBranch(node, branch!, names));
	const to = Math.min(rank, 1);
	const chosen = isBroadcast
		? condition
		: writer.emit("Reshape", [condition, writer.constant("one", int64Tensor([to], new Array<number>(to).fill(1)))]);
	const results = node.outputs.map((_, index) => writer.emit("Where", [chosen, then![index], otherwise![index]]));
	giveResults(node, results, names);
	node.remove();
}
