import { isOnnxOp } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import { bitsPerElement } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { readModel } from "../onnx/file.js";
import { constantOf } from "../weights/constant.js";
import { eachNumber } from "../weights/numbers.js";
import type { CodeHistogram, Histogram } from "./analysis.js";
import { candidateName, type SensitivityUnit } from "./find-sensitivity-units.js";
import type { CandidateNoise } from "./isolated-noise.js";

const BINS = 64;

/** Codes of 16 bits are counted together in so many. */
const MOST_CODE_BINS = 256;

/** How the weights of a unit are distributed; null where it has none, or one is infinite or no number. */
export function weightHistogram({ parts }: SensitivityUnit): Histogram | null {
	const tensors = parts.flatMap(({ constant }) => constant?.tensor ?? []);
	let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
	let isAllFinite = true;
	eachOf(tensors, (value) => {
		if (value < min) min = value;
		if (value > max) max = value;
		if (!Number.isFinite(value)) isAllFinite = false;
	});
	if (!isAllFinite || min > max) return null;
	const counts = new Array<number>(BINS).fill(0);
	const width = (max - min) / BINS || 1;
	eachOf(tensors, (value) => {
		counts[Math.min(BINS - 1, Math.floor((value - min) / width))]!++;
	});
	return { min, max, counts };
}

/** How the codes of a unit are distributed; null where it has none. */
export async function codeHistogram({ setting, constants }: CandidateNoise): Promise<CodeHistogram | null> {
	let histogram: { first: number; step: number; counts: number[] } | undefined;
	for (const { file } of constants) {
		const { graph } = await readModel(file);
		for (const codes of graph.outputs.flatMap(codesOf)) {
			const bits = bitsPerElement(codes.dtype)!;
			const step = 2 ** bits / Math.min(2 ** bits, MOST_CODE_BINS);
			histogram ??= { first: -(2 ** (bits - 1)), step, counts: new Array<number>(2 ** bits / step).fill(0) };
			const { first, counts } = histogram;
			eachOf([codes], (code) => {
				counts[Math.floor((code - first) / step)]!++;
			});
		}
	}
	return histogram === undefined ? null : { candidate: candidateName(setting), ...histogram };
}

/** The codes that a quantized constant is made of. */
function codesOf({ producer }: Value): Tensor[] {
	if (producer === undefined || !isOnnxOp(producer, "DequantizeLinear")) return [];
	const constant = constantOf(producer.inputs[0]);
	return constant === undefined ? [] : [constant.tensor];
}

function eachOf(tensors: readonly Tensor[], visit: (value: number) => void): void {
	for (const tensor of tensors) {
		eachNumber(tensor, (value) => {
			visit(value);
			return undefined;
		});
	}
}
