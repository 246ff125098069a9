import { DataType } from "../../ir/types.js";
import { frontAxis, unknownShape } from "../dimension.js";
import { type Shape, tensorFact } from "../fact.js";
import { all, type OperatorCall, type Rule, type RuleTable } from "../operator-call.js";
import { knownAxes, shaped } from "./shape.js";

function reduce(call: OperatorCall): Shape | undefined {
	const input = call.shape(0);
	const keeps = call.int("keepdims") !== 0;
	const count = call.has(1) ? call.shape(1)?.[0] : call.ints("axes")?.length;
	const wanted = call.inputOrInts(1, "axes");
	const isAll = !call.has(1) && call.ints("axes") === undefined;
	if (isAll || wanted?.length === 0 || count === 0) {
		if (call.int("noop_with_empty_axes") === 1) return input;
		return keeps ? input?.map(() => 1) : [];
	}
	if (input === undefined) return undefined;
	const axes = knownAxes(wanted, input.length);
	if (axes !== undefined) return withoutAxes(input, axes, keeps);
	if (keeps) return unknownShape(input.length);
	return typeof count === "number" && count <= input.length ? unknownShape(input.length - count) : undefined;
}

function withoutAxes(input: Shape, axes: readonly number[], keeps: boolean): Shape {
	if (keeps) return input.map((dimension, axis) => (axes.includes(axis) ? 1 : dimension));
	return input.filter((_, axis) => !axes.includes(axis));
}

/** The shape of `input` after one axis is summed over; undefined where there is no such axis. */
function withoutAxis(input: Shape | undefined, axis: number, keeps: boolean): Shape | undefined {
	const at = input && frontAxis(axis, input.length);
	return at === undefined ? undefined : withoutAxes(input!, [at], keeps);
}

const argument: Rule = (call) => [
	tensorFact(DataType.INT64, withoutAxis(call.shape(0), call.int("axis") ?? 0, call.int("keepdims") !== 0)),
];

/** All dimensions behind the channel become 1. */
function globalPool(call: OperatorCall): Shape | undefined {
	return call.shape(0)?.map((dimension, axis) => (axis < 2 ? dimension : 1));
}

export const REDUCE_RULES: RuleTable = {
	...all(
		"ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare",
		shaped(reduce),
	),
	...all("ArgMax ArgMin", argument),
	...all("GlobalAveragePool GlobalLpPool GlobalMaxPool", shaped(globalPool)),
};
