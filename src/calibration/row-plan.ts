/** How the rows of inputs that an operator multiplies with its weight are read out of a value. */
export type RowPlan =
	| {
			readonly kind: "axis";
			/** The axis that runs through a row. */
			readonly axis: number;
	  }
	| PatchPlan;

/** What a convolution sees at a position: [channels of a group, kernel]. */
export interface PatchPlan {
	readonly kind: "patches";
	readonly kernel: readonly number[];
	readonly strides: readonly number[];
	readonly dilations: readonly number[];
	/** At the beginnings and at the ends, or one of ONNX's words for them. */
	readonly pads: readonly number[] | string;
	readonly groups: number;
}

/** Second moments gain nothing by more rows, all samples taken together. */
const ROWS_PER_INPUT = 16;

/** Of one sample, where there are many. */
const LEAST_ROWS = 32;

/** Rows of `depth` inputs that are enough of one of `samples` samples. */
export function enoughRows(depth: number, samples: number): number {
	return Math.max(LEAST_ROWS, Math.ceil((ROWS_PER_INPUT * depth) / Math.max(1, samples)));
}

/** The fractional part of the golden ratio: its multiples are spread evenly. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/**
 * Reads rows out of a value, `most` of them spread over all.
 *
 * @param elements of the value, of `shape`.
 * @param turn another number picks others.
 * @returns [groups, rows, depth]; in the memory of `elements` where all of them are that already.
 */
export function readRows(
	plan: RowPlan,
	shape: readonly number[],
	elements: Float32Array,
	most: number,
	turn: number,
): Float32Array {
	return plan.kind === "axis"
		? readAlong(plan.axis, shape, elements, most, turn)
		: readPatches(plan, shape, elements, most, turn);
}

function readAlong(
	axis: number,
	shape: readonly number[],
	elements: Float32Array,
	most: number,
	turn: number,
): Float32Array {
	const depth = shape[axis]!;
	const inner = product(shape.slice(axis + 1));
	const count = elements.length / depth;
	if (inner === 1 && count <= most) return elements;
	const picked = pick(count, most, turn);
	const rows = new Float32Array(picked.length * depth);
	picked.forEach((row, index) => {
		const start = Math.floor(row / inner) * depth * inner + (row % inner);
		for (let i = 0; i < depth; i++) rows[index * depth + i] = elements[start + i * inner]!;
	});
	return rows;
}

function readPatches(
	plan: PatchPlan,
	shape: readonly number[],
	elements: Float32Array,
	most: number,
	turn: number,
): Float32Array {
	const channels = shape[1]!;
	const area = product(shape.slice(2));
	const { images, offsets } = patchPlaces(plan, shape, most, turn);
	return rowsOfPatches(plan, channels, offsets, (row, channel, _, offset) => {
		return elements[(images[row]! * channels + channel) * area + offset]!;
	});
}

/**
 * The same out of elements that were picked already.
 *
 * @param offsets of {@link patchPlaces}.
 * @param picked [channels, rows, positions]: of each channel the elements at `offsets`, anything where these are negative.
 */
export function readPickedPatches(
	plan: PatchPlan,
	channels: number,
	offsets: Int32Array,
	picked: Float32Array,
): Float32Array {
	return rowsOfPatches(plan, channels, offsets, (_, channel, at) => picked[channel * offsets.length + at]!);
}

/** @param elementAt by row, channel, place among offsets, and offset. */
function rowsOfPatches(
	{ kernel, groups }: PatchPlan,
	channels: number,
	offsets: Int32Array,
	elementAt: (row: number, channel: number, at: number, offset: number) => number,
): Float32Array {
	const positions = product(kernel);
	const count = offsets.length / positions;
	const groupChannels = channels / groups;
	const rows = new Float32Array(channels * offsets.length);
	for (let row = 0; row < count; row++) {
		for (let channel = 0; channel < channels; channel++) {
			const group = Math.floor(channel / groupChannels);
			const to = ((group * count + row) * groupChannels + (channel % groupChannels)) * positions;
			for (let position = 0, at = row * positions; position < positions; position++, at++) {
				if (offsets[at]! >= 0) rows[to + position] = elementAt(row, channel, at, offsets[at]!);
			}
		}
	}
	return rows;
}

