import { isOnnxOp } from "../../ir/node.js";
import { joinAxes } from "./rank-remedies.js";
import type { Remedy } from "./remedy.js";
import { gatherRow } from "./shape-remedies.js";
import { dropUnitAxis, MAX_RANK } from "./unit-axis.js";

/** A Gather that makes more axes than its table has, whose result alone is too deep. */
const gatherInRow: Remedy = (operator, tools) => {
	const [data, indices] = operator.inputs;
	const isShallow = (data?.shape?.length ?? MAX_RANK + 1) <= MAX_RANK && (indices?.shape?.length ?? 0) <= MAX_RANK;
	return isOnnxOp(operator.node, "Gather") && isShallow && gatherRow(operator, tools);
};

/** More than five axes: those of a permutation joined, those of indices in a row, one of length 1 left out. */
export const lowerDepth: Remedy = (operator, tools) =>
	joinAxes(operator, tools) || gatherInRow(operator, tools) || dropUnitAxis(operator, tools);
