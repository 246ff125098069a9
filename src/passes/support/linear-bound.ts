import { floatOf, intOf } from "../../ir/attribute.js";
import { isOnnxOp } from "../../ir/node.js";
import { elementCount } from "../../ir/types.js";
import { hull, type Interval } from "../../quant/grid.js";
import { constantOf } from "../../weights/constant.js";
import { elementsOf } from "../../weights/numbers.js";
import type { WeightSite } from "../../weights/weight-site.js";
import { productBound } from "./product-bound.js";
import { rangeOf } from "./qdq.js";
import { smallConstantOf, valuesOf } from "./small-constant.js";

/** Codes that are read at a time. */
const PIECE_ELEMENTS = 2 ** 20;

/** The interval that no result of the linear operator at `site` leaves, its bias included; undefined where that is not known. */
export function linearBound(site: WeightSite, input: Interval): Interval | undefined {
	if (isOnnxOp(site.node, "MatMul")) return productBound(site, input);
	// what is padded is 0
	const sums = channelSums(site, hull(input, { lo: 0, hi: 0 }));
	const bias = site.node.inputs[2] === undefined ? { values: [0] } : smallConstantOf(site.node.inputs[2]);
	if (sums === undefined || bias === undefined) return undefined;
	const { lo, hi } = sums;
	const addend = (channel: number) => bias.values[bias.values.length === 1 ? 0 : channel]!;
	if (bias.values.length !== 1 && bias.values.length !== lo.length) return undefined;
	const bound = {
		lo: rangeOf(lo.map((value, channel) => value + addend(channel))).lo,
		hi: rangeOf(hi.map((value, channel) => value + addend(channel))).hi,
	};
	return Number.isFinite(bound.hi - bound.lo) ? bound : undefined;
}

/** Of every output channel of a Gemm or convolution, the least and the largest sum. Reads the weight in pieces. */
function channelSums(site: WeightSite, input: Interval): { lo: Float64Array; hi: Float64Array } | undefined {
	const { node, stored, axes, dequantization, input: place } = site;
	const isPlain = floatOf(node, "alpha", 1) === 1 && floatOf(node, "beta", 1) === 1 && intOf(node, "transA", 0) === 0;
	const scale = constantOf(dequantization?.node.inputs[1])?.tensor;
	const scales = scale && valuesOf(scale);
	if (axes === undefined || dequantization === undefined || scales === undefined || place !== 1 || !isPlain)
		return undefined;
	const { hasZeroPoint, blockSize, axis } = dequantization;
	const zeroPoints = constantOf(dequantization.node.inputs[2])?.tensor;
	const zeros = zeroPoints && valuesOf(zeroPoints);
	if (hasZeroPoint && zeros === undefined) return undefined;
	const [first, second] = stored.tensor.shape as [number, number];
	const positions = elementCount(stored.tensor.shape.slice(2));
	const groups = isOnnxOp(node, "ConvTranspose") ? intOf(node, "group", 1) : 1;
	const perGroup = first / groups;
	/** Where the scale of an element is. */
	const placeOf = (a: number, b: number, position: number): number => {
		if (scales.length === 1) return 0;
		if (blockSize === 0) return axis === 0 ? a : b;
		const [row, column] = axis === 0 ? [Math.floor(a / blockSize), b] : [a, Math.floor(b / blockSize)];
		const columns = axis === 0 ? second : Math.ceil(second / blockSize);
		return (row * columns + column) * positions + position;
	};
	const channels = axes.channelAxis === 0 ? first : second * groups;
	const [lo, hi] = [new Float64Array(channels), new Float64Array(channels)];
	const count = elementCount(stored.tensor.shape);
	for (let start = 0; start < count; start += PIECE_ELEMENTS) {
		const codes = elementsOf(stored.tensor, start, Math.min(PIECE_ELEMENTS, count - start));
		if (codes === undefined) return undefined;
		for (let index = 0; index < codes.length; index++) {
			const at = start + index;
			const a = Math.floor(at / (second * positions));
			const b = Math.floor(at / positions) % second;
			const parameter = placeOf(a, b, at % positions);
			const weight = (codes[index]! - (zeros?.[parameter] ?? 0)) * scales[parameter]!;
			const channel = axes.channelAxis === 0 ? a : Math.floor(a / perGroup) * second + b;
			lo[channel]! += Math.min(weight * input.lo, weight * input.hi);
			hi[channel]! += Math.max(weight * input.lo, weight * input.hi);
		}
	}
	return { lo, hi };
}
