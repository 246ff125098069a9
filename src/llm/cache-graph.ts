import { intAttribute } from "../ir/attribute.js";
import { Graph } from "../ir/graph.js";
import { Model } from "../ir/model.js";
import { DataType, tensorType } from "../ir/types.js";
import { type GenaiConfig, layerName } from "./genai-config.js";
import { NAMES } from "./layer-graph.js";

/** The graph that puts new keys and values at their positions of the cache, [1, key heads, context, size] for each layer. */
export function cacheGraph(config: GenaiConfig, context: number, dtype: DataType): Model {
	const { layers, keyHeads, headSize, inputs, outputs } = config;
	const model = new Model(new Graph("kv_update"));
	model.opsetImports.set("", 21);
	const { graph } = model;
	const input = (name: string, type: DataType, length: number | string) => {
		const value = graph.createValue(name, tensorType(type, [1, keyHeads, length, headSize]));
		graph.addInput(value);
		return value;
	};
	const index = input(NAMES.cacheIndex, DataType.INT32, "sequence");
	for (let layer = 0; layer < layers; layer++) {
		for (const [past, made, present] of [
			[inputs.pastKeys, NAMES.newKey(layer), outputs.presentKeys],
			[inputs.pastValues, NAMES.newValue(layer), outputs.presentValues],
		] as const) {
			const output = graph.createValue(layerName(present, layer), tensorType(dtype, [1, keyHeads, context, headSize]));
			graph.createNode({
				op: "ScatterElements",
				name: `update_${layerName(present, layer)}`,
				inputs: [input(layerName(past, layer), dtype, context), index, input(made, dtype, "sequence")],
				outputs: [output],
				attributes: { axis: intAttribute(2) },
			});
			graph.addOutput(output);
		}
	}
	return model;
}
