import { NameScope } from "../ir/names.js";
import { isOnnxOp } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import { allNodes, nodeLabel } from "../ir/walk.js";
import { constantOf } from "../weights/constant.js";
import { findWeightSites, type WeightSite } from "../weights/weight-site.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { biasCodesOf, type NoBias, replaceBias } from "./support/bias-form.js";
import { quantizeOperand } from "./support/quantize-addends.js";
import { exclusionOf, isSelected, SELECTION_OPTIONS, type SelectionOptions } from "./support/selection.js";

/**
 * `Conv(x, W_DQ, C)` -> `Conv(x, W_DQ, DQ(INT32 codes, scale of x times scale of W's channel))`, for Conv, ConvTranspose and
 * Gemm: beside block scales always, where the compiler takes a float bias for integers or ignores the scale that the model
 * states; beside other quantized weights where the bias is quantized in another way. INT32 constants that an Add or Sub
 * reads become integers of the other operand's type.
 */
export const legalizeBias = definePass<SelectionOptions>({
	name: "legalize-bias",
	summary: "Store biases as INT32 with the scales that the HTP takes for granted.",
	options: SELECTION_OPTIONS,
	run(model, context) {
		const names = new NameScope(model);
		let changed = false;
		for (const site of findWeightSites(model)) {
			if (!isOnnxOp(site.node, "Conv", "ConvTranspose", "Gemm") || site.scheme === "lpbq" || site.input !== 1) continue;
			if (!isSelected(site, context.options)) {
				const { code, message } = exclusionOf(site);
				context.report(code, message, {
					graph: site.graphSite.path,
					node: nodeLabel(site.node),
					value: site.weightName,
				});
				continue;
			}
			const bias = biasCodesOf(site);
			if (typeof bias === "string") keep(context, site, bias);
			else {
				replaceBias(site, bias, names);
				context.count("biases stored anew");
				changed = true;
			}
		}
		for (const { node } of [...allNodes(model)]) {
			if (!isOnnxOp(node, "Add", "Sub")) continue;
			for (const index of [0, 1]) {
				if (!isInt32(node.inputs[index]) || !quantizeOperand(node, index, names)) continue;
				context.count("constants quantized");
				changed = true;
			}
		}
		return changed;
	},
});

function isInt32(value: WeightSite["node"]["inputs"][number]): boolean {
	const producer = value?.producer;
	if (producer === undefined || !isOnnxOp(producer, "DequantizeLinear")) return false;
	return constantOf(producer.inputs[0])?.tensor.dtype === DataType.INT32;
}

const REASONS: Readonly<Record<Exclude<NoBias, "right">, string>> = {
	input: "the input has no encoding with one scale",
	bias: "it is no constant with one number a channel",
	scales: "the scales of the weight are no constants",
	overflow: "it does not fit 32 bits in steps of the products; raise the scales of channels without weights",
};

function keep(context: PassContext<SelectionOptions>, { graphSite, node }: WeightSite, reason: NoBias): void {
	if (reason === "right") return;
	const message = `bias '${node.inputs[2]!.name}' of '${nodeLabel(node)}' stays as it is: ${REASONS[reason]}`;
	context.report("bias/kept", message, { graph: graphSite.path, node: nodeLabel(node), value: node.inputs[2]!.name });
}
