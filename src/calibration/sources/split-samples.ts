import { bytesPerElement } from "../../arrays/element-type.js";
import type { NumpyArray } from "../../arrays/npz.js";
import { QGraphError } from "../../diagnostics.js";
import { elementCount } from "../../ir/types.js";
import type { ModelInput } from "../../runtime/model-inputs.js";

/** How an array of several samples is cut: `count` pieces of `shape` in a row. */
export interface SampleCut {
	/** undefined: the array is not cut, every sample has all of it. */
	readonly count: number | undefined;
	/** Of one sample. */
	readonly shape: readonly number[];
	/** Bytes of one sample. */
	readonly stride: number;
}

/**
 * How many samples an array holds. One axis more than the input has counts samples, [N, ...input]. With as many axes as
 * the input, the first one is cut into batches as the input takes them, of 1 where that is dynamic; an array of exactly the
 * fixed shape of its input is one sample, which others may share.
 */
export function cutSamples(
	{ type, shape }: Pick<NumpyArray, "type" | "shape">,
	input: ModelInput,
	origin: string,
): SampleCut {
	const size = bytesPerElement(type);
	const made = (count: number | undefined, piece: readonly number[]): SampleCut => ({
		count,
		shape: piece,
		stride: elementCount(piece) * size,
	});
	const wanted = input.shape;
	if (wanted === undefined) return made(undefined, shape);
	if (shape.length === wanted.length + 1) return made(shape[0]!, shape.slice(1));
	const fits = (length: number | undefined, axis: number) =>
		typeof wanted[axis] !== "number" || wanted[axis] === length;
	if (shape.length === wanted.length && shape.slice(1).every((length, index) => fits(length, index + 1))) {
		const [batch] = wanted;
		if (shape.length === 0 || shape[0] === batch) return made(undefined, shape);
		const length = typeof batch === "number" ? batch : 1;
		if (length > 0 && shape[0]! % length === 0) return made(shape[0]! / length, [length, ...shape.slice(1)]);
	}
	const shapes = `[${shape.join(", ")}], but the input is [${wanted.join(", ")}]`;
	throw new QGraphError(
		"runtime/inputs",
		`'${origin}': array '${input.name}' is ${shapes}; samples are counted along an axis in front of these`,
		{ value: input.name },
	);
}

/** How many samples arrays hold that are read together. Throws `calibrate/data` where they disagree. */
export function commonCount(cuts: ReadonlyMap<string, SampleCut>, origin: string): number {
	const counted = [...cuts].filter(([, { count }]) => count !== undefined);
	const [first] = counted;
	if (first === undefined) return 1;
	const other = counted.find(([, { count }]) => count !== first[1].count);
	if (other === undefined) return first[1].count!;
	throw new QGraphError(
		"calibrate/data",
		`'${origin}' has ${first[1].count} samples of '${first[0]}' but ${other[1].count} of '${other[0]}'`,
		{ file: origin },
	);
}
