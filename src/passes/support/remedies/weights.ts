import { leaveOutPairs, quantizeOnce } from "../bias-remedies.js";
import { joinScales, joinTableScales, unsignInt4 } from "../constant-remedies.js";
import { slicePositions } from "../conv-steps.js";
import { leaveOutDilations } from "../dilated-convs.js";
import { joinGroups } from "../joined-groups.js";
import { separate } from "../output-remedies.js";
import type { RemedyEntry } from "../remedy.js";
import { addRow } from "../shape-remedies.js";
import { storeTaken } from "../stored-codes.js";
import { addInt4ZeroPoints } from "../weight-parameters.js";
import {
	expandBias,
	foldFactors,
	makeRoomForBias,
	raiseDepthwiseSteps,
	raiseSteps,
	repeatScales,
	widenCodes,
	widenProduct,
} from "../weight-remedies.js";
import { writeOut } from "../written-out.js";

/** Remedies for rules about weights, biases and what their operators write. */
export const WEIGHT_REMEDIES: readonly RemedyEntry[] = [
	["htp/channel-output", separate],
	["htp/gemm-output", separate],
	["htp/clamped-output", separate],
	["htp/int4-zero-point", ({ weight }, { names }) => addInt4ZeroPoints(weight!.site, names)],
	["htp/conv-int4-bias", repeatScales],
	["htp/bias-repeated-pairs", quantizeOnce],
	["htp/bias-returned-codes", leaveOutPairs],
	["htp/relu-int4-rows", widenProduct],
	["htp/block-conv-steps", slicePositions],
	["htp/conv-int4-volume", widenCodes],
	["htp/depthwise-scale-one", repeatScales],
	["htp/depthwise-int4", widenCodes],
	["htp/depthwise-scale-small", raiseDepthwiseSteps],
	["htp/gemm-bias-shape", expandBias],
	["htp/channel-scalar", addRow],
	["htp/channel-scale-large", widenCodes],
	["htp/channel-scale-small", raiseSteps],
	["htp/bias-overflow", makeRoomForBias],
	["htp/gemm-factors", foldFactors],
	["htp/transposed-conv-groups", joinGroups],
	["htp/conv-bias-scale", quantizeOnce],
	["htp/mish-lpbq", writeOut],
	["htp/int4-asymmetric", unsignInt4],
	["htp/channel-zero-point", storeTaken],
	["htp/weight-type", storeTaken],
	["htp/wide-codes", storeTaken],
	["htp/wide-zero-point", storeTaken],
	["htp/wide-weight", storeTaken],
	["htp/wide-dilated", leaveOutDilations],
	["htp/gather-table", joinTableScales],
	["htp/several-scales", joinScales],
];
