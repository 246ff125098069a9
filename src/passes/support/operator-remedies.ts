import { intOf } from "../../ir/attribute.js";
import type { Model } from "../../ir/model.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { intervalOf } from "../../quant/grid.js";
import type { OperatorFacts } from "../../targets/operator-facts.js";
import { fixProducerEncoding, unifyTypes } from "./activation-types.js";
import { encodeAnew, quantizedProducer } from "./producer-encoding.js";
import { addQdq, codeRange, type Encoding, encodingAt, encodingBehind, encodingOf, sourceOf } from "./qdq.js";
import { removeUnused } from "./remove-unused.js";
import { reshapeAround } from "./reshape-around.js";
import { type NoSeparation, type Separation, separateOutput } from "./separate-output.js";
import { addInt4ZeroPoints, repeatScale } from "./weight-parameters.js";

/** What a remedy works with. */
export interface Tools {
	readonly model: Model;
	readonly names: NameScope;
	/** Says what the range of an output was derived from, or why there is none. */
	report(operator: OperatorFacts, separation: Separation | NoSeparation): void;
}

/** Makes an operator keep a rule that it breaks; says whether it could. */
type Remedy = (operator: OperatorFacts, tools: Tools) => boolean;

const separate: Remedy = (operator, { model, names, report }) => {
	const site = operator.weight!.site;
	const separation = separateOutput(model, site, names);
	report(operator, separation);
	return typeof separation !== "string";
};

const unify: Remedy = ({ weight }, { model, names }) => {
	if (weight?.site.input !== 1) return false;
	const done = quantizeView(weight.site.node, names);
	return unifyTypes(model, weight.site, names) || done;
};

/** `DQ -> Reshape -> node` -> `DQ -> Reshape -> Q -> DQ -> node`: a kernel on integers reads codes. */
function quantizeView(node: Node, names: NameScope): boolean {
	const input = node.inputs[0]!;
	const encoding = encodingBehind(input);
	if (encoding === undefined || sourceOf(input) === input) return false;
	node.setInput(0, addQdq(node.graph!, input, encoding, names, node));
	return true;
}

/** The output of a Softmax is between 0 and 1: the smallest code is 0, the largest what it was, 1 at most. */
function softmaxEncoding(encoding: Encoding): Encoding {
	const { min, max } = codeRange(encoding.dtype);
	const { hi } = intervalOf(encoding);
	return encodingOf(encoding.dtype, Math.min(hi, 1) / (max - min), min);
}

const encodeSoftmax: Remedy = ({ node }, { names }) => {
	const quantize = node.outputs[0]!.uses[0]?.node;
	const encoding = quantize && encodingAt(quantize);
	return encoding !== undefined && encodeAnew(quantize!, softmaxEncoding(encoding), names);
};

const encodeProducer: Remedy = ({ node, weight }, { names }) => {
	const site = weight!.site;
	const index = 1 - site.input;
	const found = quantizedProducer(node.inputs[index]);
	if (found === undefined || !isOnnxOp(found.producer, "Softmax")) return fixProducerEncoding(site, names);
	const encoding = encodingAt(found.quantize);
	return encoding !== undefined && encodeAnew(found.quantize, softmaxEncoding(encoding), names, { node, index });
};

/** Cuts off once more, with an operator, what a quantizer cuts off that the compiler leaves out. */
const clampInputs: Remedy = ({ node }, { names }) => {
	let done = false;
	for (const [index, input] of node.inputs.entries()) {
		const encoding = input?.producer && encodingAt(input.producer);
		if (encoding === undefined || !isOnnxOp(input!.producer!, "DequantizeLinear") || intervalOf(encoding).lo !== 0)
			continue;
		const graph = node.graph!;
		const positive = graph.createValue(names.fresh(`${input!.name}_positive`), input!.type);
		const name = names.fresh(`${input!.name}_Relu`);
		graph.createNode({ op: "Relu", name, inputs: [input], outputs: [positive] }, node);
		node.setInput(index, addQdq(graph, positive, encoding, names, node));
		done = true;
	}
	return done;
};

/** Shapes, where all are fixed. */
function staticShapes({ inputs, outputs }: OperatorFacts): { input: number[]; output: number[] } | undefined {
	const [input, output] = [inputs[0]?.shape, outputs[0]?.shape];
	const isFixed = (shape: typeof input): shape is number[] => shape?.every((dim) => typeof dim === "number") === true;
	return isFixed(input) && isFixed(output) ? { input, output } : undefined;
}

const flatten: Remedy = (operator, { model, names }) => {
	const shapes = staticShapes(operator);
	if (shapes === undefined || !isOfLastAxis(operator.node, shapes.input.length)) return false;
	const { input, output } = shapes;
	const isMatMul = isOnnxOp(operator.node, "MatMul");
	if (isMatMul && (operator.weight?.shape.length !== 2 || operator.weight.site.input !== 1)) return false;
	const rows = input.slice(0, -1).reduce((a, b) => a * b, 1);
	const [matrix, result] = [
		[rows, input.at(-1)!],
		[rows, output.at(-1)!],
	];
	reshapeAround(model, operator.node, { input: matrix, result, output }, names, isMatMul);
	return true;
};

/** Does the operator treat every row alike? */
function isOfLastAxis(node: Node, rank: number): boolean {
	const axis = intOf(node, "axis", -1);
	return !isOnnxOp(node, "LayerNormalization") || (node.outputs.length === 1 && (axis === -1 || axis === rank - 1));
}

/** 16 rows or positions, the last axis but one or the last, as four times four. */
const square: Remedy = (operator, { model, names }) => {
	const shapes = staticShapes(operator);
	if (shapes === undefined) return false;
	const { input, output } = shapes;
	const isMatMul = isOnnxOp(operator.node, "MatMul");
	const isRows = input.at(-2) === 16 && input.slice(0, -2).every((dim) => dim === 1);
	if (!isRows && (isMatMul || input.at(-1) !== 16)) return false;
	const squared = (shape: readonly number[]) => (isRows ? [4, 4, shape.at(-1)!] : [1, shape[1]!, 4, 4]);
	reshapeAround(model, operator.node, { input: squared(input), result: squared(output), output }, names, isMatMul);
	return true;
};

const repeat: Remedy = ({ node, weight }, { names }) => {
	const before = node.inputs[weight!.site.input]!;
	const done = repeatScale(weight!.site, names);
	if (done) removeUnused(before);
	return done;
};

/** Remedies by the rule that they are for. */
export const OPERATOR_REMEDIES: ReadonlyMap<string, Remedy> = new Map<string, Remedy>([
	["htp/channel-output", separate],
	["htp/gemm-output", separate],
	["htp/clamped-output", separate],
	["htp/activation-type", unify],
	["htp/channel-activation", unify],
	["htp/bias-activations", unify],
	["htp/int4-zero-point", ({ weight }, { names }) => addInt4ZeroPoints(weight!.site, names)],
	["htp/conv-int4-bias", repeat],
	["htp/softmax-zero-point", encodeSoftmax],
	["htp/fixed-output-bias", encodeProducer],
	["htp/lost-saturation", clampInputs],
	["htp/operator-rank", flatten],
	["htp/matmul-rank", flatten],
	["htp/layer-norm-16-rows", square],
	["htp/tanh-16-rows", square],
]);
