import { DataType, type Dimension } from "../../ir/types.js";
import { elementsOfTensor } from "../constant.js";
import { isStatic } from "../dimension.js";
import { NOTHING, type Shape, tensorFact } from "../fact.js";
import { all, type OperatorCall, type Rule, type RuleTable } from "../operator-call.js";

const constant: Rule = (call) => {
	const value = call.attribute("value");
	if (value?.kind === "tensor") {
		return [{ ...tensorFact(value.value.dtype, value.value.shape), elements: elementsOfTensor(value.value) }];
	}
	const sparse = call.attribute("sparse_value");
	if (sparse?.kind === "sparse-tensor") return [tensorFact(sparse.value.values.dtype, sparse.value.shape)];
	const [int, float] = [call.int("value_int"), call.float("value_float")];
	if (int !== undefined) return [{ ...tensorFact(DataType.INT64, []), elements: [int] }];
	if (float !== undefined) return [{ ...tensorFact(DataType.FLOAT, []), elements: [float] }];
	const [ints, floats] = [call.ints("value_ints"), call.floats("value_floats")];
	if (ints !== undefined) return [{ ...tensorFact(DataType.INT64, [ints.length]), elements: ints }];
	if (floats !== undefined) return [{ ...tensorFact(DataType.FLOAT, [floats.length]), elements: floats }];
	if (call.attribute("value_string") !== undefined) return [tensorFact(DataType.STRING, [])];
	const strings = call.attribute("value_strings");
	return [strings?.kind === "strings" ? tensorFact(DataType.STRING, [strings.value.length]) : NOTHING];
};

const range: Rule = (call) => {
	const [start, limit, step] = [0, 1, 2].map((index) => call.elements(index)?.[0]);
	return [
		tensorFact(call.elementType(0) ?? call.elementType(1) ?? call.elementType(2), [rangeLength(start, limit, step)]),
	];
};

function rangeLength(start: Dimension, limit: Dimension, step: Dimension): Dimension {
	if (start === 0 && step === 1 && typeof limit === "string") return limit;
	if (typeof start !== "number" || typeof limit !== "number" || typeof step !== "number") return undefined;
	return Math.max(0, Math.ceil((limit - start) / step));
}

/** Random tensors of a stated shape. */
const random: Rule = (call) => [tensorFact(call.int("dtype") ?? DataType.FLOAT, call.ints("shape"))];

/** Tensors as the input is, of another type where `dtype` says so. */
const shapedLike: Rule = (call) => [tensorFact(call.int("dtype") ?? call.elementType(0), call.shape(0))];

const multinomial: Rule = (call) => [
	tensorFact(call.int("dtype") ?? DataType.INT32, [call.shape(0)?.[0], call.int("sample_size") ?? 1]),
];

const window: Rule = (call) => [tensorFact(call.int("output_datatype") ?? DataType.FLOAT, [call.elements(0)?.[0]])];

/** [bins of the spectrum, mel bins]. */
const melWeights: Rule = (call) => {
	const [bins, length] = [call.elements(0)?.[0], call.elements(1)?.[0]];
	const half = typeof length === "number" ? Math.floor(length / 2) + 1 : undefined;
	return [tensorFact(call.int("output_datatype") ?? DataType.FLOAT, [half, bins])];
};

const image: Rule = (call) => [
	tensorFact(DataType.UINT8, [undefined, undefined, call.string("pixel_format") === "Grayscale" ? 1 : 3]),
];

/** The last axis becomes as long as the vocabulary. */
const termCounts: Rule = (call) => {
	const input = call.shape(0);
	const indexes = call.ints("ngram_indexes");
	const width = indexes === undefined ? undefined : Math.max(...indexes) + 1;
	return [tensorFact(DataType.FLOAT, input && [...input.slice(0, -1), width])];
};

/** Stop words drop out of the last axis. */
const normalizedStrings: Rule = (call) => {
	const input = call.shape(0);
	return [tensorFact(DataType.STRING, input && [...input.slice(0, -1), undefined])];
};

const stringSplit: Rule = (call) => {
	const input = call.shape(0);
	return [tensorFact(DataType.STRING, input && [...input, undefined]), tensorFact(DataType.INT64, input)];
};

const constantFill = (call: OperatorCall): Shape | undefined => {
	if (!call.has(0)) return call.ints("shape");
	const shape = call.int("input_as_shape") === 1 ? call.elements(0) : call.shape(0);
	const extra = call.ints("extra_shape");
	return isStatic(shape) && extra !== undefined ? [...shape, ...extra] : extra === undefined ? shape : undefined;
};

export const GENERATE_RULES: RuleTable = {
	Constant: constant,
	Range: range,
	...all("RandomNormal RandomUniform", random),
	...all("RandomNormalLike RandomUniformLike EyeLike Bernoulli", shapedLike),
	Multinomial: multinomial,
	...all("BlackmanWindow HammingWindow HannWindow", window),
	MelWeightMatrix: melWeights,
	ImageDecoder: image,
	TfIdfVectorizer: termCounts,
	StringNormalizer: normalizedStrings,
	StringSplit: stringSplit,
	ConstantFill: (call) => [tensorFact(call.int("dtype") ?? DataType.FLOAT, constantFill(call))],
};
