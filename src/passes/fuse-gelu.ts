import { type Attribute, stringAttribute } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import type { Value } from "../ir/value.js";
import { allGraphs, type GraphSite } from "../ir/walk.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { fusedInput, lazyTypes, leave, opsetObstacle, type Quantized, type Types } from "./support/fusion.js";
import {
	candidates,
	isAboutPolynomial,
	nodeGiving,
	type Polynomial,
	polynomial,
	polynomialOf,
} from "./support/polynomial.js";
import { replaceSubgraph } from "./support/subgraph.js";

export interface FuseGeluOptions {
	readonly quantized: "keep" | "fuse" | "as-needed";
}

/** A way to write GELU: `result`, a polynomial of x and of e = operator(argument). */
interface Form {
	readonly operator: string;
	readonly argument: Polynomial;
	readonly result: Polynomial;
	readonly attributes: Readonly<Record<string, Attribute>>;
}

const EXACT = {};
const TANH = { approximate: stringAttribute("tanh") };
/** tanh's argument, from Hendrycks and Gimpel, "Gaussian Error Linear Units". */
const CUBIC = [0, 1, 0, 0.044715].map((term) => term * Math.sqrt(2 / Math.PI));
const HALF_OF_ONE_PLUS_E = polynomial([0, 0.5], [0, 0.5]);

const FORMS: readonly Form[] = [
	{ operator: "Erf", argument: polynomial([0, Math.SQRT1_2]), result: HALF_OF_ONE_PLUS_E, attributes: EXACT },
	{ operator: "Tanh", argument: polynomial(CUBIC), result: HALF_OF_ONE_PLUS_E, attributes: TANH },
	{
		operator: "Sigmoid",
		argument: polynomial(CUBIC.map((term) => 2 * term)),
		result: polynomial([], [0, 1]),
		attributes: TANH,
	},
];

/**
 * `0.5 x (1 + erf(x / sqrt 2))`, its tanh approximation (also by way of sigmoid) -> `Gelu(x)`, whatever the order and the
 * nesting of products; Gelu, FastGelu and BiasGelu of com.microsoft -> the same, with an Add for the bias.
 *
 * x Sigmoid(1.702 x) is another function and no Gelu.
 */
export const fuseGelu = definePass<FuseGeluOptions>({
	name: "fuse-gelu",
	summary: "Make GELU, written with Erf or Tanh, one Gelu operator.",
	options: {
		quantized: {
			default: "as-needed",
			describe:
				"where there are Q/DQ inside: leave it, fuse it, or fuse it only with Erf and for a target (which has none)",
			choices: ["keep", "fuse", "as-needed"],
		},
	},
	run(model, context) {
		const run = { model, types: lazyTypes(model), context, names: new NameScope(model) };
		let changed = false;
		for (const site of allGraphs(model)) {
			for (const node of site.graph.nodes) {
				changed = (node.op.domain === "com.microsoft" ? standardize : fuse)(node, site, run) || changed;
			}
		}
		return changed;
	},
});

interface Run {
	readonly model: Model;
	readonly types: Types;
	readonly context: PassContext<FuseGeluOptions>;
	readonly names: NameScope;
}

function fuse(node: Node, site: GraphSite, { model, types, context }: Run): boolean {
	const form = FORMS.find(({ operator }) => isOnnxOp(node, operator));
	if (form === undefined) return false;
	const match = matchAt(node, form);
	if (match === undefined) {
		if (form.operator !== "Erf") return false;
		return leave({ code: "fuse/no-gelu", message: "what this Erf is part of is no GELU" }, node, site, context);
	}
	const { root, x } = match;
	const input =
		opsetObstacle(model, site, "Gelu", GELU_SINCE) ?? fusedInput("Gelu", root, x, types, whereQuantized(form, context));
	if ("code" in input) return leave(input, root, site, context);
	replaceSubgraph(root, { op: "Gelu", name: root.name, inputs: [input], attributes: form.attributes });
	context.count("subgraphs fused");
	return true;
}

const GELU_SINCE = 20;

/** No HTP has Erf; the other forms, operator by operator, are more exact there than Gelu is. */
function whereQuantized({ operator }: Form, { options, target }: Run["context"]): Quantized {
	if (options.quantized !== "as-needed") return options.quantized;
	return operator === "Erf" && target !== undefined ? "fuse" : "keep";
}

/** The x and the last node of the GELU that the Erf, Tanh or Sigmoid `node` is part of. */
function matchAt(node: Node, form: Form): { readonly root: Node; readonly x: Value } | undefined {
	const [argument] = node.inputs;
	const e = node.outputs[0]!;
	for (const x of argument === undefined ? [] : candidates(argument)) {
		if (!isAboutPolynomial(polynomialOf(argument, x), form.argument)) continue;
		const root = nodeGiving(form.result, x, e);
		if (root !== undefined) return { root, x };
	}
	return undefined;
}

/** The GELUs of com.microsoft, of which the HTP's compiler knows one only. */
function standardize(node: Node, site: GraphSite, { model, context, names }: Run): boolean {
	const attributes = CONTRIBUTED.get(node.op.type);
	const [x, bias] = node.inputs;
	if (attributes === undefined || x === undefined) return false;
	const obstacle = opsetObstacle(model, site, "Gelu", GELU_SINCE);
	if (obstacle !== undefined) return leave(obstacle, node, site, context);
	let input = x;
	if (bias !== undefined) {
		const [output] = node.outputs;
		input = site.graph.createValue(names.fresh(`${output!.name}_biased`), output!.type);
		site.graph.createNode({ op: "Add", name: "", inputs: [x, bias], outputs: [input] }, node);
	}
	replaceSubgraph(node, { op: "Gelu", name: node.name, inputs: [input], attributes });
	context.count("operators replaced");
	return true;
}

const CONTRIBUTED: ReadonlyMap<string, Readonly<Record<string, Attribute>>> = new Map([
	["Gelu", EXACT],
	["BiasGelu", EXACT],
	["FastGelu", TANH],
]);
