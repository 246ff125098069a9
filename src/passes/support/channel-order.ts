/*
 * GPTQ works on channels one by one, [channelCount, depth]; weights have them in another order (quant/layout.ts).
 */

import { computedData, type TensorData } from "../../ir/data.js";
import { bytesOf } from "../../ir/tensor.js";
import { type BlockLayout, slabFirstChannel, slabRows, slabStart } from "../../quant/layout.js";
import { packInt4 } from "../../quant/packing.js";
import { type BlockWeight, partOf, type SlabRange, slabRanges, THREAD_READER } from "./block-weight.js";
import type { Spool } from "./spool.js";

const TILE_ROWS = 16;

/** Reads the channels from `start` to `end` into `weights`, [end - start, depth]. */
export function gatherChannels(source: BlockWeight, start: number, end: number, weights: Float32Array): void {
	const { layout } = source;
	const { depth, channels } = layout;
	for (const range of slabRanges(layout)) {
		const beyond = slabFirstChannel(layout, range.first + range.count - 1) + channels;
		if (beyond <= start || slabFirstChannel(layout, range.first) >= end) continue;
		const values = THREAD_READER.values(partOf(source, range));
		for (const { at, channel, position, rows } of tilesOf(layout, range)) {
			const last = Math.min(end, channel + channels);
			for (let own = Math.max(start, channel); own < last; own++) {
				const to = (own - start) * depth + position;
				for (let row = 0, from = at + own - channel; row < rows; row++, from += channels) {
					weights[to + row] = values[from]!;
				}
			}
		}
	}
}

/**
 * Puts codes or floats of a weight, [channelCount, depth], into its own order and into the spool, codes of 4 bits packed.
 *
 * @param bits of an element.
 */
export function spooledChannels<T extends Int8Array | Float32Array>(
	layout: BlockLayout,
	channels: T,
	bits: 4 | 8 | 32,
	spool: Spool,
): TensorData {
	const elements = layout.outer * layout.depth * layout.channels;
	const byteLength = Math.ceil((elements * bits) / 8);
	const home = spool.reserve(byteLength);
	for (const range of slabRanges(layout)) {
		const start = slabStart(layout, range.first);
		const length = slabStart(layout, range.first + range.count) - start;
		const ordered = channels instanceof Int8Array ? new Int8Array(length) : new Float32Array(length);
		for (const { at, channel, position, rows } of tilesOf(layout, range)) {
			for (let index = 0; index < layout.channels; index++) {
				const from = (channel + index) * layout.depth + position;
				for (let row = 0, to = at + index; row < rows; row++, to += layout.channels)
					ordered[to] = channels[from + row]!;
			}
		}
		const bytes = bits === 4 ? packInt4(ordered as Int8Array) : bytesOf(ordered);
		spool.write(home + (start * bits) / 8, bytes);
	}
	return computedData(byteLength, (start, end) => spool.read(home + start, home + end));
}

/** 0, step, 2 step and so on below `count`. */
export function firstsOf(count: number, step: number): number[] {
	return Array.from({ length: Math.ceil(count / step) }, (_, index) => index * step);
}

/** Some rows of a slab: elements one each of all channels from `channel` on, row by row, at positions along the depth. */
interface Tile {
	/** The first element, counted from the beginning of the range. */
	readonly at: number;
	readonly channel: number;
	readonly position: number;
	readonly rows: number;
}

/** The slabs of a range in tiles of so few rows that a cache holds a line of each. */
function* tilesOf(layout: BlockLayout, { first, count }: SlabRange): Generator<Tile> {
	const { channels, blocks, blockSize } = layout;
	let at = 0;
	for (let slab = first; slab < first + count; slab++) {
		const all = slabRows(layout, slab);
		for (let row = 0; row < all; row += TILE_ROWS) {
			const rows = Math.min(TILE_ROWS, all - row);
			yield { at, channel: slabFirstChannel(layout, slab), position: (slab % blocks) * blockSize + row, rows };
			at += rows * channels;
		}
	}
}

type ArrayType<T> = { new (buffer: SharedArrayBuffer): T; readonly BYTES_PER_ELEMENT: number };

/** An array in memory that threads share. */
export function shared<T>(type: ArrayType<T>, length: number): T {
	return new type(new SharedArrayBuffer(length * type.BYTES_PER_ELEMENT));
}
