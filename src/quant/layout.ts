/** A row-major weight seen as [outer, depth, channels, spatial]; `depth` is the block (contraction) axis. */
export interface BlockLayout {
	readonly outer: number;
	readonly depth: number;
	readonly channels: number;
	readonly spatial: number;
	/** Elements of `depth` that share one scale; the last block of a row may be shorter. */
	readonly blockSize: number;
	/** Blocks along `depth`, ceil(depth / blockSize). */
	readonly blocks: number;
	/** Output channels, outer * channels; channel = outerIndex * channels + channelInRow. */
	readonly channelCount: number;
}

/**
 * Describes how a weight of `shape` is cut into blocks.
 *
 * | weight                   | axes (block, channel) | [outer, depth, channels, spatial] |
 * | ------------------------ | --------------------- | --------------------------------- |
 * | MatMul [K, N]            | (0, 1)                | [1, K, N, 1]                      |
 * | Gemm transB=1 [N, K]     | (1, 0)                | [N, K, 1, 1]                      |
 * | Conv [O, I, kh, kw]      | (1, 0)                | [O, I, 1, kh*kw]                  |
 * | ConvTranspose [I, O, ..] | (0, 1)                | [1, I, O, kh*kw]                  |
 *
 * Leading axes in front of both (the batch of a 3-D MatMul) become part of `outer`, so every batch has its own channels.
 *
 * @param blockAxis axis of `shape` that is cut into blocks, 0 <= blockAxis < rank.
 * @param channelAxis axis of the output channels, 0 <= channelAxis < rank.
 * @throws RangeError for axes that are equal or outside the shape, a block size below 1, or a dimension below 1.
 */
export function blockLayout(
	shape: readonly number[],
	blockAxis: number,
	channelAxis: number,
	blockSize: number,
): BlockLayout {
	const rank = shape.length;
	if (!isIndex(blockAxis, rank) || !isIndex(channelAxis, rank) || blockAxis === channelAxis) {
		throw new RangeError(`block axis ${blockAxis} and channel axis ${channelAxis} of a weight of rank ${rank}`);
	}
	if (!Number.isInteger(blockSize) || blockSize < 1) throw new RangeError(`block size ${blockSize}`);
	if (!shape.every((size) => Number.isInteger(size) && size > 0)) throw new RangeError(`shape [${shape.join(", ")}]`);

	const lastChannelAxis = Math.max(blockAxis, channelAxis);
	const outer = product(shape.slice(0, blockAxis));
	const depth = shape[blockAxis]!;
	const channels = product(shape.slice(blockAxis + 1, lastChannelAxis + 1));
	const spatial = product(shape.slice(lastChannelAxis + 1));
	return {
		outer,
		depth,
		channels,
		spatial,
		blockSize,
		blocks: Math.ceil(depth / blockSize),
		channelCount: outer * channels,
	};
}

/*
 * A slab is block b of outer row o: one contiguous run of rows * channels * spatial elements, and slab o * blocks + b
 * ends where the next one starts. So a range of slabs is a range of the weight's elements, and all arithmetic here
 * works on such ranges without the rest of the weight.
 */

/** Slabs in the whole weight. */
export function slabCountOf(layout: BlockLayout): number {
	return layout.outer * layout.blocks;
}

/** Rows (positions along `depth`) of a slab: blockSize, or fewer in the last block of a row. */
export function slabRows(layout: BlockLayout, slab: number): number {
	const block = slab % layout.blocks;
	return Math.min(layout.blockSize, layout.depth - block * layout.blockSize);
}

/** Index of the first element of a slab; `slabStart(layout, slabCountOf(layout))` is the element count of the weight. */
export function slabStart(layout: BlockLayout, slab: number): number {
	const block = slab % layout.blocks;
	const row = ((slab - block) / layout.blocks) * layout.depth + block * layout.blockSize;
	return row * layout.channels * layout.spatial;
}

/** Elements in the slabs [firstSlab, firstSlab + slabCount). */
export function slabElements(layout: BlockLayout, firstSlab: number, slabCount: number): number {
	return slabStart(layout, firstSlab + slabCount) - slabStart(layout, firstSlab);
}

/** First channel of the outer row that a slab belongs to. */
export function slabFirstChannel(layout: BlockLayout, slab: number): number {
	return Math.floor(slab / layout.blocks) * layout.channels;
}

/** @throws RangeError when `actual` is not the `expected` number of `what`. */
export function expectLength(what: string, actual: number, expected: number): void {
	if (actual !== expected) throw new RangeError(`${actual} ${what}, expected ${expected}`);
}

function product(sizes: readonly number[]): number {
	return sizes.reduce((total, size) => total * size, 1);
}

function isIndex(axis: number, rank: number): boolean {
	return Number.isInteger(axis) && axis >= 0 && axis < rank;
}
