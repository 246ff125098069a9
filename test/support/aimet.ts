import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type BlockLayout, blockLayout } from "../../src/quant/layout.js";
import { readNpy } from "./npy.js";

/** A weight and what AIMET made of it. Scales of several batches are AIMET's, which batches share. */
export interface AimetCase {
	readonly name: string;
	readonly bits: number;
	readonly layout: BlockLayout;
	readonly weight: Float32Array;
	readonly blockScales: Float64Array;
	/** Undefined when AIMET's integers have more than 4 bits. */
	readonly blockScaleInts: Uint8Array | undefined;
	readonly channelScales: Float64Array;
	/** blockScaleInt * channelScale */
	readonly snappedScales: Float64Array;
	/** Undefined where AIMET could not export them. */
	readonly codes: Int8Array | undefined;
	readonly dequantized: Float32Array;
}

const committed = fileURLToPath(new URL("../vectors/aimet/", import.meta.url));

/** The folder of all of AIMET's results, beside the checkout. */
export const sharedAimet = fileURLToPath(new URL("../../../shared/oracles/aimet/", import.meta.url));

/** The cases that are part of the project. */
export function committedCases(): AimetCase[] {
	const names = readdirSync(committed, { withFileTypes: true }).filter((entry) => entry.isDirectory());
	return names.map(({ name }) => {
		const at = (file: string): string => `${committed}${name}/${file}.npy`;
		const { shape, data: weight } = readNpy(at("weight"), Float32Array);
		const { blockAxis, channelAxis, blockSize } = JSON.parse(readFileSync(`${committed}${name}/case.json`, "utf8"));
		const layout = blockLayout(shape, blockAxis, channelAxis, blockSize);
		const ints = Uint8Array.from(readNpy(at("block-scale-ints"), Uint32Array).data);
		const channelScales = readNpy(at("channel-scales"), Float64Array).data;
		return {
			name,
			bits: 4,
			layout,
			weight,
			blockScales: readNpy(at("block-scales"), Float64Array).data,
			blockScaleInts: ints,
			channelScales,
			snappedScales: Float64Array.from(ints, (int, i) => int * channelScales[channelOf(layout, i)]!),
			codes: existsSync(at("codes")) ? Int8Array.from(readNpy(at("codes"), Int32Array).data) : undefined,
			dequantized: readNpy(at("dequantized"), Float32Array).data,
		};
	});
}

/** All cases in the folder beside the checkout that AIMET converted to LPBQ, one for each weight. */
export function sharedCases(): AimetCase[] {
	const index: Record<string, AimetInfo> = JSON.parse(readFileSync(`${sharedAimet}index.json`, "utf8"));
	return Object.entries(index).flatMap(([folder, info]) => {
		const weights = Object.entries(info.modes.lpbq ?? {});
		return weights.flatMap(([name, axes]) =>
			typeof axes === "object" && axes.enc_type === "LPBQ" ? [sharedCase(folder, name, info, axes)] : [],
		);
	});
}

interface AimetAxes {
	readonly enc_type: string;
	readonly block_axis: number;
	readonly channel_axis: number;
	readonly block_size: number;
}

interface AimetInfo {
	readonly bits: number;
	readonly scale_bits: number;
	readonly modes: Readonly<Record<string, Readonly<Record<string, AimetAxes | string>>>>;
}

function sharedCase(folder: string, name: string, info: AimetInfo, axes: AimetAxes): AimetCase {
	const at = (file: string): string => `${sharedAimet}${folder}/${file}.npy`;
	const { shape, data: weight } = readNpy(at(name), Float32Array);
	const codes = at(`lpbq_${name}_q`);
	return {
		name: `${folder} ${name}`,
		bits: info.bits,
		layout: blockLayout(shape, axes.block_axis, axes.channel_axis, axes.block_size),
		weight,
		blockScales: readNpy(at(`bq_${name}_scale_f64`), Float64Array).data,
		blockScaleInts:
			info.scale_bits === 4 ? Uint8Array.from(readNpy(at(`lpbq_${name}_int_scale`), Uint32Array).data) : undefined,
		channelScales: readNpy(at(`lpbq_${name}_channel_scale_f64`), Float64Array).data,
		snappedScales: readNpy(at(`lpbq_${name}_scale_f64`), Float64Array).data,
		codes: existsSync(codes) ? Int8Array.from(readNpy(codes, Int32Array).data) : undefined,
		dequantized: readNpy(at(`lpbq_${name}_qdq`), Float32Array).data,
	};
}

/** The channel that entry i of scales [outer, blocks, channels] belongs to. */
function channelOf({ blocks, channels }: BlockLayout, i: number): number {
	return Math.floor(i / (blocks * channels)) * channels + (i % channels);
}
