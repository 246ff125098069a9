/*
 * The int4 codes of float weights in blocks, and what is lost by them. code-kernel.ts does the work where columns come by
 * eights, JavaScript else, with the same codes.
 */
import { type BalanceSums, flipCodes } from "./balance.js";
import { COLUMNS_AT_ONCE, type CodeSum, codeColumns } from "./code-kernel.js";
import { dequantizeBlocks, quantizeBlocks } from "./codes.js";
import { type BlockLayout, expectLength, slabElements, slabFirstChannel, slabRows, slabStart } from "./layout.js";
import { type ErrorSum, errorSum } from "./measure.js";
import { packInt4 } from "./packing.js";

/** Elements that the kernel gets at a time, which a core's cache holds. */
const KERNEL_ELEMENTS = 2 ** 17;

/** Some slabs of a float weight, and scales for each of their blocks. */
export interface ScaledBlocks {
	readonly layout: BlockLayout;
	readonly firstSlab: number;
	readonly slabCount: number;
	/** Of the slabs; finite. */
	readonly values: Float32Array;
	/** With which codes are chosen, float32, above 0, [slabCount, channels]. */
	readonly scales: Float32Array;
	/** Smallest code, -8 or -7. */
	readonly codeMin: number;
}

/**
 * The code of every weight, as quantizeCode (lpbq.ts) has it.
 *
 * @param stored scales that the codes stand for multiples of, [slabCount, channels].
 * @param flips how many codes of a block to round the other way ({@link flipCodes}), [slabCount, channels].
 * @returns the codes, packed, and how far what they stand for is from the weights.
 * @throws RangeError when an array does not hold exactly these slabs.
 */
export function encodeBlocks(
	blocks: ScaledBlocks,
	stored: Float32Array,
	flips?: Int8Array,
): { packed: Uint8Array; error: ErrorSum } {
	expectLengths(blocks);
	expectLength("stored scales", stored.length, blocks.scales.length);
	if (flips === undefined) return encode(blocks, stored);
	if (isColumnPerBlock(blocks.layout)) return encode(blocks, stored, Float32Array.from(flips));
	const { packed, error } = encode(blocks, stored);
	const growth = flipCodes(blocks, packed, stored, flips);
	return { packed, error: { signal: error.signal, error: error.error + growth } };
}

function encode(
	blocks: ScaledBlocks,
	stored: Float32Array,
	flips?: Float32Array,
): { packed: Uint8Array; error: ErrorSum } {
	const { layout, firstSlab, slabCount, values, scales, codeMin } = blocks;
	const { spatial } = layout;
	if (kernelColumns(layout) === 0) {
		const chosen = repeatEach(scales, spatial);
		const codes = quantizeBlocks(values, layout, firstSlab, slabCount, chosen, undefined, codeMin);
		const decoded = dequantizeBlocks(codes, repeatEach(stored, spatial), layout, firstSlab, slabCount);
		return { packed: packInt4(codes), error: errorSum(values, decoded) };
	}
	const packed = new Uint8Array(Math.ceil(values.length / 2));
	let [signal, error] = [0, 0];
	eachRun(blocks, { stored, flips }, ["squares", "restSquares"], (run) => {
		packed.set(run.packed, run.start / 2);
		const { sums, slabs, columns } = run;
		for (let slab = 0, at = 0; slab < slabs; slab++, at += 2 * columns) {
			for (let column = at; column < at + columns; column++) {
				signal += sums[column]!;
				error += sums[column + columns]!;
			}
		}
	});
	return { packed, error: { signal, error } };
}

/**
 * Adds the weights, and what their codes stand for, to the sums of their channels.
 *
 * @throws RangeError when an array does not hold exactly these slabs.
 */
export function addToBalance(sums: BalanceSums, blocks: ScaledBlocks): void {
	expectLengths(blocks);
	const { layout, firstSlab } = blocks;
	const { channels, spatial } = layout;
	if (kernelColumns(layout) === 0) {
		addPlainly(sums, blocks);
		return;
	}
	eachRun(
		blocks,
		{ stored: blocks.scales },
		["values", "squares", "rests", "products"],
		({ first, slabs, columns, ...run }) => {
			for (let slab = 0; slab < slabs; slab++) {
				const base = slabFirstChannel(layout, firstSlab + first + slab) - sums.firstChannel;
				const at = slab * 4 * columns;
				for (let column = 0; column < columns; column++) {
					const channel = base + (channels === 1 ? 0 : Math.floor(column / spatial));
					const [value, square] = [run.sums[at + column]!, run.sums[at + columns + column]!];
					sums.values[channel]! += value;
					sums.squares[channel]! += square;
					sums.decoded[channel]! += value - run.sums[at + 2 * columns + column]!;
					sums.products[channel]! += square - run.sums[at + 3 * columns + column]!;
				}
			}
		},
	);
}

