import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { allGraphs, type GraphSite } from "../ir/walk.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { fusedInput, lazyTypes, leave, QUANTIZED_OPTION, type Quantized, type Types } from "./support/fusion.js";
import { GraphWriter } from "./support/node-writer.js";
import { operandsOf, producerOf, replaceSubgraph, scalarOf } from "./support/subgraph.js";

export interface FuseSigmoidOptions {
	readonly quantized: Quantized;
}

/**
 * `1 / (1 + exp(z))`, a Div or Reciprocal -> `Sigmoid(-z)`; `Sigmoid(x)` where z is `Neg(x)`. The codes of an Exp would have no
 * steps for most of its range.
 */
export const fuseSigmoid = definePass<FuseSigmoidOptions>({
	name: "fuse-sigmoid",
	summary: "Make the logistic function, written with Exp and a Div or Reciprocal, one Sigmoid operator.",
	options: QUANTIZED_OPTION,
	run(model, context) {
		const run = { names: new NameScope(model), types: lazyTypes(model), context };
		let changed = false;
		for (const site of allGraphs(model)) {
			for (const node of site.graph.nodes) changed = fuse(node, site, run) || changed;
		}
		return changed;
	},
});

interface Run {
	readonly names: NameScope;
	readonly types: Types;
	readonly context: PassContext<FuseSigmoidOptions>;
}

function fuse(root: Node, site: GraphSite, { names, types, context }: Run): boolean {
	const exponent = exponentOf(root);
	if (exponent === undefined) return false;
	const negated = producerOf(exponent, "Neg")?.inputs[0];
	const x = negated ?? exponent;
	const input = fusedInput("Sigmoid", root, x, types, context.options.quantized);
	if ("code" in input) return leave(input, root, site, context);
	const prefix = root.name || root.outputs[0]!.name;
	const argument =
		negated === undefined ? new GraphWriter(site.graph, names, prefix, root).emit("Neg", [input]) : input;
	replaceSubgraph(root, { op: "Sigmoid", name: root.name, inputs: [argument] });
	context.count("subgraphs fused");
	return true;
}

/** The z of the `1 / (1 + exp(z))` that `root` ends. */
function exponentOf(root: Node): Value | undefined {
	const divisor = divisorOfOne(root);
	const sum = producerOf(divisor, "Add");
	if (sum === undefined) return undefined;
	for (const [one, power] of operandsOf(sum)) {
		const exp = scalarOf(one) === 1 ? producerOf(power, "Exp") : undefined;
		if (exp !== undefined) return exp.inputs[0];
	}
	return undefined;
}

function divisorOfOne(root: Node): Value | undefined {
	if (isOnnxOp(root, "Reciprocal")) return root.inputs[0];
	return isOnnxOp(root, "Div") && scalarOf(root.inputs[0]) === 1 ? root.inputs[1] : undefined;
}
