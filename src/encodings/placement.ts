import { QGraphError } from "../diagnostics.js";
import type { AffineEncoding, CodeType, Encodings, LpbqEncoding } from "./encoding.js";

/** The axes of a weight that its operator gives a meaning: it sums over the block axis. */
export interface TensorAxes {
	readonly blockAxis: number;
	readonly channelAxis: number;
}

/** What an encoding is to be placed on. */
export interface PlacedTensor {
	/** undefined where it is not known. */
	readonly shape: readonly number[] | undefined;
	/** Of weights of operators. */
	readonly axes: TensorAxes | undefined;
}

interface Placed {
	readonly codes: CodeType;
	/** [] for one scale; else of the tensor's rank, with 1 along axes where scales do not change. */
	readonly shape: readonly number[];
	/** The axis of scales that are not in blocks; of blocks, where it is known. */
	readonly channelAxis: number | undefined;
	readonly blockAxis: number | undefined;
	/** 0 without blocks. */
	readonly blockSize: number;
}

/** An encoding of which each number has its place in the tensor: numbers of `shape`, in row-major order. */
export interface PlacedAffine extends Placed {
	readonly kind: "affine";
	readonly scales: Float64Array;
	readonly zeroPoints: Float64Array | undefined;
}

export interface PlacedLpbq extends Placed {
	readonly kind: "lpbq";
	readonly expandedBits: number;
	readonly integers: Float64Array;
	/** One an index of the channel axis. */
	readonly channelScales: Float64Array;
	readonly channelAxis: number;
	readonly blockAxis: number;
}

export type PlacedEncoding = PlacedAffine | PlacedLpbq;

/**
 * Finds out which number of an encoding belongs where in its tensor. Only version 2 says so; before, it follows from the
 * axes of the operator:
 *
 * | version | blocks of | order of the list |
 * | --- | --- | --- |
 * | 0.6.1 | any tensor | row-major in the tensor; the number of blocks follows from that of the numbers |
 * | 1.0.0 | [K, N] of MatMul and Gemm | channel by channel: [N, blocks], the transpose of the tensor's order |
 * | 1.0.0 | any other tensor | row-major in the tensor, [1, blocks, N] of a stack of matrices, [blocks, O, 1, 1] of ConvTranspose |
 *
 * @throws QGraphError `encodings/mismatch` where the numbers do not fit the tensor.
 */
export function placeEncoding(
	encoding: AffineEncoding | LpbqEncoding,
	version: Encodings["version"],
	tensor: PlacedTensor,
): PlacedEncoding {
	return encoding.kind === "affine" ? placeAffine(encoding, version, tensor) : placeLpbq(encoding, version, tensor);
}

function placeAffine(encoding: AffineEncoding, version: Encodings["version"], tensor: PlacedTensor): PlacedAffine {
	const { codes, scales, zeroPoints, granularity, blockSize } = encoding;
	const made = (place: Omit<Placed, "codes">, isTransposed = false): PlacedAffine => {
		const inOrder = (numbers: Float64Array) => (isTransposed ? transposed(numbers, place.shape) : numbers);
		return {
			kind: "affine",
			codes,
			...place,
			scales: inOrder(scales.values),
			zeroPoints: zeroPoints && inOrder(zeroPoints),
		};
	};
	if (granularity === "tensor") return made({ shape: [], channelAxis: undefined, blockAxis: undefined, blockSize: 0 });
	const shape = knownShape(encoding, tensor);
	if (granularity === "channel") {
		const isChannels = tensor.axes === undefined || shape[tensor.axes.channelAxis] === scales.values.length;
		const blocks =
			version === "0.6.1" && !isChannels ? legacyBlocks(scales.values.length, shape, tensor.axes!) : undefined;
		if (blocks !== undefined) return made(blocks);
		const channelAxis = channelAxisOf(encoding, shape, tensor.axes);
		const kept = shape.map((dim, axis) => (axis === channelAxis ? dim : 1));
		return made({ shape: kept, channelAxis, blockAxis: undefined, blockSize: 0 });
	}
	if (version.startsWith("2")) {
		const blockAxis = axisIn(encoding, encoding.axis!, shape.length);
		checkBlocks(encoding, scales.shape, shape, blockAxis);
		const channelAxis = tensor.axes?.channelAxis ?? onlyOther(scales.shape, blockAxis);
		return made({ shape: scales.shape, channelAxis, blockAxis, blockSize });
	}
	const place = version1Blocks(encoding, scales.values.length, "scale", shape, tensor.axes);
	return made(place, isChannelMajor(place));
}

