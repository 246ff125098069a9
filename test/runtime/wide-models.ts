import type { Model } from "../../src/ir/model.js";
import { serializeModel } from "../../src/onnx/file.js";
import { modelOf } from "../support/build.js";
import { floatFeed, floatsOf, run, sqnrDb } from "../support/ort.js";
import { type RandomModel, TWICE_DB } from "./random-models.js";
import { type Range, type Ranges, rangeOf } from "./random-writer.js";
import { ImageWriter } from "./wide-images.js";
import { TokenWriter } from "./wide-tokens.js";
import type { WideWriter } from "./wide-writer.js";

/*
 * Models of three to thirteen layers, as networks have them: attention, norms, recurrent layers, convolutions of one to
 * three dimensions, pools, branches; all in codes, in several types, with holes or of floats; weights in every form,
 * those of other operators too. Each is a function of its seed.
 */

function writerOf(seed: number, ranges: Ranges | undefined): WideWriter {
	return seed % 2 === 0 ? new TokenWriter(seed, ranges) : new ImageWriter(seed, ranges);
}

export async function wideModel(seed: number): Promise<RandomModel> {
	const write = (ranges: Ranges | undefined): { writer: WideWriter; model: Model } => {
		const writer = writerOf(seed, ranges);
		return { writer, model: modelOf((b) => writer.fill(b)) };
	};
	const { writer, model } = write(undefined);
	const feeds = Object.fromEntries(writer.inputs.map(({ name, shape, values }) => [name, floatFeed(shape, values)]));
	const outputs = await run(serializeModel(model), feeds);
	const ranges: Range[] = writer.quantized.map((name) => rangeOf(floatsOf(outputs[name] ?? feeds[name])));
	const build = () => write(ranges).model;
	const results = Object.values(outputs).map(floatsOf);
	const isSilent = results.some((values) => values.every((value) => value === 0));
	const isBroken = results.some((values) => !values.every(Number.isFinite));
	const made = write(ranges);
	const own = async () => {
		const coded = await run(serializeModel(build()), feeds);
		const lost = made.model.graph.outputs.map(({ name }, index) =>
			sqnrDb(floatsOf(outputs[model.graph.outputs[index]!.name]), floatsOf(coded[name])),
		);
		return Math.min(...lost) - TWICE_DB;
	};
	const { isEightBits } = made.writer;
	return {
		description: writer.description,
		leastDb: isSilent || isBroken ? Number.NEGATIVE_INFINITY : isEightBits ? Math.min(30, await own()) : 35,
		isEightBits,
		inputs: writer.inputs,
		build,
	};
}
