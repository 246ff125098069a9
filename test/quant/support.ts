import fc from "fast-check";
import { type BlockLayout, blockLayout, slabCountOf, slabRows, slabStart } from "../../src/quant/layout.js";
import { randomSource } from "../support/random.js";

/** A weight of a few hundred elements. */
export interface Weight {
	readonly shape: readonly number[];
	readonly layout: BlockLayout;
	readonly values: Float32Array;
}

const size = fc.integer({ min: 1, max: 6 });

/** Weights of the shapes that layout.ts lists, with zeros, outliers and blocks of very different size among the values. */
export const anyWeight: fc.Arbitrary<Weight> = fc
	.record({
		form: fc.constantFrom("KN", "NK", "BKN", "OIHW", "IOHW"),
		depth: fc.integer({ min: 1, max: 40 }),
		channels: size,
		extra: size,
		blockSize: fc.integer({ min: 1, max: 20 }),
		seed: fc.nat(),
	})
	.map(({ form, depth, channels, extra, blockSize, seed }) => {
		const [shape, blockAxis, channelAxis] = axesOf(form, depth, channels, extra);
		const layout = blockLayout(shape, blockAxis, channelAxis, blockSize);
		return { shape, layout, values: randomWeight(layout, seed) };
	});

/** Values whose spread differs from block to block: some on a coarse grid, some 0, a few outliers. */
export function randomWeight(layout: BlockLayout, seed: number): Float32Array {
	const random = randomSource(seed);
	const values = new Float32Array(slabStart(layout, slabCountOf(layout)));
	eachBlockOf(layout, (elements) => {
		const kind = random();
		const size = kind < 0.1 ? 0 : kind < 0.15 ? 1e-9 : 0.02 * 10 ** random();
		for (const element of elements) {
			const spread = random() + random() + random() - 1.5;
			const value = random() < 0.02 ? 6 * spread : spread;
			values[element] = size * (kind > 0.9 ? Math.round(4 * value) / 4 : value);
		}
	});
	return values;
}

/** For every slab and channel: the indices of the block's elements, in the order of rows and then spatial positions. */
export function eachBlockOf(
	layout: BlockLayout,
	visit: (elements: number[], slab: number, channel: number) => void,
): void {
	const { channels, spatial } = layout;
	for (let slab = 0; slab < slabCountOf(layout); slab++) {
		for (let channel = 0; channel < channels; channel++) {
			const elements: number[] = [];
			for (let row = 0; row < slabRows(layout, slab); row++) {
				const start = slabStart(layout, slab) + (row * channels + channel) * spatial;
				for (let position = 0; position < spatial; position++) elements.push(start + position);
			}
			visit(elements, slab, channel);
		}
	}
}

/** [N, K] of [K, N]. */
export function transpose<T extends Float32Array | Float64Array | Int8Array | Uint8Array>(
	matrix: T,
	rows: number,
	columns: number,
): T {
	return matrix.map((_, i) => matrix[(i % rows) * columns + Math.floor(i / rows)]!) as T;
}

function axesOf(form: string, depth: number, channels: number, extra: number): [number[], number, number] {
	switch (form) {
		case "KN":
			return [[depth, channels], 0, 1];
		case "NK":
			return [[channels, depth], 1, 0];
		case "BKN":
			return [[extra, depth, channels], 1, 2];
		case "OIHW":
			return [[channels, depth, extra, 2], 1, 0];
		default:
			return [[depth, channels, 1, extra], 0, 1];
	}
}