function placeLpbq(encoding: LpbqEncoding, version: Encodings["version"], tensor: PlacedTensor): PlacedLpbq {
	const { codes, expandedBits, integers, channelScales, blockSize } = encoding;
	const shape = knownShape(encoding, tensor);
	if (version === "1.0.0") {
		const place = version1Blocks(encoding, integers.values.length, "per_block_int_scale", shape, tensor.axes);
		const numbers = isChannelMajor(place) ? transposed(integers.values, place.shape) : integers.values;
		checkChannels(encoding, shape[place.channelAxis]!);
		return { kind: "lpbq", codes, expandedBits, ...place, integers: numbers, channelScales: channelScales.values };
	}
	const blockAxis = axisIn(encoding, encoding.axis!, shape.length);
	checkBlocks(encoding, integers.shape, shape, blockAxis);
	const stated = encoding.channelAxis === undefined ? undefined : axisIn(encoding, encoding.channelAxis, shape.length);
	const varying = channelScales.shape.flatMap((dim, axis) => (dim > 1 ? [axis] : []));
	const keepsAxes = channelScales.shape.length === shape.length;
	if (keepsAxes && varying.length > 1) {
		return mismatch(
			encoding,
			`field 'per_channel_float_scale' changes along axes ${varying.join(" and ")}, expected one`,
		);
	}
	const shown = keepsAxes && shape.length > 1 ? varying[0] : undefined;
	const channelAxis = stated ?? shown ?? tensor.axes?.channelAxis ?? onlyOther(integers.shape, blockAxis);
	if (channelAxis === undefined || channelAxis === blockAxis) {
		return mismatch(encoding, `nothing says which axis of [${shape.join(", ")}] is that of the channels`);
	}
	checkChannels(encoding, shape[channelAxis]!);
	return {
		kind: "lpbq",
		codes,
		expandedBits,
		shape: integers.shape,
		channelAxis,
		blockAxis,
		blockSize,
		integers: integers.values,
		channelScales: channelScales.values,
	};
}

/** Does version 1.0.0 list the numbers of a tensor channel by channel although its channels are its columns? */
export function isChannelMajor({ shape, channelAxis }: Pick<Placed, "shape" | "channelAxis">): boolean {
	return shape.length === 2 && channelAxis === 1;
}

/** The numbers [rows, columns] of the list [columns, rows]. */
export function transposed(numbers: Float64Array, [rows, columns]: readonly number[]): Float64Array {
	const result = new Float64Array(numbers.length);
	for (let row = 0, at = 0; row < rows!; row++) {
		for (let column = 0; column < columns!; column++, at++) result[at] = numbers[column * rows! + row]!;
	}
	return result;
}

function channelAxisOf(encoding: AffineEncoding, shape: readonly number[], axes: TensorAxes | undefined): number {
	const count = encoding.scales.values.length;
	if (encoding.axis !== undefined) {
		const axis = axisIn(encoding, encoding.axis, shape.length);
		if (shape[axis] === count) return axis;
		return mismatch(
			encoding,
			`it has ${count} scales, expected ${shape[axis]} along axis ${axis} of [${shape.join(", ")}]`,
		);
	}
	if (axes !== undefined && shape[axes.channelAxis] === count) return axes.channelAxis;
	const [fitting, ...others] = shape.flatMap((dim, axis) => (dim === count ? [axis] : []));
	if (fitting !== undefined && others.length === 0) return fitting;
	const expected = fitting === undefined ? "as many as channels" : "an axis, which version 2.0.0 says,";
	return mismatch(encoding, `it has ${count} scales, expected ${expected} for its shape [${shape.join(", ")}]`);
}

