import { DataType, type Dimension } from "../../ir/types.js";
import { frontAxis, unknownShape } from "../dimension.js";
import { type Shape, tensorFact } from "../fact.js";
import type { OperatorCall, Rule, RuleTable } from "../operator-call.js";
import { shaped } from "./shape.js";

export function gatherShape(data: Shape | undefined, indices: Shape | undefined, axis: number): Shape | undefined {
	const at = data && frontAxis(axis, data.length);
	if (data === undefined || indices === undefined || at === undefined) return undefined;
	return [...data.slice(0, at), ...indices, ...data.slice(at + 1)];
}

function gatherNd(call: OperatorCall): Shape | undefined {
	const [data, indices] = [call.shape(0), call.shape(1)];
	const depth = indices?.at(-1);
	const batch = call.int("batch_dims") ?? 0;
	if (data === undefined || indices === undefined || typeof depth !== "number") return undefined;
	return [...indices.slice(0, -1), ...data.slice(batch + depth)];
}

const topK: Rule = (call) => {
	const input = call.shape(0);
	const count = call.has(1) ? call.elements(1)?.[0] : call.int("k");
	const axis = input && frontAxis(call.int("axis") ?? -1, input.length);
	const shape = axis === undefined ? undefined : input!.with(axis, count);
	return [tensorFact(call.elementType(0), shape), tensorFact(DataType.INT64, shape)];
};

const oneHot: Rule = (call) => {
	const indices = call.shape(0);
	const depth = call.elements(1)?.[0];
	const axis = indices && frontAxis(call.int("axis") ?? -1, indices.length + 1);
	return [tensorFact(call.elementType(2), axis === undefined ? undefined : indices!.toSpliced(axis, 0, depth))];
};

const nonZero: Rule = (call) => [tensorFact(DataType.INT64, [nonZeroRank(call.shape(0)), countOfNonZero(call, 0)])];

/** How many elements of input `index` are not 0, where all are known. */
function countOfNonZero(call: OperatorCall, index: number): Dimension {
	return call.numbers(index)?.filter((element) => element !== 0).length;
}

/** A scalar counts as one dimension. */
function nonZeroRank(shape: Shape | undefined): Dimension {
	return shape && Math.max(1, shape.length);
}

const nonMaxSuppression: Rule = () => [tensorFact(DataType.INT64, [undefined, 3])];

const unique: Rule = (call) => {
	const input = call.shape(0);
	const axis = call.int("axis");
	const at = axis === undefined ? undefined : input && frontAxis(axis, input.length);
	const values =
		axis === undefined
			? [undefined]
			: at === undefined
				? input && unknownShape(input.length)
				: input!.with(at, undefined);
	const vector = tensorFact(DataType.INT64, [undefined]);
	return [tensorFact(call.elementType(0), values), vector, vector, vector];
};

function compress(call: OperatorCall): Shape | undefined {
	const input = call.shape(0);
	const axis = call.int("axis");
	const count = countOfNonZero(call, 1);
	if (axis === undefined) return [count];
	const at = input && frontAxis(axis, input.length);
	return at === undefined ? undefined : input!.with(at, count);
}

export const GATHER_RULES: RuleTable = {
	Gather: shaped((call) => gatherShape(call.shape(0), call.shape(1), call.int("axis") ?? 0)),
	GatherElements: shaped((call) => call.shape(1)),
	GatherND: shaped(gatherNd),
	TopK: topK,
	OneHot: oneHot,
	NonZero: nonZero,
	NonMaxSuppression: nonMaxSuppression,
	Unique: unique,
	Compress: shaped(compress),
};
