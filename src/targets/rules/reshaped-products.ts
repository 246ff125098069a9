import { isOnnxOp } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import { fixedShape } from "../fixed-shape.js";
import type { OperatorFacts } from "../operator-facts.js";
import type { RuleContext, RuleGroup } from "../rule.js";

const VIEWS = ["Reshape", "Flatten", "Squeeze", "Unsqueeze"];

/** What views in front of `value` look at. */
export function behindViews(value: Value): Value {
	const { producer } = value;
	return producer !== undefined && isOnnxOp(producer, ...VIEWS) ? behindViews(producer.inputs[0]!) : value;
}

/** What views make of `value`, those that nothing else looks at in yet another way. */
function throughViews(value: Value): Value[] {
	return value.uses.flatMap(({ node, index }) => {
		if (index !== 0 || !isOnnxOp(node, ...VIEWS)) return [];
		const [view] = node.outputs;
		const further = throughViews(view!);
		return further.length > 0 ? further : [view!];
	});
}

/** The shapes between which views put a product of floats, the axes of which other than the last are the same. */
function sharedAxes(
	{ node, inputs: [left], weight }: OperatorFacts,
	{ types }: RuleContext,
): readonly [readonly number[], readonly number[]] | undefined {
	if (weight?.site.input !== 1 || left === undefined || left.moved !== undefined) return undefined;
	const view = left.value.producer;
	const isGemm = isOnnxOp(node, "Gemm") && view !== undefined && !isOnnxOp(view, "Reshape");
	if (!isOnnxOp(node, "MatMul") && !isGemm) return undefined;
	const before = fixedShape(types.shapeOf(behindViews(left.value)));
	if (before === undefined || before.at(-1) === left.shape?.at(-1)) return undefined;
	const outer = before.slice(0, -1).join();
	const behind = throughViews(node.outputs[0]!).map((view) => fixedShape(types.shapeOf(view)));
	const found = behind.find((shape) => shape?.length === before.length && shape.slice(0, -1).join() === outer);
	return found && [before, found];
}

export const RESHAPED_PRODUCT_RULES: RuleGroup = {
	title: "Products between Reshapes",
	rules: [
		{
			id: "htp/reshaped-product",
			about:
				"A MatMul of floats by a constant does not go from a Reshape that joins or cuts its last axis to another that brings the other axes back; nor does a Gemm behind Flatten, Squeeze or Unsqueeze.",
			consequence: "wrong",
			since: "v73",
			measured:
				"0 dB, or the graph fails to compile ('memory allocation related error'), from [3, 8, 16] by way of [3, 128] to [3, 8, 16], [3, 8, 8] and [3, 8, 32], of ranks 2 to 4 in between, with other Reshapes around; on v73, v79 and v81; 68 dB and more as Gemm behind a Reshape, with an Add, Relu or Sigmoid on either side of the product, to [3, 16, 8], and where the last axis stays; right on v68 and between codes",
			remedy: "make it a Gemm behind a Reshape",
			appliedBy: "legalize-operators",
			broken(operator, context) {
				const shapes = sharedAxes(operator, context);
				if (shapes === undefined) return undefined;
				const [before, behind] = shapes.map((shape) => `[${shape.join(", ")}]`);
				return `Reshapes lead from ${before} to the product, and back to ${behind}`;
			},
		},
	],
};