/** Images of rows, and where in a channel their elements are, [rows, positions]; -1 for what lies outside. */
export interface PatchPlaces {
	readonly images: Int32Array;
	readonly offsets: Int32Array;
}

/** Picks `most` windows of a value [images, channels, ...lengths], or all where there are no more. */
export function patchPlaces(
	{ kernel, strides, dilations, pads }: PatchPlan,
	[batch, , ...lengths]: readonly number[],
	most: number,
	turn: number,
): PatchPlaces {
	const axes = lengths.map((length, axis) => {
		const reach = dilations[axis]! * (kernel[axis]! - 1) + 1;
		return { length, ...windowsAlong(length, reach, strides[axis]!, pads, axis) };
	});
	const places = product(axes.map(({ count }) => count));
	const picked = pick(batch! * places, most, turn);
	const positions = product(kernel);
	const offsets = new Int32Array(picked.length * positions);
	picked.forEach((place, row) => {
		const own = offsets.subarray(row * positions, (row + 1) * positions);
		offsetsAt(place % places, axes, kernel, strides, dilations, own);
	});
	return { images: Int32Array.from(picked, (place) => Math.floor(place / places)), offsets };
}

interface Axis {
	readonly length: number;
	/** Windows along it, and how far the first one begins in front of it. */
	readonly count: number;
	readonly before: number;
}

function windowsAlong(
	length: number,
	reach: number,
	stride: number,
	pads: readonly number[] | string,
	axis: number,
): Omit<Axis, "length"> {
	if (typeof pads === "string" && pads.startsWith("SAME")) {
		const count = Math.ceil(length / stride);
		const padding = Math.max(0, (count - 1) * stride + reach - length);
		return { count, before: pads === "SAME_LOWER" ? Math.ceil(padding / 2) : Math.floor(padding / 2) };
	}
	const [before, after] = typeof pads === "string" ? [0, 0] : [pads[axis]!, pads[axis + pads.length / 2]!];
	return { count: Math.max(0, Math.floor((length + before + after - reach) / stride) + 1), before };
}

/** Where in a channel the elements of a window are; -1 for what lies outside. */
function offsetsAt(
	place: number,
	axes: readonly Axis[],
	kernel: readonly number[],
	strides: readonly number[],
	dilations: readonly number[],
	offsets: Int32Array,
): void {
	const starts = axes.map(() => 0);
	for (let axis = axes.length - 1, rest = place; axis >= 0; axis--) {
		const { count, before } = axes[axis]!;
		starts[axis] = (rest % count) * strides[axis]! - before;
		rest = Math.floor(rest / count);
	}
	for (let position = 0; position < offsets.length; position++) {
		let [offset, step, rest] = [0, 1, position];
		for (let axis = axes.length - 1; axis >= 0; axis--) {
			const { length } = axes[axis]!;
			const at = starts[axis]! + (rest % kernel[axis]!) * dilations[axis]!;
			rest = Math.floor(rest / kernel[axis]!);
			offset = at < 0 || at >= length || offset < 0 ? -1 : offset + at * step;
			step *= length;
		}
		offsets[position] = offset;
	}
}

/** `most` of `count` places, one of each stretch of as many; all where there are no more. */
function pick(count: number, most: number, turn: number): number[] {
	if (count <= most) return Array.from({ length: count }, (_, place) => place);
	return Array.from({ length: most }, (_, index) => {
		const within = ((turn * most + index) * GOLDEN) % 1;
		return Math.floor(((index + within) * count) / most);
	});
}

function product(lengths: readonly number[]): number {
	return lengths.reduce((total, length) => total * length, 1);
}
