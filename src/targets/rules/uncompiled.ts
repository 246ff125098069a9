import { isOnnxOp, type Node } from "../../ir/node.js";
import { bitsPerElement, DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { constantOf } from "../../weights/constant.js";
import { numbersOf } from "../../weights/numbers.js";
import { fixedShape } from "../fixed-shape.js";
import { type OperatorFacts, outputFacts } from "../operator-facts.js";
import type { RuleGroup } from "../rule.js";
import { ELEMENTWISE, OF_IMAGES, sourceOf } from "./producers.js";

/** Does it make a fifth axis of an image of one element, in another way than the Unsqueeze of the first? */
function addsAxisToOne({ node, inputs, outputs }: OperatorFacts): boolean {
	const [from, to] = [fixedShape(inputs[0]?.shape), fixedShape(outputs[0]?.shape)];
	if (!isOnnxOp(node, "Reshape", "Unsqueeze") || from === undefined || to?.length !== 5) return false;
	if (to.some((length) => length !== 1)) return false;
	const axes = constantOf(node.inputs[1])?.tensor;
	if (isOnnxOp(node, "Unsqueeze") && axes !== undefined && String(Array.from(numbersOf(axes))) === "0") return false;
	const image = sourceOf(inputs[0]!.value, [...ELEMENTWISE, "Sigmoid", "Reshape", "Squeeze", "Pad"]);
	return image !== undefined && isOnnxOp(image, ...OF_IMAGES);
}

/** The Add that alone reads `product`, and what it adds. */
export function vectorSum(product: Value | undefined): { readonly add: Node; readonly addend: Value } | undefined {
	const [use, ...others] = product?.uses ?? [];
	if (use === undefined || others.length > 0 || product!.isGraphOutput || !isOnnxOp(use.node, "Add")) return undefined;
	const addend = use.node.inputs[1 - use.index];
	return addend && { add: use.node, addend };
}

/** A MatMul behind `value`, whatever is between, whose weight is LPBQ in the double-dq form. */
function lpbqBehind(value: Value, seen: Set<Node>): Node | undefined {
	for (const { node, index } of value.uses) {
		if (seen.has(node)) continue;
		seen.add(node);
		const weight = node.inputs[1]?.producer;
		const isLpbq = isOnnxOp(node, "MatMul", "Gemm") && index === 0 && weight?.inputs[1]?.producer !== undefined;
		if (isLpbq && isOnnxOp(weight!, "DequantizeLinear") && weight!.attributes.has("block_size")) return node;
		for (const output of node.outputs) {
			const found = lpbqBehind(output, seen);
			if (found !== undefined) return found;
		}
	}
	return undefined;
}

export const UNCOMPILED_RULES: RuleGroup = {
	title: "Operators that do not compile together",
	rules: [
		{
			id: "htp/float-sum-8-bits",
			about:
				"A vector that is added to the product of floats and a float matrix, of rank 3 or more, does not become codes of 8 bits.",
			consequence: "refused",
			measured:
				"'Failed to compose Qnn graph' behind LayerNormalization, RMS normalization, Relu, Tanh, Gelu and Softmax, of one row and more, with UINT16 in front too; 37 to 42 dB with codes of 16 bits behind, of rank 2, without the vector, with Sub and with codes in front; vectors that are stored as codes, quantized constants and computed ones alike",
			remedy: "subtract the vector's opposite",
			appliedBy: "legalize-operators",
			broken({ node, weight, inputs, outputs }, { types }) {
				const sum = vectorSum(outputs[0]?.value);
				const { dtype } = (sum && outputFacts(sum.add.outputs[0]!, types).quantization) ?? {};
				if (!isOnnxOp(node, "MatMul") || weight?.scheme !== "float" || dtype === undefined) return undefined;
				if (inputs[0]?.dtype !== DataType.FLOAT || inputs[0].moved !== undefined) return undefined;
				if (bitsPerElement(dtype) !== 8 || (inputs[0].shape?.length ?? 0) < 3) return undefined;
				const vector = fixedShape(types.shapeOf(sum!.addend));
				if (vector?.length !== 1 || vector[0] !== outputs[0]!.shape?.at(-1)) return undefined;
				return `'${sum!.addend.name}' is added to a product of floats, and the sum is of 8 bits`;
			},
		},
		{
			id: "htp/reciprocal-floats",
			about: "The result of a Reciprocal of codes is quantized.",
			consequence: "refused",
			measured:
				"'memory allocation related error' as graph output and in front of Mul, Relu and Reshape on floats, of 16 and 8 bits, of rank 2 and 4, on every architecture; 74 dB as Div, of floats, and with a quantizer behind, of another type, too",
			remedy: "divide 1 by the values",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input], result }) {
				if (!isOnnxOp(node, "Reciprocal") || input?.moved === undefined || result !== undefined) return undefined;
				return `it reads the codes of '${input.value.name}', and gives floats`;
			},
		},
		{
			id: "htp/image-of-one",
			about: "A fifth axis of an image of one element is added by an Unsqueeze of the first axis.",
			consequence: "refused",
			measured:
				"QNN_COMMON_ERROR_MEM_ALLOC while the graph is finalized, for a Reshape and an Unsqueeze of another axis, behind Conv, BatchNormalization, InstanceNormalization and GlobalAveragePool, with Relu, Mul, Pad or other Reshapes between; 81 to 91 dB with Unsqueeze, with two elements, up to rank 4 and behind other operators",
			remedy: "make it an Unsqueeze of the first axis; nothing is done where there are less than four axes",
			appliedBy: "legalize-operators",
			broken(operator) {
				return addsAxisToOne(operator) ? "one element gets a fifth axis" : undefined;
			},
		},
		{
			id: "htp/vector-transpose",
			about: "No Transpose of one axis is behind an image, views and operators on single elements in between.",
			consequence: "crash",
			measured:
				"the process ends, on v68, v69, v73, v79 and v81, behind Conv, BatchNormalization, MaxPool and GlobalAveragePool, on codes and floats, with a Sigmoid between; 73 dB and more of two axes and three, and behind other operators",
			remedy: "leave it out",
			appliedBy: "legalize-operators",
			broken({ node, inputs: [input] }) {
				if (!isOnnxOp(node, "Transpose") || input?.shape?.length !== 1) return undefined;
				const image = sourceOf(input.value, [...ELEMENTWISE, "Sigmoid", "Reshape", "Flatten", "Squeeze"]);
				return image && isOnnxOp(image, ...OF_IMAGES) ? `it has one axis, and comes from ${image.op.type}` : undefined;
			},
		},
		{
			id: "htp/mish-lpbq",
			about: "No Mish is in front of a weight that is LPBQ in the double-dq form, however far behind.",
			consequence: "refused",
			measured:
				"'Failed to compose Qnn graph' with a MatMul directly behind and with Relu, MatMuls, Concat and Slice between; 41 to 49 dB with the Mish behind it or beside it, with float block scales and with one scale a channel",
			remedy: "write it as x * tanh(softplus(x)); nothing is done for a v68",
			appliedBy: "legalize-operators",
			broken({ node, outputs }) {
				if (!isOnnxOp(node, "Mish")) return undefined;
				const found = lpbqBehind(outputs[0]!.value, new Set());
				return found && `the weight of '${found.name || found.outputs[0]!.name}' behind it is LPBQ`;
			},
		},
	],
};
