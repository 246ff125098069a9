import type { Graph } from "../../ir/graph.js";
import type { Model } from "../../ir/model.js";
import type { NameScope } from "../../ir/names.js";
import { isOnnxOp } from "../../ir/node.js";
import { tensorType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { constantOf } from "../../weights/constant.js";
import { type Encoding, encodingAt } from "./qdq.js";
import { removeUnused } from "./remove-unused.js";
import { replaceValue } from "./replace-value.js";

/** An input or an output of the main graph that is integers now, and what these stand for. */
export interface IntegerPort {
	readonly name: string;
	readonly kind: "input" | "output";
	readonly encoding: Encoding;
}

/**
 * `input FLOAT -> Q -> DQ` becomes `input of codes -> DQ`, and `Q -> DQ -> output FLOAT` becomes `Q -> output of codes`, under
 * the same names. What something reads as float stays float, as do inputs and outputs that `isWanted` says no of.
 */
export function makeInterfaceInteger(
	model: Model,
	names: NameScope,
	isWanted: (port: Value) => boolean = () => true,
): IntegerPort[] {
	const { graph } = model;
	const inputs = graph.inputs.filter(isWanted).flatMap((input) => integerInput(input) ?? []);
	const outputs = graph.outputs.filter(isWanted).flatMap((output) => integerOutput(model, graph, output, names) ?? []);
	return [...inputs, ...outputs];
}

function integerInput(input: Value): IntegerPort | undefined {
	const [use] = input.uses;
	if (use === undefined || input.uses.length > 1 || input.isGraphOutput || constantOf(input) !== undefined)
		return undefined;
	const encoding = isOnnxOp(use.node, "QuantizeLinear") ? encodingAt(use.node) : undefined;
	const codes = use.node.outputs[0];
	if (encoding === undefined || codes === undefined || codes.isGraphOutput || input.type?.kind !== "tensor")
		return undefined;
	input.type = tensorType(encoding.dtype, input.type.shape);
	const parameters = use.node.inputs.slice(1);
	codes.replaceUsesWith(input);
	use.node.remove();
	for (const parameter of parameters) if (parameter !== undefined) removeUnused(parameter);
	return { name: input.name, kind: "input", encoding };
}

function integerOutput(model: Model, graph: Graph, output: Value, names: NameScope): IntegerPort | undefined {
	const dequantize = output.producer;
	const codes = dequantize?.inputs[0];
	if (dequantize === undefined || codes?.producer === undefined || !isOnnxOp(dequantize, "DequantizeLinear"))
		return undefined;
	const encoding = encodingAt(dequantize);
	if (encoding === undefined || codes.isGraphOutput || codes.graph !== graph || constantOf(codes)) return undefined;
	const shape = output.type?.kind === "tensor" ? output.type.shape : undefined;
	const readers = [...output.uses];
	replaceValue(model, output, codes, names.fresh(`${output.name}_dequantized`));
	codes.type = tensorType(encoding.dtype, shape);
	for (const { node, index } of readers) node.setInput(index, output);
	const parameters = dequantize.inputs.slice(1);
	if (readers.length === 0) {
		dequantize.remove();
		for (const parameter of parameters) if (parameter !== undefined) removeUnused(parameter);
	}
	return { name: codes.name, kind: "output", encoding };
}
