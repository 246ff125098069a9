import type { NameScope } from "../../ir/names.js";
import type { Node } from "../../ir/node.js";
import { unifyTypes } from "./activation-types.js";
import { addQdq, encodingBehind, sourceOf } from "./qdq.js";
import type { Remedy } from "./remedy.js";
import { separateOutput } from "./separate-output.js";

/** A pair of its own behind what an operator with a weight writes. */
export const separate: Remedy = (operator, { model, names, report }) => {
	const site = operator.weight!.site;
	const separation = separateOutput(model, site, names);
	report(operator, separation);
	return typeof separation !== "string";
};

/** Activations of a weight in the type that its kernel takes. */
export const unify: Remedy = ({ weight }, { model, names }) => {
	if (weight?.site.input !== 1) return false;
	const done = quantizeView(weight.site.node, names);
	return unifyTypes(model, weight.site, names) || done;
};

/** A result on the grid of the input's type: a pair behind it, or one in that type in front of the quantizer there is. */
export const quantizeResult: Remedy = (operator, tools) => separate(operator, tools) || unify(operator, tools);

/** `DQ -> Reshape -> node` -> `DQ -> Reshape -> Q -> DQ -> node`: a kernel on integers reads codes. */
function quantizeView(node: Node, names: NameScope): boolean {
	const input = node.inputs[0]!;
	const encoding = encodingBehind(input);
	if (encoding === undefined || sourceOf(input) === input) return false;
	node.setInput(0, addQdq(node.graph!, input, encoding, names, node));
	return true;
}
