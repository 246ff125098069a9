import { readAll } from "../ir/data.js";
import { isOnnxOp } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import { bitsPerElement, DataType, elementCount } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { readModel } from "../onnx/file.js";
import { unpackInt4 } from "../quant/packing.js";
import { floatsOf } from "../runtime/live-session.js";
import { constantOf } from "../weights/constant.js";
import type { CodeHistogram, Histogram } from "./analysis.js";
import { candidateName, type SensitivityUnit } from "./find-sensitivity-units.js";
import type { CandidateNoise } from "./isolated-noise.js";
import { floatArray } from "./isolated-operator.js";

const BINS = 64;

/** Codes of 16 bits are counted together in so many. */
const MOST_CODE_BINS = 256;

/** How the weights of a unit are distributed; null where it has none, or one is infinite or no number. */
export function weightHistogram({ parts }: SensitivityUnit): Histogram | null {
	const all = parts.flatMap(({ constant }) => (constant === undefined ? [] : [floatsOf(floatArray(constant.tensor))]));
	const ranges = all.map(rangeOf);
	const [min, max] = [Math.min(...ranges.map((range) => range.min)), Math.max(...ranges.map((range) => range.max))];
	if (!(max >= min)) return null;
	const counts = new Float64Array(BINS);
	const binsPerUnit = BINS / (max - min || 1);
	for (const values of all) {
		for (let index = 0; index < values.length; index++) {
			const bin = ((values[index]! - min) * binsPerUnit) | 0;
			counts[bin < BINS ? bin : BINS - 1]!++;
		}
	}
	return { min, max, counts: [...counts] };
}

/** NaN where a value is infinite or no number. */
function rangeOf(values: Float32Array): { min: number; max: number } {
	let [min, max, notFinite] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
	for (let index = 0; index < values.length; index++) {
		const value = values[index]!;
		if (value < min) min = value;
		if (value > max) max = value;
		notFinite += value - value;
	}
	return notFinite === 0 ? { min, max } : { min: Number.NaN, max: Number.NaN };
}

/** How the codes of a unit are distributed; null where it has none. */
export async function codeHistogram({ setting, constants }: CandidateNoise): Promise<CodeHistogram | null> {
	let histogram: { first: number; step: number; counts: Float64Array } | undefined;
	for (const { file } of constants) {
		const { graph } = await readModel(file);
		for (const codes of graph.outputs.flatMap(codesOf)) {
			const bits = bitsPerElement(codes.dtype)!;
			const bins = Math.min(2 ** bits, MOST_CODE_BINS);
			histogram ??= { first: -(2 ** (bits - 1)), step: 2 ** bits / bins, counts: new Float64Array(bins) };
			const integers = integersOf(codes);
			const [shift, first, counts] = [Math.log2(histogram.step), histogram.first, histogram.counts];
			for (let index = 0; index < integers.length; index++) counts[(integers[index]! - first) >> shift]!++;
		}
	}
	if (histogram === undefined) return null;
	return { candidate: candidateName(setting), ...histogram, counts: [...histogram.counts] };
}

/** The elements of a tensor of signed integers. */
function integersOf({ dtype, shape, data }: Tensor): Int8Array | Int16Array {
	const bytes = Uint8Array.from(readAll(data));
	if (dtype === DataType.INT4) return unpackInt4(bytes, 0, elementCount(shape));
	return dtype === DataType.INT8 ? new Int8Array(bytes.buffer) : new Int16Array(bytes.buffer);
}

/** The codes that a quantized constant is made of. */
function codesOf({ producer }: Value): Tensor[] {
	if (producer === undefined || !isOnnxOp(producer, "DequantizeLinear")) return [];
	const constant = constantOf(producer.inputs[0]);
	return constant === undefined ? [] : [constant.tensor];
}
