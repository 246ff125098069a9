import { floatOf } from "../ir/attribute.js";
import type { Node } from "../ir/node.js";
import { constantOf } from "../weights/constant.js";
import { scalarOf } from "../weights/numbers.js";

/** Between what a Clip keeps its values, infinite where it has no limit; undefined where one is computed. */
export function clipLimits(clip: Node): { readonly lo: number; readonly hi: number } | undefined {
	const limit = (index: number, attribute: string, absent: number) => {
		const input = clip.inputs[index];
		return input === undefined ? floatOf(clip, attribute, absent) : scalarOf(constantOf(input));
	};
	const lo = limit(1, "min", Number.NEGATIVE_INFINITY);
	const hi = limit(2, "max", Number.POSITIVE_INFINITY);
	return lo === undefined || hi === undefined ? undefined : { lo, hi };
}
