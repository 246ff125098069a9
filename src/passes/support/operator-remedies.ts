import type { NameScope } from "../../ir/names.js";
import { isOnnxOp, type Node } from "../../ir/node.js";
import { DataType } from "../../ir/types.js";
import { readersAlike } from "../../targets/code-encodings.js";
import { addConstant, constantOf } from "../../weights/constant.js";
import { unifyTypes } from "./activation-types.js";
import { averageByConv, coverWindows, keepZeros } from "./average-pool.js";
import { quantizeOnce } from "./bias-remedies.js";
import { castFirst, computeIntegers } from "./cast-remedies.js";
import { subtractOpposite, unsqueezeFirst } from "./compiled-remedies.js";
import { floatParameters, joinScales, joinTableScales, unsignInt4 } from "./constant-remedies.js";
import { sliceColumns, slicePositions } from "./conv-steps.js";
import { cutByOperators, quantizeLogarithms, writeSmallSigmoid } from "./cut-result-remedies.js";
import { lowerEinsum } from "./einsum-remedy.js";
import {
	encodeAlike,
	encodeFactor,
	encodeZeros,
	exchangeOperands,
	keepCodes,
	retype,
	retypeResult,
	unsign,
	unsignBoth,
} from "./encoding-remedies.js";
import { appendAnother, prependAnother } from "./fill-remedy.js";
import { floatExponent } from "./float-exponent.js";
import { computeOnValues, dropOutputs, keepDefaults, otherForm, restateShapes } from "./form-remedies.js";
import { limitFirst, quantizeWithinLimits, separateGate, writeHardSwish } from "./fused-remedies.js";
import { gatherImages, gatherPoints } from "./gather-remedy.js";
import { encodeFloats, encodeIsland } from "./island-remedies.js";
import { joinGroups } from "./joined-groups.js";
import { separateLength } from "./length-remedies.js";
import { clampInputs, encodeAsGiven, encodeProducer, encodeSoftmax } from "./limit-remedies.js";
import { otherMode, padInTurns } from "./mode-remedies.js";
import { isOutputUsed } from "./node-writer.js";
import { encodeInstanceParameters, encodeLayerParameters, encodeRmsScale, padByNothing } from "./norm-remedies.js";
import { padFirst } from "./pad-first.js";
import { joinPads, keepEncoding, keepWideCodes, reducePositions } from "./pool-remedies.js";
import { fillRows, keepRightBits, multiplyAsGemm, symmetricProduct } from "./product-remedies.js";
import { addQdq, encodingBehind, sourceOf } from "./qdq.js";
import { quantizeOperand } from "./quantize-addends.js";
import {
	computeOnFloats,
	divideOne,
	encodeDividend,
	logOfScaled,
	multiplyWithItself,
	normOfScaled,
	powerOfScaled,
	setLogOfZero,
} from "./range-remedies.js";
import { joinAxes } from "./rank-remedies.js";
import type { Remedy } from "./remedy.js";
import { removeUnused } from "./remove-unused.js";
import { resizeWhole } from "./resize-remedy.js";
import { separateOutput } from "./separate-output.js";
import { settleFloats } from "./settled-floats.js";
import {
	addAxis,
	addRow,
	exchangeLengths,
	flatten,
	gatherRow,
	joinBatches,
	joinRows,
	lowerRank,
	reduceLonger,
	square,
	throughVector,
} from "./shape-remedies.js";
import { smallConstantOf } from "./small-constant.js";
import { chooseBySign, computeOnIntegers, eluLine, halve } from "./small-value-remedies.js";
import { cropLess } from "./spread-kernel.js";
import { exchangeTypes, storeTaken } from "./stored-codes.js";
import { dropUnitAxis, MAX_RANK } from "./unit-axis.js";
import { unsignVolumes } from "./volume-remedies.js";
import { addInt4ZeroPoints, repeatScale } from "./weight-parameters.js";
import {
	expandBias,
	foldFactors,
	makeRoomForBias,
	raiseDepthwiseSteps,
	raiseSteps,
	widenCodes,
	widenProduct,
} from "./weight-remedies.js";
import { limitInput, raiseStart, writeWithExponential } from "./wide-value-remedies.js";
import { writeOut } from "./written-out.js";

