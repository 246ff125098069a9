import { elementTypeOf } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp } from "../ir/node.js";
import { DataType, tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { encodedTensor } from "../passes/support/encoded-table.js";
import { moveOutput } from "../passes/support/node-writer.js";
import { addParameters, codesOf, type Encoding } from "../passes/support/qdq.js";
import { removeUnused } from "../passes/support/remove-unused.js";
import { upgradeOpset } from "../passes/upgrade-opset.js";
import { runPasses } from "../run-passes.js";
import { floatsOf } from "../runtime/live-session.js";
import { addConstant, constantOf } from "../weights/constant.js";

/** The first operator set with 16-bit codes. */
const CODES_OPSET = 21;

/** Lets a front give codes instead of floats, for the outputs in `encodings`; a float table becomes codes itself. */
export async function quantizeFront(model: Model, encodings: ReadonlyMap<string, Encoding>): Promise<void> {
	await runPasses(model, [upgradeOpset({ to: CODES_OPSET })]);
	const names = new NameScope(model);
	for (const output of model.graph.outputs) {
		const encoding = encodings.get(output.name);
		if (encoding === undefined) continue;
		if (!encodeTable(output, encoding, names)) quantizeOutput(output, encoding, names);
		const shape = output.type?.kind === "tensor" ? output.type.shape : undefined;
		output.type = tensorType(encoding.dtype, shape);
	}
}

/** What a front with codes gives where one with floats gives `array`; undefined: the same. */
export function quantizedArray(array: NumpyArray, encoding: Encoding | undefined): NumpyArray {
	const type = encoding && elementTypeOf(encoding.dtype);
	if (encoding === undefined || type === undefined) return array;
	return { type, shape: array.shape, bytes: codesOf(floatsOf(array), encoding) };
}

function quantizeOutput(output: Value, encoding: Encoding, names: NameScope): void {
	const { graph, name } = output;
	const floats = graph.createValue(names.fresh(`${name}_float`), output.type);
	moveOutput(output, floats);
	graph.createNode({
		op: "QuantizeLinear",
		name: names.fresh(`${name}_Q`),
		inputs: [floats, ...addParameters(graph, name, encoding, names, undefined)],
		outputs: [output],
	});
}

/** `Gather(floats) -> Identity -> output` becomes `Gather(codes) -> Identity -> output`; returns whether it is that. */
function encodeTable(output: Value, encoding: Encoding, names: NameScope): boolean {
	const rows =
		output.producer !== undefined && isOnnxOp(output.producer, "Identity") ? output.producer.inputs[0] : undefined;
	const gather = rows?.producer;
	if (rows === undefined || gather === undefined || !isOnnxOp(gather, "Gather") || rows.uses.length > 1) return false;
	const table = constantOf(gather.inputs[0]);
	if (table === undefined || table.overridable || table.tensor.dtype !== DataType.FLOAT) return false;
	const { graph } = output;
	const codes = addConstant(
		graph,
		names.fresh(`${table.value.name}_codes`),
		encodedTensor(table.tensor, encoding),
		gather,
	);
	gather.setInput(0, codes);
	rows.type = undefined;
	removeUnused(table.value);
	return true;
}
