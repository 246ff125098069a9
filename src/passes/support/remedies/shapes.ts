import { unsqueezeFirst } from "../compiled-remedies.js";
import { lowerDepth } from "../depth-remedy.js";
import { appendAnother, prependAnother } from "../fill-remedy.js";
import { passOn, restateShapes } from "../form-remedies.js";
import { gatherImages } from "../gather-remedy.js";
import { separateLength } from "../length-remedies.js";
import { padByNothing } from "../norm-remedies.js";
import { reducePositions } from "../pool-remedies.js";
import { fillRows, multiplyAsGemm, multiplyDequantized } from "../product-remedies.js";
import type { RemedyEntry } from "../remedy.js";
import {
	addAxis,
	exchangeLengths,
	flatten,
	gatherRow,
	joinBatches,
	joinRows,
	lowerRank,
	reduceLonger,
	square,
	throughVector,
} from "../shape-remedies.js";
import { appendRows, gatherFirsts, gatherLargest, raiseBoth, raiseInput } from "../turned-view-remedies.js";

/** Remedies for rules about ranks, shapes and layouts. */
export const SHAPE_REMEDIES: readonly RemedyEntry[] = [
	["htp/operator-rank", lowerRank],
	["htp/gather-rank", gatherRow],
	["htp/instance-norm-rank", addAxis],
	["htp/relu-rank", flatten],
	["htp/tile-ones", passOn],
	["htp/vector-transpose", passOn],
	["htp/matmul-rank", flatten],
	["htp/layer-norm-16-rows", square],
	["htp/tanh-16-rows", square],
	["htp/reshape-square", throughVector],
	["htp/product-square", multiplyDequantized],
	["htp/reshape-halved", throughVector],
	["htp/norm-channels", padByNothing],
	["htp/reshaped-product", multiplyAsGemm],
	["htp/norm-layout", separateLength],
	["htp/output-shape", restateShapes],
	["htp/rank", lowerDepth],
	["htp/concat-product", joinRows],
	["htp/batches-reshaped", joinBatches],
	["htp/batch-rows", fillRows],
	["htp/lpbq-batch", flatten],
	["htp/channel-fill", appendAnother],
	["htp/leading-fill", prependAnother],
	["htp/reduce-column", exchangeLengths],
	["htp/mean-of-one", reduceLonger],
	["htp/gathered-images", gatherImages],
	["htp/image-of-one", unsqueezeFirst],
	["htp/global-max-row", reducePositions],
	["htp/norm-16-positions", raiseInput],
	["htp/outer-product", raiseBoth],
	["htp/turned-pad", appendRows],
	["htp/first-of-four", gatherFirsts],
	["htp/compared-top-k", gatherLargest],
];
