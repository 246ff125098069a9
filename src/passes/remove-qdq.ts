import { isDeepStrictEqual } from "node:util";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import type { Node } from "../ir/node.js";
import { definePass } from "./infra/pass.js";
import { FloatConstants } from "./support/float-constants.js";
import { placedEncodingAt } from "./support/node-encoding.js";
import { canTakeName, findQuantizedTensors, type QuantizedTensor } from "./support/quantized-tensors.js";
import { removeUnused } from "./support/remove-unused.js";
import { replaceValue } from "./support/replace-value.js";

/**
 * `DQ(Q(x))` -> `x`, `DQ(codes)` -> `FLOAT`: the float model that an encodings file is applied to, its constants what the
 * codes stand for, made when they are written. Every tensor has the name that `export-encodings` calls it by.
 */
export const removeQdq = definePass({
	name: "remove-qdq",
	summary: "Take quantizers out and store quantized constants as floats: the model that goes with an encodings file.",
	options: {},
	run(model, context) {
		const names = new NameScope(model);
		const constants = new FloatConstants(names);
		let changed = false;
		for (const found of findQuantizedTensors(model)) {
			const reason = typeof found.encoding === "string" ? found.encoding : undefined;
			const isStored = found.codes !== undefined;
			const isRemoved = reason === undefined && (isStored ? constants.replace(found) : removePair(model, found, names));
			if (isRemoved) context.count(found.kind === "constant" ? "constants made float" : "activations made float");
			else {
				const why = reason ?? "its codes are read by more than DequantizeLinear, or in another way than they were made";
				context.report("encodings/kept", `'${found.name}' stays quantized: ${why}`, { value: found.name });
			}
			changed ||= isRemoved;
		}
		return changed;
	},
});

/** `source -> Q -> DQ -> readers` -> `source -> readers`; where something else reads the codes, the quantizer stays for that. */
function removePair(model: Model, { quantize, dequantize }: QuantizedTensor, names: NameScope): boolean {
	const source = quantize?.inputs[0];
	if (quantize === undefined || source === undefined || dequantize.length === 0) return false;
	if (!dequantize.every((node) => isInverse(node, quantize))) return false;
	for (const node of dequantize) {
		const output = node.outputs[0]!;
		if (output.isGraphOutput && !(canTakeName(source) && source.graph === output.graph)) {
			const name = names.fresh(`${output.name}_identity`);
			output.graph.replaceNode(node, { op: "Identity", name, inputs: [source], outputs: [output] });
			continue;
		}
		if (output.isGraphOutput) replaceValue(model, output, source, names.fresh(`${output.name}_dq`));
		else output.replaceUsesWith(source);
		removeNode(node);
	}
	const codes = quantize.outputs[0]!;
	if (codes.uses.length === 0 && !codes.isGraphOutput) removeNode(quantize);
	return true;
}

function isInverse(node: Node, quantize: Node): boolean {
	if ([1, 2].every((index) => node.inputs[index] === quantize.inputs[index])) return true;
	const unknown = { shape: undefined, axes: undefined, dtype: undefined };
	const [there, back] = [quantize, node].map((each) => placedEncodingAt(each, unknown));
	return typeof there !== "string" && isDeepStrictEqual(there, back);
}

function removeNode(node: Node): void {
	const parameters = node.inputs.slice(1).filter((input) => input !== undefined);
	node.remove();
	for (const parameter of new Set(parameters)) removeUnused(parameter);
}
