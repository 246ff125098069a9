import { intsAttribute, intsOf } from "../../ir/attribute.js";
import type { Remedy } from "./remedy.js";
import { storeBytes } from "./stored-codes.js";

/**
 * Dilations along axes where the kernel is one position say nothing and become 1; the weight of a Conv that goes on having
 * others is stored in 8 bits.
 */
export const leaveOutDilations: Remedy = (operator, tools) => {
	const { node, weight } = operator;
	const kernel = weight!.shape.slice(2);
	const dilations = intsOf(node, "dilations").map((dilation, at) => (kernel[at] === 1 ? 1 : dilation));
	if (dilations.some((dilation) => dilation > 1) && !storeBytes(operator, tools)) return false;
	node.attributes.set("dilations", intsAttribute(dilations));
	return true;
};
