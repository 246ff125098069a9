import { SEARCH_COLUMNS } from "./column-kernel.js";
import type { ColumnSearch, SearchCapacity } from "./column-search.js";
import { type BlockLayout, slabFirstChannel, slabRows } from "./layout.js";

/** Up to sixteen blocks that are the columns of a search. */
export interface Strip {
	/** Its number among the strips of the search. */
	readonly index: number;
	readonly count: number;
	/** Of each block. */
	readonly channels: Int32Array;
	/** Its number among those of the walk, [slabCount, channels]. */
	readonly blocks: Int32Array;
	/** Its first element. */
	readonly starts: Int32Array;
}

export interface StripWalk {
	readonly layout: BlockLayout;
	readonly firstSlab: number;
	readonly slabCount: number;
	/** Of the slabs. */
	readonly values: Float32Array;
	/** By position along the depth, [depth]. */
	readonly importance: Float64Array | undefined;
	/** Of the blocks of a channel, every how many-th is wanted. */
	readonly step: number;
	/** Of each strip. */
	readonly records: number;
}

export interface StripVisitor {
	/** Columns are of other channels now, and the sums are 0. */
	begin(strip: Strip): void;
	/** Blocks will be searched. */
	prepare?(strip: Strip): void;
	/** Blocks were searched. */
	take?(strip: Strip): void;
	/** There are no more blocks of these channels. */
	end?(strip: Strip): void;
}

/** Room that {@link eachStrip} needs in a search. */
export function stripCapacity(layout: BlockLayout): Omit<SearchCapacity, "records"> {
	const { blockSize, depth, channels, spatial } = layout;
	const rows = Math.min(blockSize, depth) * spatial;
	return liesInColumns(layout)
		? { strips: Math.ceil(channels / SEARCH_COLUMNS), rows, source: rows * channels }
		: { strips: 1, rows, source: rows * SEARCH_COLUMNS };
}

/** Are blocks columns already, so many that they need not be gathered? */
function liesInColumns({ channels, spatial }: BlockLayout): boolean {
	return spatial === 1 && channels >= SEARCH_COLUMNS;
}

/** Searches all blocks, up to sixteen at a time, in the order of slabs and channels. */
export function eachStrip(walk: StripWalk, search: ColumnSearch, visitor: StripVisitor): void {
	if (liesInColumns(walk.layout)) eachRowOfStrips(walk, search, visitor);
	else eachGatheredStrip(walk, search, visitor);
}

/** Every strip stays with its channels through the slabs of an outer row. */
function eachRowOfStrips(walk: StripWalk, search: ColumnSearch, visitor: StripVisitor): void {
	const { layout, firstSlab, values, importance, records } = walk;
	const { channels, blocks, blockSize } = layout;
	const strips = Array.from({ length: Math.ceil(channels / SEARCH_COLUMNS) }, (_, index) =>
		createStrip(index, Math.min(SEARCH_COLUMNS, channels - index * SEARCH_COLUMNS)),
	);
	let outer = -1;
	const endAll = (): void => {
		if (outer !== -1) for (const strip of strips) visitor.end?.(strip);
	};
	eachWantedSlab(walk, (index, start, rows) => {
		const slab = firstSlab + index;
		const block = slab % blocks;
		if (outer !== (slab - block) / blocks) {
			endAll();
			outer = (slab - block) / blocks;
			for (const strip of strips) {
				const first = slabFirstChannel(layout, slab) + strip.index * SEARCH_COLUMNS;
				for (let column = 0; column < strip.count; column++) strip.channels[column] = first + column;
				search.forget(strip.index, records);
				visitor.begin(strip);
			}
		}
		search.source.set(values.subarray(start, start + rows * channels));
		for (let row = 0; importance && row < rows; row++) {
			const factor = importance[block * blockSize + row]!;
			search.weights?.fill(factor, row * SEARCH_COLUMNS, (row + 1) * SEARCH_COLUMNS);
		}
		for (const strip of strips) {
			const first = strip.index * SEARCH_COLUMNS;
			for (let column = 0; column < strip.count; column++) {
				strip.blocks[column] = index * channels + first + column;
				strip.starts[column] = start + first + column;
			}
			visitor.prepare?.(strip);
			search.run(strip.index, first, channels, rows, records);
			visitor.take?.(strip);
		}
	});
	endAll();
}

function eachGatheredStrip(walk: StripWalk, search: ColumnSearch, visitor: StripVisitor): void {
	const { layout, firstSlab, values, importance, records } = walk;
	const { channels, spatial, blocks, blockSize } = layout;
	const { rows: capacity } = stripCapacity(layout);
	const held = createStrip(0, 0);
	let count = 0;
	const flush = (): void => {
		if (count === 0) return;
		const strip = { ...held, count };
		search.forget(0, records);
		visitor.begin(strip);
		visitor.prepare?.(strip);
		search.run(0, 0, SEARCH_COLUMNS, capacity, records);
		visitor.take?.(strip);
		visitor.end?.(strip);
		count = 0;
	};
	eachWantedSlab(walk, (index, start, rows) => {
		const slab = firstSlab + index;
		for (let channel = 0; channel < channels; channel++) {
			const first = start + channel * spatial;
			gather(search.source, count, values, first, rows, channels * spatial, spatial, capacity);
			for (let at = 0; importance && at < rows * spatial; at++) {
				const factor = importance[(slab % blocks) * blockSize + Math.floor(at / spatial)]!;
				search.weights![at * SEARCH_COLUMNS + count] = factor;
			}
			held.channels[count] = slabFirstChannel(layout, slab) + channel;
			held.blocks[count] = index * channels + channel;
			held.starts[count] = first;
			if (++count === SEARCH_COLUMNS) flush();
		}
	});
	flush();
}

/** Makes a block of runs of `spatial` values, `stride` apart, a column; what is left of that becomes 0. */
function gather(
	source: Float32Array,
	column: number,
	values: Float32Array,
	first: number,
	rows: number,
	stride: number,
	spatial: number,
	capacity: number,
): void {
	let to = column;
	for (let row = 0, from = first; row < rows; row++, from += stride) {
		for (let at = from; at < from + spatial; at++, to += SEARCH_COLUMNS) source[to] = values[at]!;
	}
	for (const end = capacity * SEARCH_COLUMNS; to < end; to += SEARCH_COLUMNS) source[to] = 0;
}

/** Calls back for every slab that is wanted: its number, its first element, its rows. */
function eachWantedSlab(
	{ layout, firstSlab, slabCount, step }: StripWalk,
	visit: (index: number, start: number, rows: number) => void,
): void {
	let start = 0;
	for (let index = 0; index < slabCount; index++) {
		const slab = firstSlab + index;
		const rows = slabRows(layout, slab);
		if ((slab % layout.blocks) % step === 0) visit(index, start, rows);
		start += rows * layout.channels * layout.spatial;
	}
}

function createStrip(index: number, count: number): Strip {
	const places = (): Int32Array => new Int32Array(SEARCH_COLUMNS);
	return { index, count, channels: places(), blocks: places(), starts: places() };
}
