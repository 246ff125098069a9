import { castFirst, computeIntegers } from "../cast-remedies.js";
import { subtractOpposite } from "../compiled-remedies.js";
import { copyCodes, floatParameters } from "../constant-remedies.js";
import {
	encodeAlike,
	encodeFactor,
	encodeZeros,
	exchangeOperands,
	keepCodes,
	keepZeroPoint,
	retypeResult,
	unsign,
	unsignBoth,
	widenResults,
} from "../encoding-remedies.js";
import { floatExponent } from "../float-exponent.js";
import { computeOnValues } from "../form-remedies.js";
import { encodeIsland, encodeOperands } from "../island-remedies.js";
import { clampInputs, encodeAsGiven, encodeProducer, encodeSoftmax } from "../limit-remedies.js";
import { encodeInstanceParameters, encodeLayerParameters, encodeRmsScale } from "../norm-remedies.js";
import { quantizeResult, unify } from "../output-remedies.js";
import { keepEncoding, keepWideCodes } from "../pool-remedies.js";
import { keepRightBits, symmetricProduct } from "../product-remedies.js";
import type { RemedyEntry } from "../remedy.js";
import { settleFloats } from "../settled-floats.js";
import { exchangeTypes } from "../stored-codes.js";
import { unsignVolumes } from "../volume-remedies.js";

/** Remedies for rules about types, scales and codes of activations. */
export const ENCODING_REMEDIES: readonly RemedyEntry[] = [
	["htp/activation-type", unify],
	["htp/channel-activation", unify],
	["htp/bias-activations", unify],
	["htp/softmax-zero-point", encodeSoftmax],
	["htp/fixed-output-bias", encodeProducer],
	["htp/lost-saturation", clampInputs],
	["htp/unrounded-codes", widenResults],
	["htp/conv-int16", unsign],
	["htp/conv-pads-8-bits", unsign],
	["htp/conv-volume-float", quantizeResult],
	["htp/softmax-8-bits", retypeResult],
	["htp/softmax-flat", retypeResult],
	["htp/softmax-right", keepRightBits],
	["htp/wide-right", keepRightBits],
	["htp/int16-product", symmetricProduct],
	["htp/product-types", retypeResult],
	["htp/float-operand-v68", encodeOperands],
	["htp/float-comparison-v68", encodeOperands],
	["htp/float-island-v68", (operator, tools) => encodeIsland(operator, tools) || settleFloats(operator, tools)],
	["htp/float-chain-v68", settleFloats],
	["htp/fixed-output-codes", encodeAsGiven],
	["htp/transposed-conv-add", exchangeOperands],
	["htp/scatter-updates", encodeAlike],
	["htp/float-factor", encodeFactor],
	["htp/zeros-scale", encodeZeros],
	["htp/shared-codes", copyCodes],
	["htp/raw-codes", computeOnValues],
	["htp/pad-signed", unsignBoth],
	["htp/gather-signed", unsignBoth],
	["htp/pad-quantizer", keepCodes],
	["htp/float-sum-8-bits", subtractOpposite],
	["htp/signed-volume", unsignVolumes],
	["htp/max-pool-pads", keepEncoding],
	["htp/space-to-depth", keepWideCodes],
	["htp/gathered-zero-point", keepZeroPoint],
	["htp/int16-fifth-axis", unsignBoth],
	["htp/wide-left", exchangeTypes],
	["htp/norm-scale-type", encodeRmsScale],
	["htp/batch-norm-parameters", floatParameters],
	["htp/instance-norm-parameters", encodeInstanceParameters],
	["htp/instance-norm-floats", encodeInstanceParameters],
	["htp/layer-norm-parameters", encodeLayerParameters],
	["htp/prelu-slopes", floatParameters],
	["htp/exponent-type", ({ node }, { names }) => floatExponent(node, names)],
	["htp/cast-output", castFirst],
	["htp/cast-uint8", castFirst],
	["htp/cast-fractions", computeIntegers],
];
