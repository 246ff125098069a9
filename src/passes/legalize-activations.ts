import type { TypeTable } from "../inference/index.js";
import { inferTypes } from "../inference/index.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp } from "../ir/node.js";
import { int64Tensor } from "../ir/tensor.js";
import { tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { nodeLabel } from "../ir/walk.js";
import { addConstant } from "../weights/constant.js";
import { findWeightSites, type WeightSite } from "../weights/weight-site.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { fixProducerEncoding, unifyTypes } from "./support/activation-types.js";
import { addQdq, encodingBehind } from "./support/qdq.js";
import { replaceValue } from "./support/replace-value.js";
import { exclusionOf, isSelected, SELECTION_OPTIONS, type SelectionOptions } from "./support/selection.js";

/** Ranks of activations that the HTP's MatMul takes. */
const MIN_RANK = 2;
const MAX_RANK = 4;

/**
 * `MatMul(DQ(Q(Sigmoid(a))), W)` -> the same with the only encoding that the compiler takes there; `MatMul` of rank 1 or
 * above 4, or of several matrices with float block scales -> `Reshape -> Q -> DQ -> MatMul -> Reshape`; input and output of
 * different types, or of a type that the kernel has not, -> one type. For MatMuls with block scales.
 */
export const legalizeActivations = definePass<SelectionOptions>({
	name: "legalize-activations",
	summary: "Give MatMuls with block-quantized weights the types, ranks and encodings that the HTP takes.",
	options: SELECTION_OPTIONS,
	run(model, context) {
		const names = new NameScope(model);
		const types = inferTypes(model);
		let changed = false;
		for (const site of findWeightSites(model)) {
			if (!isOnnxOp(site.node, "MatMul") || site.input !== 1) continue;
			if (site.scheme !== "lpbq" && site.scheme !== "block") continue;
			if (!isSelected(site, context.options)) {
				keep(context, site, exclusionOf(site));
				continue;
			}
			const done = [
				fixProducerEncoding(site, names) && "producers encoded",
				unifyTypes(model, site, names) && "types unified",
				fixRank(model, site, types, names, context) && "ranks changed",
			].filter((stat) => stat !== false);
			for (const stat of done) context.count(stat);
			changed ||= done.length > 0;
		}
		return changed;
	},
});

function keep(
	context: PassContext<SelectionOptions>,
	{ graphSite, node, weightName }: WeightSite,
	{ code, message }: { readonly code: Parameters<typeof context.report>[0]; readonly message: string },
): void {
	context.report(code, message, { graph: graphSite.path, node: nodeLabel(node), value: weightName });
}

/** Gives the MatMul a matrix to read where the HTP takes no other: ranks that it crashes on, batches beside float scales. */
function fixRank(
	model: Model,
	site: WeightSite,
	types: TypeTable,
	names: NameScope,
	context: PassContext<SelectionOptions>,
): boolean {
	const { node, stored } = site;
	const input = node.inputs[0]!;
	const dims = types.shapeOf(input);
	if (dims === undefined) return false;
	const rank = dims.length;
	const isBatch = site.scheme === "block" && dims.slice(0, -2).some((dim) => dim !== 1);
	const isTakenRank = rank >= MIN_RANK && rank <= MAX_RANK;
	if (isTakenRank && !isBatch) return false;
	const shape = types.staticShapeOf(input);
	const channels = stored.tensor.shape.at(-1);
	if (shape === undefined || channels === undefined || stored.tensor.shape.length !== 2) {
		const found = isTakenRank ? "is a batch of matrices, expected one," : `has rank ${rank}, expected 2 to 4,`;
		const message = `'${input.name}' at '${nodeLabel(node)}' ${found} and dimensions that are not fixed; fix them with --dim`;
		keep(context, site, { code: "activation/rank", message });
		return false;
	}
	const rows = shape.slice(0, -1).reduce((product, dim) => product * dim, 1);
	const matrix = reshaped(site, input, [rows, shape.at(-1)!], names);
	const encoding = encodingBehind(input);
	node.setInput(0, encoding === undefined ? matrix : addQdq(node.graph!, matrix, encoding, names, node));
	const output = node.outputs[0]!;
	const outputShape = [...shape.slice(0, -1), channels];
	const result = node.graph!.createValue(names.fresh(`${output.name}_reshaped`));
	const target = shapeConstant(site, output.name, outputShape, names);
	replaceValue(model, output, result, names.fresh(`${output.name}_matrix`));
	output.type = output.type?.kind === "tensor" ? tensorType(output.type.elementType, [rows, channels]) : output.type;
	const name = names.fresh(`${node.name || output.name}_unflatten`);
	node.graph!.createNode({ op: "Reshape", name, inputs: [output, target], outputs: [result] }, node.next);
	return true;
}

function reshaped(site: WeightSite, value: Value, shape: readonly number[], names: NameScope): Value {
	const graph = site.node.graph!;
	const result = graph.createValue(names.fresh(`${value.name}_matrix`));
	const inputs = [value, shapeConstant(site, value.name, shape, names)];
	const name = names.fresh(`${site.node.name || value.name}_flatten`);
	graph.createNode({ op: "Reshape", name, inputs, outputs: [result] }, site.node);
	return result;
}

function shapeConstant({ node }: WeightSite, name: string, shape: readonly number[], names: NameScope): Value {
	return addConstant(node.graph!, names.fresh(`${name}_shape`), int64Tensor([shape.length], shape), node);
}
