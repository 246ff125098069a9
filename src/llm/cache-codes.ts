import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp } from "../ir/node.js";
import { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { quantizeActivation } from "../passes/support/encoded-activation.js";
import { moveOutput } from "../passes/support/node-writer.js";
import { type Encoding, encodingOf } from "../passes/support/qdq.js";
import type { Interval } from "../quant/grid.js";
import { type GenaiConfig, layerName } from "./genai-config.js";
import { NAMES } from "./layer-graph.js";

/** How keys and values are kept between calls. */
export const CACHE_TYPES = ["u8", "u16", "float"] as const;

export type CacheType = (typeof CACHE_TYPES)[number];

/** As many codes below 0 as above it; the type of the elements where they are no codes. */
export const CACHE_CODES = {
	u8: { dtype: DataType.UINT8, zeroPoint: 128, largest: 127 },
	u16: { dtype: DataType.INT16, zeroPoint: 0, largest: 32_767 },
	float: { dtype: DataType.FLOAT, zeroPoint: 0, largest: 0 },
} as const;

/** The name of what stands in front of the new keys and values until they have codes. */
const MARK = "in_front_of_cache";

/**
 * Gives the past and the new keys and values of each layer the same codes, symmetric, in the range that `rangeOf` says of the
 * new ones. New ones change from the grid of what computes them to the cache's in front of the Transpose that puts heads
 * first: behind one of a single token, the HTP's conversion is half a step off. What stands in front of that is marked by an
 * Identity, so that it keeps a grid of its own until {@link removeCacheMarks}.
 */
export function quantizeCache(
	model: Model,
	config: GenaiConfig,
	type: Exclude<CacheType, "float">,
	rangeOf: (name: string) => Interval | undefined,
): void {
	const names = new NameScope(model);
	const values = new Map<string, Value>();
	for (const { outputs } of model.graph.nodes) for (const value of outputs) values.set(value.name, value);
	for (const value of model.graph.inputs) values.set(value.name, value);
	for (let layer = 0; layer < config.layers; layer++) {
		for (const [own, past] of [
			[NAMES.newKey(layer), layerName(config.inputs.pastKeys, layer)],
			[NAMES.newValue(layer), layerName(config.inputs.pastValues, layer)],
		] as const) {
			const encoding = cacheEncoding(type, rangeOf(own) ?? { lo: 0, hi: 0 });
			let made = mark(values.get(own)!, names);
			if (type === "u8") made = quantizeActivation(model, made, finerEncoding(encoding), names).outputs[0]!;
			quantizeActivation(model, made, encoding, names);
			quantizeActivation(model, values.get(past)!, encoding, names);
		}
	}
}

function cacheEncoding(type: Exclude<CacheType, "float">, { lo, hi }: Interval): Encoding {
	const { dtype, zeroPoint, largest } = CACHE_CODES[type];
	return encodingOf(dtype, Math.max(-lo, hi, 2 ** -100) / largest, zeroPoint);
}

/**
 * 16-bit codes of the same zero, 256 to each one of 8 bits: the only grid from which the HTP rounds to 8 bits as it should, but
 * for halves. From any other it drops the last bit first, which gives one value in a hundred another code.
 */
function finerEncoding({ scale, zeroPoint }: Encoding): Encoding {
	return encodingOf(DataType.UINT16, scale / 256, zeroPoint * 256);
}

/** `operator -> Transpose -> value` becomes `operator -> Identity -> Transpose -> value`; returns what the Identity gives. */
function mark(value: Value, names: NameScope): Value {
	const { graph, producer } = value;
	const marked = graph.createValue(names.fresh(`${value.name}_made`));
	const identity = { op: "Identity", name: names.fresh(MARK), outputs: [marked] };
	if (producer !== undefined && isOnnxOp(producer, "Transpose")) {
		graph.createNode({ ...identity, inputs: [producer.inputs[0]] }, producer);
		producer.setInput(0, marked);
		return marked;
	}
	const inner = graph.createValue(names.fresh(`${value.name}_inner`), value.type);
	moveOutput(value, inner);
	graph.createNode({ ...identity, inputs: [inner], outputs: [value] }, inner.producer!.next);
	return value;
}

/** Takes the Identities of {@link quantizeCache} out. */
export function removeCacheMarks({ graph }: Model): void {
	for (const node of [...graph.nodes]) {
		if (!isOnnxOp(node, "Identity") || !node.name.startsWith(MARK)) continue;
		node.outputs[0]!.replaceUsesWith(node.inputs[0]!);
		node.remove();
	}
}
