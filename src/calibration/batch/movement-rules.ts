import { intOf, intsOf } from "../../ir/attribute.js";
import { type BatchCall, type BatchEdit, type BatchRule, fromFront, product, stackedAt } from "./rule.js";

/** Slices that end behind this take everything, however long it is. */
const EVERYTHING = 2 ** 31 - 1;

/** Where samples come to lie that stay as far apart in memory as they were. */
function reshapedAxis(from: readonly number[], axis: number, to: readonly number[]): number | undefined {
	const outer = product(from.slice(0, axis));
	const fits = (at: number) => at < to.length && product(to.slice(0, at)) === outer;
	if (fits(axis) && to[axis] === from[axis]) return axis;
	const found = to.findIndex((_, at) => fits(at));
	return found === -1 ? undefined : found;
}

const reshape: BatchRule = (call) => {
	const [axis, from, to] = [call.axis(0), call.shape(0), call.outputShape(0)];
	if (axis === undefined || from === undefined || to === undefined || !call.shares(1)) return undefined;
	const at = reshapedAxis(from, axis, to);
	return at === undefined ? undefined : stackedAt(call, at, [{ input: 1, lengths: to, axis: at }]);
};

const flatten: BatchRule = (call) => {
	const [axis, from] = [call.axis(0), call.shape(0)];
	if (axis === undefined || from === undefined) return undefined;
	const cut = fromFront(intOf(call.node, "axis", 1), from.length);
	const first = axis < cut ? 0 : cut;
	return product(from.slice(first, axis)) === 1 ? stackedAt(call, axis < cut ? 0 : 1) : undefined;
};

const transpose: BatchRule = (call) => {
	const [axis, rank] = [call.axis(0), call.shape(0)?.length];
	if (axis === undefined || rank === undefined) return undefined;
	const permutation = intsOf(call.node, "perm");
	return stackedAt(call, permutation.length === 0 ? rank - 1 - axis : permutation.indexOf(axis));
};

const squeeze: BatchRule = (call) => {
	const [axis, rank] = [call.axis(0), call.shape(0)?.length];
	const given = call.inputOrInts(1, "axes");
	if (axis === undefined || rank === undefined || given === undefined || given.length === 0) return undefined;
	const axes = given.map((at) => fromFront(at, rank));
	return axes.includes(axis) ? undefined : stackedAt(call, axis - axes.filter((at) => at < axis).length);
};

const unsqueeze: BatchRule = (call) => {
	const [axis, rank] = [call.axis(0), call.outputShape(0)?.length];
	const given = call.inputOrInts(1, "axes");
	if (axis === undefined || rank === undefined || given === undefined) return undefined;
	const axes = given.map((at) => fromFront(at, rank));
	const kept = Array.from({ length: rank }, (_, at) => at).filter((at) => !axes.includes(at));
	return stackedAt(call, kept[axis]);
};

/** What all samples share is repeated for each. */
const concat: BatchRule = (call) => {
	const { inputs } = call.node;
	const axis = inputs.map((_, input) => call.axis(input)).find((at) => at !== undefined);
	const shape = call.outputShape(0);
	if (axis === undefined || shape === undefined || fromFront(intOf(call.node, "axis", 0), shape.length) === axis) {
		return undefined;
	}
	const edits: BatchEdit[] = [];
	for (const input of inputs.keys()) {
		if (call.axis(input) === axis) continue;
		if (call.axis(input) !== undefined || call.shape(input)?.[axis] !== 1) return undefined;
		edits.push({ input, repeated: axis });
	}
	return stackedAt(call, axis, edits);
};

/** Operators that work along one axis, and leave the others alone. */
const alongAxis =
	(axisOf: (call: BatchCall) => number | undefined): BatchRule =>
	(call) => {
		const [stacked, shape] = [call.axis(0), call.shape(0)];
		const axis = axisOf(call);
		if (stacked === undefined || shape === undefined || axis === undefined || !call.shares(1)) return undefined;
		return fromFront(axis, shape.length) === stacked ? undefined : stackedAt(call, stacked);
	};

const slice: BatchRule = (call) => {
	const [stacked, rank] = [call.axis(0), call.shape(0)?.length];
	if (stacked === undefined || rank === undefined || !call.shares(1)) return undefined;
	const [starts, ends] = [call.inputOrInts(1, "starts"), call.inputOrInts(2, "ends")];
	const [axes, steps] = [call.inputOrInts(3, "axes"), call.has(4) ? call.numbers(4) : []];
	if (starts === undefined || ends === undefined || axes === undefined || steps === undefined) return undefined;
	const at = axes.length === 0 ? stacked : axes.findIndex((axis) => fromFront(axis, rank) === stacked);
	if (at < 0 || at >= starts.length) return stackedAt(call, stacked);
	const isWhole = starts[at] === 0 && ends[at]! >= EVERYTHING && (steps[at] ?? 1) === 1;
	return isWhole ? stackedAt(call, stacked) : undefined;
};

