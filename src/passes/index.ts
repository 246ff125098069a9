import { annotateBlockQuant } from "./annotate-block-quant.js";
import { applyEncodings } from "./apply-encodings.js";
import { applyPrecisionRecipe } from "./apply-precision-recipe.js";
import { bqToLpbq } from "./bq-to-lpbq.js";
import { computeConstants } from "./compute-constants.js";
import { fixInputs } from "./fix-inputs.js";
import { fixShapes } from "./fix-shapes.js";
import { foldAffine } from "./fold-affine.js";
import { foldConstants } from "./fold-constants.js";
import { foldIf } from "./fold-if.js";
import { foldShapes } from "./fold-shapes.js";
import { foldWeightTranspose } from "./fold-weight-transpose.js";
import { fuseGelu } from "./fuse-gelu.js";
import { fuseHardSwish } from "./fuse-hard-swish.js";
import { fuseLayerNorm } from "./fuse-layer-norm.js";
import { fuseReduceL2 } from "./fuse-reduce-l2.js";
import { fuseRmsNorm } from "./fuse-rms-norm.js";
import { fuseSigmoid } from "./fuse-sigmoid.js";
import type { AnyPassFactory } from "./infra/pass.js";
import { insertActivationQdq } from "./insert-activation-qdq.js";
import { legalizeActivations } from "./legalize-activations.js";
import { legalizeBias } from "./legalize-bias.js";
import { legalizeOperators } from "./legalize-operators.js";
import { legalizeSilu } from "./legalize-silu.js";
import { legalizeWeights } from "./legalize-weights.js";
import { lowerContribQdq } from "./lower-contrib-qdq.js";
import { lowerDynamicQuantization } from "./lower-dynamic-quantization.js";
import { lowerFourier } from "./lower-fourier.js";
import { lowerGatherBlockQuantized } from "./lower-gather-block-quantized.js";
import { lowerGemm } from "./lower-gemm.js";
import { lowerGroupQueryAttention } from "./lower-group-query-attention.js";
import { lowerIf } from "./lower-if.js";
import { lowerMatmulNbits } from "./lower-matmul-nbits.js";
import { lowerRotaryEmbedding } from "./lower-rotary-embedding.js";
import { lowerSkipLayerNorm } from "./lower-skip-layer-norm.js";
import { lpbqToBq } from "./lpbq-to-bq.js";
import { narrowDoubles } from "./narrow-doubles.js";
import { normalizeWeights } from "./normalize-weights.js";
import { removeQdq } from "./remove-qdq.js";
import { saveAnnotations } from "./save-annotations.js";
import { separateMatmulOutputs } from "./separate-matmul-outputs.js";
import { splitBlockScales } from "./split-block-scales.js";
import { splitGraph } from "./split-graph.js";
import { upgradeOpset } from "./upgrade-opset.js";

/** Every pass, in the order in which the command line runs them. */
export const allPasses: readonly AnyPassFactory[] = Object.freeze([
	upgradeOpset,
	lowerContribQdq,
	lowerDynamicQuantization,
	removeQdq,
	applyEncodings,
	lowerGatherBlockQuantized,
	lowerMatmulNbits,
	fixShapes,
	fixInputs,
	lowerSkipLayerNorm,
	lowerRotaryEmbedding,
	lowerGroupQueryAttention,
	foldIf,
	lowerIf,
	foldShapes,
	foldConstants,
	narrowDoubles,
	fuseGelu,
	fuseSigmoid,
	fuseHardSwish,
	fuseLayerNorm,
	fuseRmsNorm,
	fuseReduceL2,
	foldAffine,
	foldWeightTranspose,
	computeConstants,
	lowerFourier,
	applyPrecisionRecipe,
	insertActivationQdq,
	normalizeWeights,
	lowerGemm,
	separateMatmulOutputs,
	legalizeSilu,
	legalizeWeights,
	splitBlockScales,
	lpbqToBq,
	annotateBlockQuant,
	bqToLpbq,
	legalizeActivations,
	legalizeOperators,
	legalizeBias,
	splitGraph,
	saveAnnotations,
]);

/** What `convert --recipe` runs: weights are brought next to their operators before the recipe looks at them. */
export const recipePasses: readonly AnyPassFactory[] = Object.freeze([
	upgradeOpset,
	foldConstants,
	foldWeightTranspose,
	applyPrecisionRecipe,
]);

/** What `convert --recipe --encodings` runs: operators are made one where the target has one, then everything is quantized. */
export const quantizingPasses: readonly AnyPassFactory[] = Object.freeze([
	upgradeOpset,
	lowerDynamicQuantization,
	fixInputs,
	foldIf,
	foldConstants,
	fuseGelu,
	fuseSigmoid,
	fuseHardSwish,
	fuseLayerNorm,
	fuseRmsNorm,
	fuseReduceL2,
	foldAffine,
	foldWeightTranspose,
	computeConstants,
	lowerFourier,
	applyPrecisionRecipe,
	insertActivationQdq,
]);

/**
 * Those of {@link allPasses} that make a model legal on its target, in order: what `convert --target` runs. `bq-to-lpbq` is
 * none of them: it loses something, and what it is needed for `legalize-weights` does otherwise; nor is `split-block-scales`,
 * which belongs to it.
 */
export const legalizingPasses: readonly AnyPassFactory[] = Object.freeze(
	allPasses.filter(
		(pass) =>
			![
				annotateBlockQuant,
				applyEncodings,
				applyPrecisionRecipe,
				bqToLpbq,
				computeConstants,
				foldAffine,
				fuseReduceL2,
				insertActivationQdq,
				removeQdq,
				saveAnnotations,
				splitBlockScales,
				splitGraph,
			].includes(pass),
	),
);

/** Those of {@link allPasses} that bring weights into the form that `bq-to-lpbq` takes: what `convert --bq-to-lpbq` runs before. */
export const normalizingPasses: readonly AnyPassFactory[] = Object.freeze([
	lowerContribQdq,
	lowerDynamicQuantization,
	lowerMatmulNbits,
]);
