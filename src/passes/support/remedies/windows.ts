import { averageByConv, coverWindows, keepZeros } from "../average-pool.js";
import { sliceColumns } from "../conv-steps.js";
import { padInTurns } from "../mode-remedies.js";
import { padFirst, spellPads } from "../pad-first.js";
import { joinPads, padWithLeast } from "../pool-remedies.js";
import type { RemedyEntry } from "../remedy.js";
import { resizeWhole } from "../resize-remedy.js";
import { cropLess } from "../spread-kernel.js";

/** Remedies for rules about windows, pads and sizes of images. */
export const WINDOW_REMEDIES: readonly RemedyEntry[] = [
	["htp/conv-batch-steps", sliceColumns],
	["htp/conv-line-pads", padFirst],
	["htp/conv-pads-beyond", padFirst],
	["htp/conv-row-pads", padFirst],
	["htp/conv-top-pads", padFirst],
	["htp/conv-same-pads", spellPads],
	["htp/conv-empty-window", padFirst],
	["htp/lp-pool-pads", coverWindows],
	["htp/average-pads", coverWindows],
	["htp/max-columns", padWithLeast],
	["htp/pad-maximum", keepZeros],
	["htp/pad-average", averageByConv],
	["htp/resize-scale", resizeWhole],
	["htp/resize-cubic", resizeWhole],
	["htp/pad-ends", padInTurns],
	["htp/pad-pad", joinPads],
	["htp/transposed-conv-padding", cropLess],
];
