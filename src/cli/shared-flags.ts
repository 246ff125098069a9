/** Where a model that is quantized from floats is to run. */
export const TARGET_FLAG = {
	type: "string",
	requiresArg: true,
	describe: "Where the model is to run: qnn-htp:v79, or a chip, qnn-htp:SM8750",
} as const;

/** Lengths of a model that is run on samples. */
export const DIM_FLAG = {
	type: "array",
	string: true,
	requiresArg: true,
	describe: "Length of a dynamic dimension, name=length or input:axis=length [default: as in the first sample]",
} as const;

export const INPUT_VALUE_FLAG = {
	type: "array",
	string: true,
	requiresArg: true,
	describe: "Number that an input always is, such as sr=16000: what depends on it is computed in advance",
} as const;

/** What a weight may become where a budget decides. */
export const CANDIDATES_FLAG = {
	type: "array",
	string: true,
	requiresArg: true,
	describe: "Precisions to choose from, blocks as 16a4w_block:32 [default: blocks of 16 to 128, 16a4w, 16a8w]",
} as const;