const separate: Remedy = (operator, { model, names, report }) => {
	const site = operator.weight!.site;
	const separation = separateOutput(model, site, names);
	report(operator, separation);
	return typeof separation !== "string";
};

const unify: Remedy = ({ weight }, { model, names }) => {
	if (weight?.site.input !== 1) return false;
	const done = quantizeView(weight.site.node, names);
	return unifyTypes(model, weight.site, names) || done;
};

/** A result on the grid of the input's type: a pair behind it, or one in that type in front of the quantizer there is. */
const quantizeResult: Remedy = (operator, tools) => separate(operator, tools) || unify(operator, tools);

/** `DQ -> Reshape -> node` -> `DQ -> Reshape -> Q -> DQ -> node`: a kernel on integers reads codes. */
function quantizeView(node: Node, names: NameScope): boolean {
	const input = node.inputs[0]!;
	const encoding = encodingBehind(input);
	if (encoding === undefined || sourceOf(input) === input) return false;
	node.setInput(0, addQdq(node.graph!, input, encoding, names, node));
	return true;
}

const repeat: Remedy = ({ node, weight }, { names }) => {
	const before = node.inputs[weight!.site.input]!;
	const done = repeatScale(weight!.site, names);
	if (done) removeUnused(before);
	return done;
};

/** Codes that are read in several encodings: a copy for those readers that have the encoding of `node`. */
const copyCodes: Remedy = ({ node }, { names }) => {
	const codes = constantOf(node.inputs[0]);
	if (codes === undefined || codes.overridable) return false;
	const readers = readersAlike(node);
	const copy = addConstant(codes.value.graph, names.fresh(`${codes.value.name}_copy`), codes.tensor, readers[0]);
	for (const reader of readers) reader.setInput(0, copy);
	return true;
};

/** Floats beside codes as codes. */
const encodeOperands: Remedy = ({ node, inputs }, { names }) => {
	const coded = inputs.findIndex((input) => input?.quantization !== undefined);
	if (coded < 0 || isOnnxOp(node, "Mean")) return false;
	const isFloat = (index: number) => index !== coded && inputs[index]?.dtype === DataType.FLOAT;
	const encode = (index: number) =>
		quantizeOperand(node, index, names, coded) ||
		(inputs[index]?.quantization === undefined &&
			encodeFloats(node, index, inputs[coded]!.quantization!.dtype!, names));
	const done = inputs.map((_, index) => isFloat(index) && encode(index));
	return done.includes(true);
};

/** A Dropout that is not told to drop anything, and whose mask nobody reads -> Identity. */
const dropNothing: Remedy = ({ node }) => {
	const [data, , training] = node.inputs;
	const isIdle = training === undefined || smallConstantOf(training)?.values[0] === 0;
	if (!isOnnxOp(node, "Dropout") || !isIdle || data === undefined || isOutputUsed(node, 1)) return false;
	const [output] = node.outputs;
	node.graph!.replaceNode(node, { op: "Identity", name: node.name, inputs: [data], outputs: [output!] });
	return true;
};

/** An operator that gives back what it reads, its first input -> Identity. */
const passOn: Remedy = ({ node }) => {
	node.graph!.replaceNode(node, {
		op: "Identity",
		name: node.name,
		inputs: [node.inputs[0]],
		outputs: [...node.outputs],
	});
	return true;
};

/** A Gather that makes more axes than its table has, whose result alone is too deep. */
const gatherInRow: Remedy = (operator, tools) => {
	const [data, indices] = operator.inputs;
	const isShallow = (data?.shape?.length ?? MAX_RANK + 1) <= MAX_RANK && (indices?.shape?.length ?? 0) <= MAX_RANK;
	return isOnnxOp(operator.node, "Gather") && isShallow && gatherRow(operator, tools);
};