/** Version 0.6.1 lists blocks without their size. */
function legacyBlocks(count: number, shape: readonly number[], axes: TensorAxes): Omit<Placed, "codes"> | undefined {
	const { blockAxis, channelAxis } = axes;
	const blocks = count / shape[channelAxis]!;
	const blockSize = shape[blockAxis]! / blocks;
	if (!Number.isInteger(blocks) || !Number.isInteger(blockSize)) return undefined;
	const kept = shape.map((dim, axis) => (axis === channelAxis ? dim : axis === blockAxis ? blocks : 1));
	return { shape: kept, channelAxis, blockAxis, blockSize };
}

function version1Blocks(
	encoding: AffineEncoding | LpbqEncoding,
	count: number,
	field: string,
	shape: readonly number[],
	axes: TensorAxes | undefined,
): Omit<Placed, "codes"> & TensorAxes {
	const { name, blockSize } = encoding;
	if (axes === undefined) {
		return mismatch(
			{ name },
			"it has blocks but is no weight of an operator that says along which axis; version 2.0.0 says it",
		);
	}
	const { blockAxis, channelAxis } = axes;
	const [depth, channels] = [shape[blockAxis]!, shape[channelAxis]!];
	if (depth % blockSize !== 0) {
		return mismatch(
			{ name },
			`field 'block_size' is ${blockSize}, expected a divisor of ${depth}, the length of axis ${blockAxis} of [${shape.join(", ")}]`,
		);
	}
	const blocks = depth / blockSize;
	if (count !== channels * blocks) {
		return mismatch(
			{ name },
			`field '${field}' has ${count} numbers, expected ${channels * blocks}: ${blocks} blocks of ${channels} channels of [${shape.join(", ")}]`,
		);
	}
	const kept = shape.map((dim, axis) => (axis === channelAxis ? dim : axis === blockAxis ? blocks : 1));
	return { shape: kept, channelAxis, blockAxis, blockSize };
}

/** Along the block axis as many as blocks, along others as many as elements or one. */
function checkBlocks(
	encoding: AffineEncoding | LpbqEncoding,
	found: readonly number[],
	shape: readonly number[],
	blockAxis: number,
): void {
	const { blockSize } = encoding;
	const expected = shape.map((dim, axis) => (axis === blockAxis ? Math.ceil(dim / blockSize) : dim));
	const fits =
		found.length === shape.length &&
		found.every((dim, axis) => dim === expected[axis] || (dim === 1 && axis !== blockAxis));
	if (fits) return;
	mismatch(
		encoding,
		`its scales have shape [${found.join(", ")}], expected [${expected.join(", ")}] or 1 for dimensions without blocks: blocks of ${blockSize} along axis ${blockAxis} of [${shape.join(", ")}]`,
	);
}

function checkChannels(encoding: LpbqEncoding, channels: number): void {
	const found = encoding.channelScales.values.length;
	if (found !== channels) mismatch(encoding, `it has ${found} channel scales, expected ${channels}`);
}

/** The only axis beside `axis` along which there are several. */
function onlyOther(shape: readonly number[], axis: number): number | undefined {
	if (shape.length === 2) return 1 - axis;
	const others = shape.flatMap((dim, index) => (dim > 1 && index !== axis ? [index] : []));
	return others.length === 1 ? others[0] : undefined;
}

function knownShape(encoding: { readonly name: string }, { shape }: PlacedTensor): readonly number[] {
	return shape ?? mismatch(encoding, "it has several scales, expected one: the shape of the tensor is not known");
}

function axisIn(encoding: { readonly name: string }, axis: number, rank: number): number {
	const normalized = axis < 0 ? axis + rank : axis;
	if (normalized >= 0 && normalized < rank) return normalized;
	return mismatch(encoding, `field 'axis' is ${axis}, expected ${-rank} to ${rank - 1} for a tensor of rank ${rank}`);
}

function mismatch({ name }: { readonly name: string }, message: string): never {
	throw new QGraphError("encodings/mismatch", `encoding of '${name}' does not fit the tensor: ${message}`, {
		value: name,
	});
}
