import { dataTypeName } from "../../../ir/types.js";
import {
	axesToInput,
	axisToInput,
	boundsToInputs,
	countToInput,
	keepRoiPixels,
	numberOutputs,
	padsToInputs,
	ratioToInput,
	refuseMask,
	refuseScan,
	renameSamplingMode,
	renameScatter,
	scalesToInput,
	sliceToInputs,
	splitToInput,
} from "./convert-attributes.js";
import {
	flattenBatchNormalization,
	sayBatchNormalizationTrains,
	splitSoftmaxAxes,
	spreadGroupParameters,
} from "./convert-flattening.js";
import { chooseScalesOrSizes, renameUpsample, sayResizePixels } from "./convert-resize.js";
import { checkCeiledWindows, floatQuantizedData, refuseIntegerErf } from "./convert-types.js";
import { HISTORY, OLDEST_OPSET, REMOVED } from "./history.js";
import { type NodeDraft, refuse } from "./node-draft.js";

/** Takes a draft from the version before to the one that it stands under; throws Unconvertible where it cannot. */
type Conversion = (draft: NodeDraft) => void;

/** Operator -> version of the operator set -> what to do to nodes that were written for the version before. */
const CONVERSIONS: Readonly<Record<string, Readonly<Record<number, Conversion>>>> = {
	AveragePool: { 22: checkCeiledWindows },
	BatchNormalization: { 9: flattenBatchNormalization, 14: sayBatchNormalizationTrains },
	Clip: { 11: boundsToInputs },
	DFT: { 20: axisToInput },
	Dropout: { 10: refuseMask, 12: ratioToInput },
	Erf: { 13: refuseIntegerErf },
	GridSample: { 20: renameSamplingMode },
	GroupNormalization: { 21: spreadGroupParameters },
	Hardmax: { 13: splitSoftmaxAxes },
	LogSoftmax: { 13: splitSoftmaxAxes },
	MaxPool: { 22: checkCeiledWindows },
	Pad: { 11: padsToInputs },
	QuantizeLinear: { 19: floatQuantizedData },
	ReduceL1: { 18: axesToInput },
	ReduceL2: { 18: axesToInput },
	ReduceLogSum: { 18: axesToInput },
	ReduceLogSumExp: { 18: axesToInput },
	ReduceMax: { 18: axesToInput },
	ReduceMean: { 18: axesToInput },
	ReduceMin: { 18: axesToInput },
	ReduceProd: { 18: axesToInput },
	ReduceSum: { 13: axesToInput },
	ReduceSumSquare: { 18: axesToInput },
	Resize: { 11: sayResizePixels, 13: chooseScalesOrSizes },
	RoiAlign: { 16: keepRoiPixels },
	Scan: { 9: refuseScan },
	Scatter: { 11: renameScatter },
	Slice: { 10: sliceToInputs },
	Softmax: { 13: splitSoftmaxAxes },
	Split: { 13: splitToInput, 18: numberOutputs },
	Squeeze: { 13: axesToInput },
	TopK: { 10: countToInput },
	Unsqueeze: { 13: axesToInput },
	Upsample: { 9: scalesToInput, 10: renameUpsample },
};

/**
 * Operators that ONNX Runtime's optimizer writes into the standard domain whatever its version. LayerNormalization is the
 * same that ONNX has since version 17, but for a scale of another type than the data.
 */
const RUNTIME_OPERATORS: readonly string[] = ["LayerNormalization", "SimplifiedLayerNormalization"];

/** Converts `draft` from operator set `from` on to that of its context; throws Unconvertible where it cannot. */
export function convertDraft(draft: NodeDraft, from: number): void {
	const { type } = draft;
	const history = HISTORY[type];
	if (RUNTIME_OPERATORS.includes(type) && !history?.some((since) => since <= from)) {
		checkScaleType(draft);
		return;
	}
	if (history === undefined) refuse("ONNX has no such operator");
	if (history[0]! > from) refuse(`operator set ${from} has no such operator, it came with ${history[0]}`);
	const end = REMOVED[type] ?? Number.POSITIVE_INFINITY;
	if (end <= from) refuse(`operator set ${from} has no such operator, it went with ${end}`);
	for (let version = from + 1; version <= draft.context.target; version++) {
		if (!HISTORY[draft.type]!.includes(version)) continue;
		if (version <= OLDEST_OPSET) {
			refuse(`operator set ${version} changed it, and conversions begin at ${OLDEST_OPSET}`);
		}
		CONVERSIONS[draft.type]?.[version]?.(draft);
	}
}

function checkScaleType(draft: NodeDraft): void {
	const [data, scale] = [draft.elementTypeOf(draft.inputs[0]), draft.elementTypeOf(draft.inputs[1])];
	if (draft.type !== "LayerNormalization" || data === undefined || scale === undefined || data === scale) return;
	refuse(`its scale is ${dataTypeName(scale)} and its input ${dataTypeName(data)}, expected one type`);
}

/** Every conversion as `operator:version`, for tests. */
export const CONVERTED: readonly string[] = Object.entries(CONVERSIONS).flatMap(([type, steps]) =>
	Object.keys(steps).map((version) => `${type}:${version}`),
);
