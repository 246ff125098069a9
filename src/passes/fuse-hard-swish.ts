import { floatOf } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { allGraphs, type GraphSite } from "../ir/walk.js";
import { definePass, type PassContext } from "./infra/pass.js";
import {
	fusedInput,
	lazyTypes,
	leave,
	opsetObstacle,
	QUANTIZED_OPTION,
	type Quantized,
	type Types,
} from "./support/fusion.js";
import { candidates, isAboutPolynomial, nodeGiving, polynomial, polynomialOf } from "./support/polynomial.js";
import { isAbout, replaceSubgraph, scalarOf } from "./support/subgraph.js";

export interface FuseHardSwishOptions {
	readonly quantized: Quantized;
}

/** `x HardSigmoid(x)` of slope 1/6 and `x Clip(x + 3, 0, 6) / 6` -> `HardSwish(x)`. */
export const fuseHardSwish = definePass<FuseHardSwishOptions>({
	name: "fuse-hard-swish",
	summary: "Make HardSwish, written with HardSigmoid or Clip, one HardSwish operator.",
	options: QUANTIZED_OPTION,
	run(model, context) {
		const run = { model, types: lazyTypes(model), context };
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
	readonly context: PassContext<FuseHardSwishOptions>;
}

function fuse(node: Node, site: GraphSite, { model, types, context }: Run): boolean {
	const match = matchAt(node);
	if (match === undefined) return false;
	const { root, x } = match;
	const input =
		opsetObstacle(model, site, "HardSwish", 14) ?? fusedInput("HardSwish", root, x, types, context.options.quantized);
	if ("code" in input) return leave(input, root, site, context);
	replaceSubgraph(root, { op: "HardSwish", name: root.name, inputs: [input] });
	context.count("subgraphs fused");
	return true;
}

const PRODUCT = polynomial([], [0, 1]);
const SIXTH_OF_PRODUCT = polynomial([], [0, 1 / 6]);
const X_PLUS_3 = polynomial([3, 1]);

/** The x and the last node of the HardSwish that the HardSigmoid or Clip `node` is part of. */
function matchAt(node: Node): { readonly root: Node; readonly x: Value } | undefined {
	const [argument] = node.inputs;
	const e = node.outputs[0];
	if (argument === undefined || e === undefined) return undefined;
	if (isOnnxOp(node, "HardSigmoid")) {
		if (!isAbout(floatOf(node, "alpha", 0.2), 1 / 6) || !isAbout(floatOf(node, "beta", 0.5), 0.5)) return undefined;
		const root = nodeGiving(PRODUCT, argument, e);
		return root && { root, x: argument };
	}
	if (!isOnnxOp(node, "Clip") || !isFrom0To6(node)) return undefined;
	for (const x of candidates(argument)) {
		if (!isAboutPolynomial(polynomialOf(argument, x), X_PLUS_3)) continue;
		const root = nodeGiving(SIXTH_OF_PRODUCT, x, e);
		if (root !== undefined) return { root, x };
	}
	return undefined;
}

/** The limits of a Clip are inputs from operator set 11 on, which is older than HardSwish. */
function isFrom0To6({ inputs }: Node): boolean {
	return scalarOf(inputs[1]) === 0 && scalarOf(inputs[2]) === 6;
}
