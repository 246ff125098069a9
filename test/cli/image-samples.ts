import { mkdirSync } from "node:fs";
import path from "node:path";
import sharp from "sharp";
import { writeNpz } from "../../src/arrays/npz.js";
import { bytesOf, floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { writeModel } from "../../src/onnx/file.js";
import { modelOf } from "../support/build.js";

/** What makes of images what the arrays beside them are. */
export const IMAGE_FLAGS = ["--image-mean", "0.5", "--image-std", "0.25"];

const [COUNT, SIZE, CHANNELS] = [3, 8, 3] as const;

/** Writes a model of images, a folder of images, and an .npz of what `IMAGE_FLAGS` make of these; returns their paths. */
export async function imageSamples(folder: string) {
	const [model, images, arrays] = ["sees.onnx", "images", "images.npz"].map((name) => path.join(folder, name));
	const graph = modelOf((b) => {
		b.input("x", DataType.FLOAT, [1, CHANNELS, SIZE, SIZE]);
		b.initializer("w", floatTensor([2, CHANNELS, 1, 1], [1, -2, 3, -4, 5, 6]));
		b.node("Conv", ["x", "w"], ["y"]);
		b.output("y");
	});
	await writeModel(graph, model!);
	mkdirSync(images!);
	const area = SIZE * SIZE;
	const pixels = Array.from({ length: COUNT }, (_, image) =>
		Uint8Array.from({ length: CHANNELS * area }, (_, at) => (at * 37 + image * 91) % 256),
	);
	for (const [index, raw] of pixels.entries()) {
		await sharp(raw, { raw: { width: SIZE, height: SIZE, channels: CHANNELS } })
			.png()
			.toFile(path.join(images!, `${index}.png`));
	}
	const values = pixels.flatMap((raw) =>
		Array.from(raw, (_, at) => (raw[(at % area) * CHANNELS + Math.floor(at / area)]! / 255 - 0.5) / 0.25),
	);
	const bytes = bytesOf(Float32Array.from(values));
	writeNpz(arrays!, new Map([["x", { type: "float32", shape: [COUNT, 1, CHANNELS, SIZE, SIZE], bytes }]]));
	return { model: model!, images: images!, arrays: arrays! };
}