/** More than five axes: those of a permutation joined, those of indices in a row, one of length 1 left out. */
const lowerDepth: Remedy = (operator, tools) =>
	joinAxes(operator, tools) || gatherInRow(operator, tools) || dropUnitAxis(operator, tools);

/** Remedies by the rule that they are for. */
export const OPERATOR_REMEDIES: ReadonlyMap<string, Remedy> = new Map<string, Remedy>([
	["htp/channel-output", separate],
	["htp/gemm-output", separate],
	["htp/clamped-output", separate],
	["htp/activation-type", unify],
	["htp/channel-activation", unify],
	["htp/bias-activations", unify],
	["htp/int4-zero-point", ({ weight }, { names }) => addInt4ZeroPoints(weight!.site, names)],
	["htp/conv-int4-bias", repeat],
	["htp/bias-repeated-pairs", quantizeOnce],
	["htp/softmax-zero-point", encodeSoftmax],
	["htp/fixed-output-bias", encodeProducer],
	["htp/lost-saturation", clampInputs],
	["htp/operator-rank", lowerRank],
	["htp/gather-rank", gatherRow],
	["htp/instance-norm-rank", addAxis],
	["htp/relu-rank", flatten],
	["htp/tile-ones", passOn],
	["htp/matmul-rank", flatten],
	["htp/layer-norm-16-rows", square],
	["htp/tanh-16-rows", square],
	["htp/reshape-square", throughVector],
	["htp/reshape-halved", throughVector],
	["htp/relu-int4-rows", widenProduct],
	["htp/conv-int16", unsign],
	["htp/conv-pads-8-bits", unsign],
	["htp/conv-batch-steps", sliceColumns],
	["htp/conv-line-pads", sliceColumns],
	["htp/block-conv-steps", slicePositions],
	["htp/conv-empty-window", padFirst],
	["htp/norm-channels", padByNothing],
	["htp/conv-int4-volume", widenCodes],
	["htp/depthwise-scale-one", repeat],
	["htp/depthwise-int4", widenCodes],
	["htp/depthwise-scale-small", raiseDepthwiseSteps],
	["htp/conv-volume-float", quantizeResult],
	["htp/gemm-bias-shape", expandBias],
	["htp/channel-scalar", addRow],
	["htp/channel-scale-large", widenCodes],
	["htp/channel-scale-small", raiseSteps],
	["htp/bias-overflow", makeRoomForBias],
	["htp/gemm-factors", foldFactors],
	["htp/softmax-8-bits", retypeResult],
	["htp/softmax-flat", retypeResult],
	["htp/softmax-right", keepRightBits],
	["htp/wide-right", keepRightBits],
	["htp/int16-product", symmetricProduct],
	["htp/product-types", retypeResult],
	["htp/reshaped-product", multiplyAsGemm],
	["htp/float-operand-v68", encodeOperands],
	["htp/float-island-v68", (operator, tools) => encodeIsland(operator, tools) || settleFloats(operator, tools)],
	["htp/float-chain-v68", settleFloats],
	["htp/tanh-small", retypeResult],
	["htp/silu-size", separateGate],
	["htp/log-zero", setLogOfZero],
	["htp/reciprocal-range", computeOnFloats],
	["htp/reciprocal-floats", divideOne],
	["htp/square-range", multiplyWithItself],
	["htp/norm-range", normOfScaled],
	["htp/norm-layout", separateLength],
	["htp/power-range", powerOfScaled],
	["htp/float-dividend", encodeDividend],
	["htp/elu-range", retypeResult],
	["htp/small-angle", passOn],
	["htp/rounded-steps", chooseBySign],
	["htp/gelu-small", halve],
	["htp/elu-small", eluLine],
	["htp/selu-small", eluLine],
	["htp/half-scale", computeOnIntegers],
	["htp/half-results", computeOnIntegers],
	["htp/log-small", logOfScaled],
	["htp/large-input", limitInput],
	["htp/small-results", writeWithExponential],
	["htp/gelu-range", raiseStart],
	["htp/mixed-range", computeOnIntegers],
	["htp/fixed-output-codes", encodeAsGiven],
	["htp/cut-activation", cutByOperators],
	["htp/small-sigmoid", writeSmallSigmoid],
	["htp/log-softmax-range", quantizeLogarithms],
	["htp/softplus-size", flatten],
	["htp/mish-size", flatten],
	["htp/clip-range", quantizeWithinLimits],
	["htp/hard-swish-range", writeHardSwish],
	["htp/hard-swish-cut", limitFirst],
	["htp/transposed-conv-groups", joinGroups],
	["htp/transposed-conv-add", exchangeOperands],
	["htp/scatter-updates", encodeAlike],
	["htp/float-factor", encodeFactor],
	["htp/zeros-scale", encodeZeros],
	["htp/shared-codes", copyCodes],
	["htp/raw-codes", computeOnValues],
	["htp/einsum", lowerEinsum],
	["htp/computed-parameter", keepDefaults],
	["htp/operator-form", otherForm],
	["htp/unused-output", dropOutputs],
	["htp/output-shape", restateShapes],
	["htp/rank", lowerDepth],
	["htp/lp-pool-pads", coverWindows],
	["htp/operator-never", dropNothing],
	["htp/operator-mode", otherMode],
	["htp/operator-mode-wrong", otherMode],
	["htp/average-pads", coverWindows],
	["htp/pad-maximum", keepZeros],
	["htp/pad-average", averageByConv],
	["htp/resize-scale", resizeWhole],
	["htp/resize-cubic", resizeWhole],
	["htp/pad-ends", padInTurns],
	["htp/concat-product", joinRows],
	["htp/batches-reshaped", joinBatches],
	["htp/batch-rows", fillRows],
	["htp/channel-fill", appendAnother],
	["htp/leading-fill", prependAnother],
	["htp/reduce-column", exchangeLengths],
	["htp/mean-of-one", reduceLonger],
	["htp/pad-signed", unsignBoth],
	["htp/pad-quantizer", keepCodes],
	["htp/gathered-images", gatherImages],
	["htp/conv-bias-scale", quantizeOnce],
	["htp/float-sum-8-bits", subtractOpposite],
	["htp/image-of-one", unsqueezeFirst],
	["htp/mish-lpbq", writeOut],
	["htp/signed-volume", unsignVolumes],
	["htp/pad-pad", joinPads],
	["htp/max-pool-pads", keepEncoding],
	["htp/space-to-depth", keepWideCodes],
	["htp/int16-fifth-axis", unsignBoth],
	["htp/global-max-row", reducePositions],
	["htp/transposed-conv-padding", cropLess],
	["htp/int4-asymmetric", unsignInt4],
	["htp/channel-zero-point", storeTaken],
	["htp/weight-type", storeTaken],
	["htp/wide-codes", storeTaken],
	["htp/wide-zero-point", storeTaken],
	["htp/wide-weight", storeTaken],
	["htp/wide-left", exchangeTypes],
	["htp/gather-table", joinTableScales],
	["htp/several-scales", joinScales],
	["htp/norm-scale-type", encodeRmsScale],
	["htp/batch-norm-parameters", floatParameters],
	["htp/instance-norm-parameters", encodeInstanceParameters],
	["htp/layer-norm-parameters", encodeLayerParameters],
	["htp/prelu-slopes", floatParameters],
	["htp/exponent-type", ({ node }, { names }) => floatExponent(node, names)],
	["htp/cast-output", castFirst],
	["htp/cast-uint8", castFirst],
	["htp/cast-fractions", computeIntegers],
	[
		"htp/operator-refused",
		(operator, tools) => writeOut(operator, tools) || retype(operator, tools) || gatherPoints(operator, tools),
	],
	[
		"htp/operator-signed",
		(operator, tools) => (isOnnxOp(operator.node, "ArgMax", "ArgMin") ? unsign : retype)(operator, tools),
	],
	["htp/operator-wrong", retype],
]);
