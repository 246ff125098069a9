import { cutByOperators, quantizeLogarithms, writeSmallSigmoid } from "../cut-result-remedies.js";
import { retypeResult } from "../encoding-remedies.js";
import { passOn } from "../form-remedies.js";
import {
	keepAxes,
	limitFirst,
	limitFloats,
	quantizeWithinLimits,
	separateGate,
	writeHardSwish,
} from "../fused-remedies.js";
import {
	computeOnFloats,
	divideOne,
	dropSigns,
	encodeDividend,
	logOfScaled,
	multiplyWithItself,
	normOfScaled,
	powerOfScaled,
	setLogOfZero,
	stayOnCodes,
} from "../range-remedies.js";
import type { RemedyEntry } from "../remedy.js";
import { flatten } from "../shape-remedies.js";
import {
	chooseBySign,
	computeLarger,
	computeOnIntegers,
	eluLine,
	halve,
	quantizeAroundZero,
} from "../small-value-remedies.js";
import { limitInput, raiseStart, writeWithExponential } from "../wide-value-remedies.js";

/** Remedies for rules about ranges of values. */
export const VALUE_REMEDIES: readonly RemedyEntry[] = [
	["htp/tanh-small", retypeResult],
	["htp/silu-size", separateGate],
	["htp/log-zero", setLogOfZero],
	["htp/reciprocal-range", computeOnFloats],
	["htp/reciprocal-floats", divideOne],
	["htp/square-range", multiplyWithItself],
	["htp/norm-range", normOfScaled],
	["htp/power-range", powerOfScaled],
	["htp/negative-zero", dropSigns],
	["htp/float-dividend", encodeDividend],
	["htp/half-range", stayOnCodes],
	["htp/elu-range", retypeResult],
	["htp/small-angle", passOn],
	["htp/rounded-steps", chooseBySign],
	["htp/gelu-small", halve],
	["htp/elu-small", eluLine],
	["htp/selu-small", eluLine],
	["htp/half-scale", computeOnIntegers],
	["htp/half-results", computeLarger],
	["htp/far-zero", quantizeAroundZero],
	["htp/log-small", logOfScaled],
	["htp/large-input", limitInput],
	["htp/small-results", writeWithExponential],
	["htp/gelu-range", raiseStart],
	["htp/mixed-range", computeOnIntegers],
	["htp/cut-activation", cutByOperators],
	["htp/small-sigmoid", writeSmallSigmoid],
	["htp/log-softmax-range", quantizeLogarithms],
	["htp/softplus-size", flatten],
	["htp/mish-size", flatten],
	["htp/clip-range", quantizeWithinLimits],
	["htp/hard-swish-range", writeHardSwish],
	["htp/hard-swish-cut", limitFirst],
	["htp/weighted-sum", keepAxes],
	["htp/tanh-product", limitFloats],
];
