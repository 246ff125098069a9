import type SharpPackage from "sharp";
import { bytesFrom, isFloat } from "../../arrays/element-type.js";
import type { NumpyArray } from "../../arrays/npz.js";
import { QGraphError } from "../../diagnostics.js";
import { reasonOf } from "../../onnx/io-error.js";
import { loadOptional } from "../../runtime/load-optional.js";
import { inputError, type ModelInput } from "../../runtime/model-inputs.js";
import type { SampleSource } from "../calibration.js";

export interface ImageOptions {
	/** Width and height; of the input unless given. */
	readonly size?: readonly [width: number, height: number] | undefined;
	/** Taken from a channel's values, which lie from 0 to 1, and what they are divided by then; 0 and 1 unless given. */
	readonly mean?: readonly number[] | undefined;
	readonly std?: readonly number[] | undefined;
	/** Default `rgb`. */
	readonly order?: "rgb" | "bgr" | undefined;
	/** Cut off what is too much (`cover`, the default), stretch, or pad with black. */
	readonly fit?: "cover" | "stretch" | "pad" | undefined;
}

type Sharp = typeof SharpPackage;

const FITS = { cover: "cover", stretch: "fill", pad: "contain" } as const;

export function isImage(file: string): boolean {
	return /\.(png|jpe?g|webp|gif|tiff?|avif)$/i.test(file);
}

/**
 * Images as samples of the only input of a model, of rank 4 or 3, channels first or last, 3 of them or 1. Integer inputs get
 * the pixels as they are. The package `sharp` decodes them; it is loaded with the first image.
 *
 * @throws QGraphError `runtime/inputs` where the model takes no images; while reading, `runtime/missing` and `calibrate/data`.
 */
export function imageSource(
	files: readonly string[],
	inputs: readonly ModelInput[],
	options: ImageOptions,
): SampleSource {
	const [input, other] = inputs;
	if (input === undefined || other !== undefined) {
		throw inputError(`images are samples of models with one input, this one has ${inputs.length}`);
	}
	const layout = layoutOf(input, options);
	return {
		name: files.join(" "),
		count: files.length,
		isRandom: false,
		async *samples(first) {
			const sharp = await loadSharp();
			for (const file of files.slice(first)) {
				const pixels = await decode(sharp, file, layout, options);
				yield { origin: file, arrays: new Map([[input.name, arrayOf(pixels, layout, input, options)]]) };
			}
		},
	};
}

interface Layout {
	readonly width: number;
	readonly height: number;
	readonly channels: number;
	readonly channelsFirst: boolean;
	/** Of the array, batch included. */
	readonly shape: readonly number[];
}

function layoutOf({ name, shape }: ModelInput, { size }: ImageOptions): Layout {
	const axes = shape?.slice(-3) ?? [];
	const isChannels = (length: unknown) => length === 1 || length === 3;
	const channelsFirst = isChannels(axes[0]);
	const channels = channelsFirst ? axes[0] : axes[2];
	const [height, width] = channelsFirst ? axes.slice(1) : axes;
	const [w, h] = size ?? [width, height];
	if (shape === undefined || shape.length < 3 || shape.length > 4 || !isChannels(channels)) {
		const text = shape?.map((length) => length ?? "?").join(", ") ?? "of unknown rank";
		throw inputError(`input '${name}' is [${text}], which is no image of 1 or 3 channels`, name);
	}
	if (typeof w !== "number" || typeof h !== "number") {
		throw inputError(`the size of the images for input '${name}' is not fixed; say --image-size 224x224`, name);
	}
	const image = channelsFirst ? [channels as number, h, w] : [h, w, channels as number];
	const batch = typeof shape[0] === "number" ? shape[0] : 1;
	if (shape.length === 4 && batch !== 1)
		throw inputError(`input '${name}' takes ${batch} images at a time; fix it to 1`, name);
	return {
		width: w,
		height: h,
		channels: channels as number,
		channelsFirst,
		shape: shape.length === 4 ? [1, ...image] : image,
	};
}

async function loadSharp(): Promise<Sharp> {
	const found = await loadOptional("sharp", process.cwd());
	if (found !== undefined) return (found as { readonly default: Sharp }).default;
	throw new QGraphError(
		"runtime/missing",
		"the package 'sharp', which decodes images, is not installed; run 'npm install sharp', or make .npz files of the images",
	);
}

async function decode(
	sharp: Sharp,
	file: string,
	layout: Layout,
	{ fit = "cover" }: ImageOptions,
): Promise<Uint8Array> {
	const { width, height, channels } = layout;
	try {
		const image = sharp(file).resize(width, height, { fit: FITS[fit], background: "black" }).removeAlpha();
		const pixels = await image
			.toColourspace(channels === 1 ? "b-w" : "srgb")
			.raw()
			.toBuffer();
		if (pixels.length === width * height * channels) return pixels;
		throw new Error(`it has ${pixels.length / width / height} channels, expected ${channels}`);
	} catch (error) {
		throw new QGraphError("calibrate/data", `cannot read '${file}': ${reasonOf(error)}`, { file }, { cause: error });
	}
}

/** Pixels, channels last, as the array that the input takes. */
export function arrayOf(
	pixels: Uint8Array,
	{ width, height, channels, channelsFirst, shape }: Layout,
	{ type }: ModelInput,
	{ mean = [0], std = [1], order = "rgb" }: ImageOptions,
): NumpyArray {
	const values = new Float64Array(pixels.length);
	const area = width * height;
	for (let channel = 0; channel < channels; channel++) {
		const from = order === "bgr" ? channels - 1 - channel : channel;
		const [shift, scale] = [mean[channel] ?? mean[0]!, std[channel] ?? std[0]!];
		for (let at = 0; at < area; at++) {
			const pixel = pixels[at * channels + from]!;
			const to = channelsFirst ? channel * area + at : at * channels + channel;
			values[to] = isFloat(type) ? (pixel / 255 - shift) / scale : pixel;
		}
	}
	return { type, shape, bytes: bytesFrom(type, values) };
}
