import { inferTypes } from "../inference/index.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp } from "../ir/node.js";
import type { Dimension } from "../ir/types.js";
import { nodeLabel } from "../ir/walk.js";
import { findWeightSites, type WeightSite } from "../weights/weight-site.js";
import { definePass, type PassContext } from "./infra/pass.js";
import { fixProducerEncoding, unifyTypes } from "./support/activation-types.js";
import { reshapeAround } from "./support/reshape-around.js";
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
			const shape = types.shapeOf(site.node.inputs[0]!);
			const done = [
				site.scheme === "lpbq" && fixProducerEncoding(site, names) && "producers encoded",
				unifyTypes(model, site, names) && "types unified",
				fixRank(model, site, shape, names, context) && "ranks changed",
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
	dims: readonly Dimension[] | undefined,
	names: NameScope,
	context: PassContext<SelectionOptions>,
): boolean {
	const { node, stored } = site;
	const input = node.inputs[0]!;
	if (dims === undefined) return false;
	const rank = dims.length;
	const isBatch = site.scheme === "block" && dims.slice(0, -2).some((dim) => dim !== 1);
	const isTakenRank = rank >= MIN_RANK && rank <= MAX_RANK;
	if (isTakenRank && !isBatch) return false;
	const shape = dims.every((dim) => typeof dim === "number") ? dims : undefined;
	const channels = stored.tensor.shape.at(-1);
	if (shape === undefined || channels === undefined || stored.tensor.shape.length !== 2) {
		const found = isTakenRank ? "is a batch of matrices, expected one," : `has rank ${rank}, expected 2 to 4,`;
		const message = `'${input.name}' at '${nodeLabel(node)}' ${found} and dimensions that are not fixed; fix them with --dim`;
		keep(context, site, { code: "activation/rank", message });
		return false;
	}
	const rows = shape.slice(0, -1).reduce((product, dim) => product * dim, 1);
	const shapes = {
		input: [rows, shape.at(-1)!],
		result: [rows, channels],
		output: [...shape.slice(0, -1), channels],
	};
	reshapeAround(model, node, shapes, names, true);
	return true;
}
