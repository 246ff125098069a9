import { intsOf, stringOf } from "../ir/attribute.js";
import { fixedShape } from "./fixed-shape.js";
import { fusedPads } from "./fused-pad.js";
import type { OperatorFacts } from "./operator-facts.js";

/** Pads of one axis: in front and behind. */
export interface Pads {
	readonly begin: number;
	readonly end: number;
}

/** Of a pool, by spatial axis; those of a Pad in front, which become the pool's, too. */
export function poolPads({ node, inputs }: OperatorFacts): readonly Pads[] | undefined {
	const shape = fixedShape(inputs[0]?.shape)?.slice(2);
	const kernel = intsOf(node, "kernel_shape");
	if (shape === undefined || kernel.length !== shape.length) return undefined;
	const [strides, given] = [intsOf(node, "strides"), intsOf(node, "pads")];
	const auto = stringOf(node, "auto_pad") ?? "NOTSET";
	const fused = fusedPads(node);
	return shape.map((length, axis) => {
		const stride = strides[axis] ?? 1;
		const same = Math.max(0, (Math.ceil(length / stride) - 1) * stride + kernel[axis]! - length);
		const small = Math.floor(same / 2);
		if (auto === "SAME_UPPER") return { begin: small, end: same - small };
		if (auto === "SAME_LOWER") return { begin: same - small, end: small };
		const at = (index: number) => (given[index] ?? 0) + (fused?.[index] ?? 0);
		return { begin: at(axis), end: at(axis + shape.length) };
	});
}
