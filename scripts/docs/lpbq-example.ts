import { symmetricScale } from "../../src/quant/calibrate.js";
import { dequantizeBlocks, quantizeCodes } from "../../src/quant/codes.js";
import { blockLayout } from "../../src/quant/layout.js";
import { decomposeScales, effectiveScales } from "../../src/quant/lpbq.js";
import { markdownTable } from "./markdown.js";

/** Two output channels of eight inputs, as Gemm with transB = 1 stores them. */
const WEIGHTS: readonly (readonly number[])[] = [
	[0.7, -0.31, 0.08, 0.52, 0.2, -0.36, 0.05, 0.34],
	[-0.64, 0.2, 0.43, -0.11, 0.13, -0.02, 0.06, -0.1],
];
const BLOCK_SIZE = 4;
const LAYOUT = blockLayout([2, 8], 1, 0, BLOCK_SIZE);

/** The worked example of docs/lpbq.md; every number comes out of src/quant. */
export function lpbqExample(): string {
	const values = Float32Array.from(WEIGHTS.flat());
	const slabs = LAYOUT.outer * LAYOUT.blocks;
	const blocks = Array.from({ length: slabs }, (_, slab) => [
		...values.slice(slab * BLOCK_SIZE, (slab + 1) * BLOCK_SIZE),
	]);
	const blockScales = Float64Array.from(blocks, (block) => symmetricScale(Math.min(...block), Math.max(...block)));
	const { channelScales, blockScaleInts } = decomposeScales(blockScales, LAYOUT);
	const stored = Float32Array.from(channelScales);
	const effective = effectiveScales(blockScaleInts, stored, LAYOUT, 0, slabs);
	const codes = quantizeCodes(values, LAYOUT, 0, slabs, stored, blockScaleInts);
	const dequantized = dequantizeBlocks(codes, effective, LAYOUT, 0, slabs);

	const perBlock = blocks.map((block, slab) => [
		`${channelOf(slab)}`,
		`${slab % LAYOUT.blocks}`,
		text(Math.max(...block)),
		text(Math.min(...block)),
		text(blockScales[slab]!),
		text(channelScales[channelOf(slab)]!),
		text(blockScales[slab]! / channelScales[channelOf(slab)]!),
		`**${blockScaleInts[slab]}**`,
		text(effective[slab]!),
	]);
	const perChannel = WEIGHTS.flatMap((_, channel) => {
		const row = (name: string, array: ArrayLike<number>) => [
			`${channel}`,
			name,
			...Array.from(array)
				.slice(channel * LAYOUT.depth, (channel + 1) * LAYOUT.depth)
				.map(text),
		];
		return [row("weight", values), row("code", codes), row("code x scale", dequantized)];
	});
	const inputs = Array.from({ length: LAYOUT.depth }, (_, input) => `input ${input}`);
	return [
		markdownTable(
			[
				"channel",
				"block",
				"max",
				"min",
				"block scale",
				"channel scale",
				"quotient",
				"integer",
				"integer x channel scale",
			],
			perBlock,
		),
		markdownTable(["channel", "number", ...inputs], perChannel),
	].join("\n\n");
}

function channelOf(slab: number): number {
	return Math.floor(slab / LAYOUT.blocks);
}

/** Five significant digits, no zeros at the end. */
function text(value: number): string {
	return `${Number(value.toPrecision(5))}`;
}
