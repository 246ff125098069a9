import { DataType } from "../../ir/types.js";
import { frontAxis, isStatic } from "../dimension.js";
import { type Fact, type Shape, tensorFact } from "../fact.js";
import type { OperatorCall, Rule, RuleTable } from "../operator-call.js";
import { shapeFromElements } from "./shape.js";

/** Y, then what training needs: statistics a channel, of the type of the mean (input 3). */
const batchNormalization: Rule = (call) => {
	const statistics = tensorFact(call.elementType(3), call.shape(3) ?? call.shape(1));
	return [{ type: call.type(0) }, statistics, statistics, statistics, statistics];
};

/**
 * Y, mean and inverse deviation: these have 1 for each dimension from `axis` on. Before opset 17 the operator was ONNX
 * Runtime's own, with the scale's type for the output.
 */
const layerNormalization: Rule = (call) => {
	const statistics = tensorFact(call.int("stash_type") ?? DataType.FLOAT, statisticsShape(call, call.shape(0)));
	const elementType = call.version < 17 ? call.elementType(1) : call.elementType(0);
	return [tensorFact(elementType, call.shape(0)), statistics, statistics];
};

export function statisticsShape(call: OperatorCall, input: Shape | undefined): Shape | undefined {
	const axis = input && frontAxis(call.int("axis") ?? -1, input.length);
	return axis === undefined ? undefined : input!.map((dimension, at) => (at < axis ? dimension : 1));
}

/** The output has the type of the scale. */
const rmsNormalization: Rule = (call) => [tensorFact(call.elementType(1), call.shape(0))];

/** A loss of scores [N, C, ...] against labels [N, ...]: a number, or one a label where nothing is summed up. */
const loss: Rule = (call) => {
	const isSummed = (call.string("reduction") ?? "mean") !== "none";
	return [
		tensorFact(call.elementType(0), isSummed ? [] : call.shape(1)),
		tensorFact(call.elementType(0), call.shape(0)),
	];
};

const gridSample: Rule = (call) => {
	const [input, grid] = [call.shape(0), call.shape(1)];
	const shape = grid && [input?.[0] ?? grid[0], input?.[1], ...grid.slice(1, -1)];
	return [tensorFact(call.elementType(0), shape)];
};

const affineGrid: Rule = (call) => {
	const size = shapeFromElements(call, 1);
	const spatial = size?.slice(2);
	return [tensorFact(call.elementType(0), size && [size[0], ...(spatial ?? []), spatial?.length])];
};

/** Resize and Upsample: the sizes asked for, else the lengths times the scales, rounded down. */
const resize: Rule = (call) => [tensorFact(call.elementType(0), resized(call))];

function resized(call: OperatorCall): Shape | undefined {
	const input = call.shape(0);
	if (input === undefined) return undefined;
	const axes = (call.ints("axes") ?? input.map((_, axis) => axis)).map((axis) => frontAxis(axis, input.length));
	const isUpsample = call.node.op.type === "Upsample";
	const scales = resizeScales(call);
	const sizes = isUpsample || !call.has(3) ? undefined : call.elements(3);
	const isNotLarger = call.string("keep_aspect_ratio_policy") === "not_larger";
	const isNotSmaller = call.string("keep_aspect_ratio_policy") === "not_smaller";
	if (sizes !== undefined && (isNotLarger || isNotSmaller)) {
		const ratios = axes.map((axis, index) => (sizes[index] as number) / (input[axis ?? 0] as number));
		if (!isStatic(sizes) || !isStatic(input)) return input.map(() => undefined);
		const scale = isNotLarger ? Math.min(...ratios) : Math.max(...ratios);
		return input.map((length, axis) => (axes.includes(axis) ? Math.floor(length * scale + 0.5) : length));
	}
	return input.map((length, axis) => {
		const index = axes.indexOf(axis);
		if (index < 0) return length;
		if (sizes !== undefined) return sizes[index];
		const scale = scales?.[index];
		if (scale === 1) return length;
		return typeof length === "number" && typeof scale === "number"
			? Math.floor(Math.fround(length * scale))
			: undefined;
	});
}

/** Scales are input 2 of Resize, input 1 of its first version and of Upsample, or an attribute of the oldest Upsample. */
function resizeScales(call: OperatorCall): Shape | undefined {
	if (call.node.op.type === "Upsample" || call.version < 11) {
		const height = call.float("height_scale");
		const width = call.float("width_scale");
		if (height !== undefined && width !== undefined) return [1, 1, height, width];
		return call.has(1) ? call.elements(1) : call.floats("scales");
	}
	return call.has(2) ? call.elements(2) : undefined;
}

/** [batch, signal ..., real and imaginary part]. */
const discreteFourier: Rule = (call) => {
	const input = call.shape(0);
	const wanted = call.version >= 20 ? (call.has(2) ? call.elements(2)?.[0] : -2) : (call.int("axis") ?? 1);
	const axis = typeof wanted === "number" && input ? frontAxis(wanted, input.length) : undefined;
	if (input === undefined) return [tensorFact(call.elementType(0), undefined)];
	if (axis === undefined)
		return [tensorFact(call.elementType(0), [...input.slice(0, -1).map(() => undefined), undefined])];
	const length = call.has(1) ? call.elements(1)?.[0] : input[axis];
	const isOneSided = call.int("onesided") === 1;
	const isInverse = call.int("inverse") === 1;
	const half = typeof length === "number" ? Math.floor(length / 2) + 1 : undefined;
	const parts = isOneSided && isInverse ? 1 : 2;
	const result: Fact = tensorFact(
		call.elementType(0),
		[...input.slice(0, -1), parts].with(axis, isOneSided && !isInverse ? half : length),
	);
	return [result];
};

/** [batch, frames, bins, 2]. */
const shortTimeFourier: Rule = (call) => {
	const signal = call.shape(0);
	const step = call.elements(1)?.[0];
	const frame = call.has(3) ? call.elements(3)?.[0] : call.shape(2)?.[0];
	const isOneSided = call.int("onesided") !== 0;
	const length = signal?.[1];
	const isKnown = isStatic([length, step, frame]);
	const frames = isKnown ? Math.floor(((length as number) - (frame as number)) / (step as number)) + 1 : undefined;
	const bins = typeof frame !== "number" ? undefined : isOneSided ? Math.floor(frame / 2) + 1 : frame;
	return [tensorFact(call.elementType(0), [signal?.[0], frames, bins, 2])];
};

export const NORMALIZATION_RULES: RuleTable = {
	BatchNormalization: batchNormalization,
	LayerNormalization: layerNormalization,
	RMSNormalization: rmsNormalization,
	NegativeLogLikelihoodLoss: loss,
	SoftmaxCrossEntropyLoss: loss,
	GridSample: gridSample,
	AffineGrid: affineGrid,
	Resize: resize,
	Upsample: resize,
	DFT: discreteFourier,
	STFT: shortTimeFourier,
};