/** Rows of what samples share picked by each, or the same places of each sample. */
const gather: BatchRule = (call) => {
	const [data, indices] = [call.shape(0), call.shape(1)];
	if (data === undefined || indices === undefined) return undefined;
	const axis = fromFront(intOf(call.node, "axis", 0), data.length);
	const [stacked, picked] = [call.axis(0), call.axis(1)];
	if (stacked === undefined) return stackedAt(call, axis + picked!);
	if (picked !== undefined || stacked === axis) return undefined;
	return stackedAt(call, stacked < axis ? stacked : stacked + indices.length - 1);
};

const gatherElements: BatchRule = (call) => {
	const [axis, shape] = [call.axis(0), call.shape(0)];
	if (axis === undefined || shape === undefined || call.axis(1) !== axis) return undefined;
	const isWhole = call.shape(1)?.[axis] === shape[axis];
	return isWhole && fromFront(intOf(call.node, "axis", 0), shape.length) !== axis ? stackedAt(call, axis) : undefined;
};

const expand: BatchRule = (call) => {
	const [axis, from, to] = [call.axis(0), call.shape(0), call.outputShape(0)];
	if (axis === undefined || from === undefined || to === undefined || !call.shares(1)) return undefined;
	const at = axis + to.length - from.length;
	return to[at] === from[axis] ? stackedAt(call, at, [{ input: 1, lengths: to, axis: at }]) : undefined;
};

const tile: BatchRule = (call) => {
	const axis = call.axis(0);
	return axis !== undefined && call.numbers(1)?.[axis] === 1 ? stackedAt(call, axis) : undefined;
};

const pad: BatchRule = (call) => {
	const [axis, rank] = [call.axis(0), call.shape(0)?.length];
	if (axis === undefined || rank === undefined || !call.shares(1)) return undefined;
	const pads = call.inputOrInts(1, "pads");
	const axes = call.has(3) ? call.numbers(3) : Array.from({ length: rank }, (_, at) => at);
	if (pads === undefined || axes === undefined) return undefined;
	const at = axes.findIndex((each) => fromFront(each, rank) === axis);
	if (at === -1) return stackedAt(call, axis);
	return pads[at] === 0 && pads[at + axes.length] === 0 ? stackedAt(call, axis) : undefined;
};

const reduce: BatchRule = (call) => {
	const [axis, rank] = [call.axis(0), call.shape(0)?.length];
	const given = call.inputOrInts(1, "axes");
	if (axis === undefined || rank === undefined || given === undefined) return undefined;
	if (given.length === 0) return intOf(call.node, "noop_with_empty_axes", 0) === 1 ? stackedAt(call, axis) : undefined;
	const axes = given.map((at) => fromFront(at, rank));
	if (axes.includes(axis)) return undefined;
	return stackedAt(call, axis - (intOf(call.node, "keepdims", 1) === 1 ? 0 : axes.filter((at) => at < axis).length));
};

const argument: BatchRule = (call) => {
	const [stacked, rank] = [call.axis(0), call.shape(0)?.length];
	if (stacked === undefined || rank === undefined) return undefined;
	const axis = fromFront(intOf(call.node, "axis", 0), rank);
	if (axis === stacked) return undefined;
	return stackedAt(call, intOf(call.node, "keepdims", 1) === 0 && axis < stacked ? stacked - 1 : stacked);
};

const triangle: BatchRule = (call) => {
	const [axis, rank] = [call.axis(0), call.shape(0)?.length];
	return axis !== undefined && rank !== undefined && axis < rank - 2 && call.shares(1)
		? stackedAt(call, axis)
		: undefined;
};

const REDUCTIONS =
	"ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare";

export const MOVEMENT_RULES: readonly (readonly [string, BatchRule])[] = [
	["Reshape", reshape],
	["Flatten", flatten],
	["Transpose", transpose],
	["Squeeze", squeeze],
	["Unsqueeze", unsqueeze],
	["Concat", concat],
	["Split", alongAxis(({ node }) => intOf(node, "axis", 0))],
	["TopK", alongAxis(({ node }) => intOf(node, "axis", -1))],
	["LpNormalization", alongAxis(({ node }) => intOf(node, "axis", -1))],
	["CumSum", alongAxis((call) => call.numbers(1)?.[0])],
	["Slice", slice],
	["Gather", gather],
	["GatherElements", gatherElements],
	["Expand", expand],
	["Tile", tile],
	["Pad", pad],
	["ArgMax", argument],
	["ArgMin", argument],
	["Trilu", triangle],
	...REDUCTIONS.split(" ").map((name) => [name, reduce] as const),
];