function addPlainly(sums: BalanceSums, { layout, firstSlab, slabCount, values, ...rest }: ScaledBlocks): void {
	const { channels, spatial } = layout;
	const scales = repeatEach(rest.scales, spatial);
	const codes = quantizeBlocks(values, layout, firstSlab, slabCount, scales, undefined, rest.codeMin);
	const decoded = dequantizeBlocks(codes, scales, layout, firstSlab, slabCount);
	let at = 0;
	for (let slab = firstSlab; slab < firstSlab + slabCount; slab++) {
		const base = slabFirstChannel(layout, slab) - sums.firstChannel;
		for (let run = 0; run < slabRows(layout, slab) * channels; run++) {
			const channel = base + (run % channels);
			for (const end = at + spatial; at < end; at++) {
				const value = values[at]!;
				sums.values[channel]! += value;
				sums.squares[channel]! += value * value;
				sums.decoded[channel]! += decoded[at]!;
				sums.products[channel]! += value * decoded[at]!;
			}
		}
	}
}

function expectLengths({ layout, firstSlab, slabCount, values, scales }: ScaledBlocks): void {
	expectLength("values", values.length, slabElements(layout, firstSlab, slabCount));
	expectLength("scales", scales.length, slabCount * layout.channels);
}

/** Columns that the kernel is to see slabs in; 0 where it cannot. A block that lies in one piece may be any. */
function kernelColumns({ depth, blockSize, blocks, channels, spatial }: BlockLayout): number {
	if (channels > 1) return (channels * spatial) % COLUMNS_AT_ONCE === 0 ? channels * spatial : 0;
	const lastRows = depth - (blocks - 1) * blockSize;
	const fits = [blockSize, lastRows].every((rows) => (rows * spatial) % COLUMNS_AT_ONCE === 0);
	return fits ? COLUMNS_AT_ONCE : 0;
}

/** Does the kernel see a block in one column? */
function isColumnPerBlock(layout: BlockLayout): boolean {
	return layout.channels > 1 && layout.spatial === 1 && kernelColumns(layout) > 0;
}

/** What the kernel says of some slabs of equal length. */
interface CodedRun {
	/** Of the slabs, counted from the first of all. */
	readonly first: number;
	readonly slabs: number;
	/** Its first element. */
	readonly start: number;
	readonly columns: number;
	readonly packed: Uint8Array;
	/** [slabs, sums, columns]. */
	readonly sums: Float32Array;
}

function eachRun(
	{ layout, firstSlab, slabCount, values, scales, codeMin }: ScaledBlocks,
	{ stored, flips }: { readonly stored: Float32Array; readonly flips?: Float32Array | undefined },
	sums: readonly CodeSum[],
	visit: (run: CodedRun) => void,
): void {
	const columns = kernelColumns(layout);
	const { channels } = layout;
	const origin = slabStart(layout, firstSlab);
	const most = Math.max(1, Math.floor(KERNEL_ELEMENTS / slabElements(layout, firstSlab, 1)));
	for (let first = 0; first < slabCount; ) {
		const rows = slabRows(layout, firstSlab + first);
		let end = first + 1;
		while (end < slabCount && end - first < most && slabRows(layout, firstSlab + end) === rows) end++;
		const start = slabStart(layout, firstSlab + first) - origin;
		const scalesOf = (all: Float32Array) =>
			repeatEach(all.subarray(first * channels, end * channels), columns / channels);
		const task = {
			values: values.subarray(start, slabStart(layout, firstSlab + end) - origin),
			columns,
			scales: scalesOf(scales),
			stored: scalesOf(stored),
			flips: flips && scalesOf(flips),
			codeMin,
		};
		visit({ first, slabs: end - first, start, columns, ...codeColumns(task, sums) });
		first = end;
	}
}

function repeatEach(values: Float32Array, times: number): Float32Array {
	if (times === 1) return values;
	const repeated = new Float32Array(values.length * times);
	for (let index = 0; index < values.length; index++) repeated.fill(values[index]!, index * times, (index + 1) * times);
	return repeated;
}
