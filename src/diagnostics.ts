import { type CodeInfo, error, remark, type Severity, warning } from "./diagnostics/code.js";
import { FILE_CODES } from "./diagnostics/file-codes.js";
import { OPERATOR_CODES } from "./diagnostics/operator-codes.js";

export type { Severity } from "./diagnostics/code.js";

/** Every code there is. An error stops the work, a warning is a loss to know of, a remark says why something was left alone. */
export const CODES = {
	...FILE_CODES,
	"target/unknown": error("There is no such target. Name one as `qnn-htp:v79` or by its chip, `qnn-htp:SM8750`."),
	"cli/key-value": error("A flag wants name=value. Wrong usage."),
	"runtime/missing": error("A package that runs models is not installed. The message says which and how to get it."),
	"runtime/inputs": error("The inputs given do not fit the model, or the two models take different ones."),
	"runtime/dimension": error("A dimension has a name instead of a length. Give it one with `--dim name=length`."),
	"calibrate/failed": error(
		"ONNX Runtime refuses the model, or fails to run it on a sample. The message has its words.",
	),
	"calibrate/data": error(
		"There are no samples where `--data` points to, or they are not of the form that is expected.",
	),
	"calibrate/random": warning(
		"Ranges of random inputs are not those of real ones. Good for trying things out; calibrate with real samples.",
	),
	"calibrate/state": error("The state of an interrupted calibration cannot be used: it belongs to something else."),
	"calibrate/hidden": remark(
		"Values inside of functions, and of bodies of Ifs, Loops and Scans that no sample runs, have no ranges; those that samples run have no histograms. The message names them, says why, and what helps.",
	),
	"calibrate/ignored": remark(
		"A folder of samples has files that are not read, as it has others of a kind that is. Give these in a folder of their own, or name files one by one.",
	),
	"calibrate/mask": remark(
		"A value has masks among its elements, such as the -1e9 that attention adds to what it must not look at. Codes that reached over these would have no steps left for the rest; the range is that of the rest, and a little more, so that masks still vanish in Softmax.",
	),
	"calibrate/not-finite": warning(
		"A value is infinite or no number at places. Its range is that of its finite elements.",
	),
	"kernels/unknown": error("There is no kernel of that name. `qgraph kernels --list` names them."),
	"kernels/command": error(
		"The command of an implementation names {in} and {out}, the .npz files that it reads and writes, and {kernel} where it is for more than one. Wrong usage.",
	),
	"runtime/npz": error("The file is not an .npz archive of numpy arrays that qgraph can read."),
	"language/model": error(
		"The model is no causal language model: token ids in, logits of every token out. The message says what is missing.",
	),
	"language/tokens": error(
		"A text or a file of token ids cannot be read, is too short, or has tokens that the model does not know.",
	),
	"language/tokenizer": error(
		"The tokenizer.json cannot be read, or is of a kind that the tokenizer package does not know.",
	),
	"htp/failed": error("The compiler or the emulator refuses a graph, or fails to run it. The message has its words."),
	"htp/not-set-up": error("The HTP's compiler and emulator are not installed. Run `qgraph setup-htp` once."),
	"htp/unsupported-platform": error("The HTP's compiler and emulator exist for Linux and Windows on x64 only."),
	"htp/no-python": error("`qgraph setup-htp` needs a Python of version 3.11 or later with venv and pip."),
	"htp/setup-failed": error(
		"The Python environment could not be made: no network, no wheel for this Python, no space. The message has the reason.",
	),
	"encodings/not-found": error("The encodings file does not exist or cannot be read."),
	"encodings/not-json": error(
		"The encodings file is not JSON, or lists of numbers in it are uneven. The message has the line.",
	),
	"encodings/version": error("The encodings file has a version that qgraph does not read, or none."),
	"encodings/invalid": error(
		"An entry of the encodings file is not what its version prescribes. The message names the tensor, the field, what was found and what was expected.",
	),
	"encodings/mismatch": error(
		"An encoding has other axes or another number of scales than its tensor in the model: it is the file of another model, or of another export.",
	),
	"encodings/unknown-tensor": warning(
		"The encodings file names a tensor that the model does not have: its names are those of another export of the model. The message has the name that is most like it.",
	),
	"encodings/unknown-field": warning("Encodings have a field that qgraph does not know. It was not used."),
	"encodings/already": remark(
		"The tensor that the encodings file names is quantized in the model already, or no operator reads it.",
	),
	"encodings/float": remark("The encodings file says that the tensor is a float of some type; it was left as it is."),
	"encodings/kept": warning("The model cannot have the tensor as the encodings file says; the message says why."),
	"encodings/not-representable": warning(
		"The version of the encodings file has no way to say how a tensor is quantized, so that the file does not have it. Write another version.",
	),
	"target/illegal": error(
		"The passes could not make the model legal on its target; nothing was written. `qgraph check` lists what is left; --allow-illegal writes it anyway.",
	),
	"target/missing": remark("A pass that legalizes for a target did nothing, for no target was named."),
	"pass/unknown-option": error("A pass was given an option that it does not have, or a value it does not take."),
	"pass/unknown": error("There is no pass of that name. `qgraph list-passes` names them."),
	"pass/failed": error("A pass broke the model or could not do its work."),
	"pass/strict": error("--strict was given and a block-quantized weight was left alone."),
	"pass/note": remark("What a pass of your own has to say: its message tells."),
	"pass/aborted": error("The run was cancelled."),
	"verify/invalid": error("The model breaks a rule of ONNX that passes rely on."),
	"opset/unconvertible": error(
		"An operator changed between the model's operator set and the one that it should get, and this use of it has no equal there, or the model's operator set has no such operator at all. The model was left as it was. Replace the node or choose another version with `--upgrade-opset-to`.",
	),
	"opset/current": remark("The model has the operator set, or a newer one; there is nothing to raise."),
	"inputs/bad-value": error("An input's value is given as `name=4` or `name=4,5`, numbers that its type takes."),
	"inputs/unknown": error("A value was given for an input that the model does not have. The message lists its inputs."),
	"inputs/output": remark("An input that was made a constant for all that reads it is an output, too, and stays one."),
	"shapes/bad-dimension": error("A length is given as `name=4` or `input:axis=4`, a whole number."),
	"shapes/unknown-dimension": error(
		"No input of the model has this dimension. The message lists those that are dynamic.",
	),
	"shapes/conflict": error("One dimension was given two lengths, or another one than the model states."),
	"shapes/dynamic-input": remark("An input has a dimension without a fixed length; the HTP takes static shapes only."),
	"shapes/computed": remark("A shape is computed when the model runs, for it depends on something that is not fixed."),
	"split/part": error("A part of a graph is named as '2/4', the second of four."),
	"split/parts": error(
		"The graph has not so many places to be cut at with about as many bytes of weights on both sides.",
	),
	"split/unknown-value": error("The main graph has no value of the name that it is to be cut at."),
	"split/unknown-type": error("A graph is to be cut at a value whose type cannot be told; an input has to state it."),
	"llm/config": error(
		"The genai_config.json is not there, lacks something, or does not agree with the model beside it.",
	),
	"llm/unsupported": error(
		"The language model has parts that no static graphs can be made of; the message names them.",
	),
	"llm/settings": error(
		"What is asked of a language model's conversion contradicts itself; the message says what to change.",
	),
	"llm/genai-version": warning(
		"Few versions of ONNX Runtime GenAI run what was asked for, or not with all settings; the message names them.",
	),
	"llm/not-on-htp": error("The HTP does not take a graph of a language model wholly; nothing was written."),
	"llm/length": error("The lengths asked for do not fit each other or the model's context."),
	"llm/pad-token": error("Every id of the vocabulary is a token, so that none is left to fill prompts up with."),
	"quantize/no-ranges": error(
		"Activations are quantized in ranges: name samples with `--data`, or a file with `--encodings`.",
	),
	"recipe/invalid": error(
		"The recipe has a key, a value or a pattern that recipes do not have. The message names the line.",
	),
	"analyze/state": error("The state of an interrupted analysis cannot be used: it belongs to something else."),
	"recipe/budget": error(
		"The budget is not one, or no choice of precisions keeps it. The message says what is possible.",
	),
	"recipe/unknown": error(
		"There is no such recipe: neither a file, nor a built-in one, nor a precision. `qgraph recipes` lists them.",
	),
	"recipe/statistics": error(
		"A file of importance weights or second moments cannot be read, or does not fit the weight.",
	),
	"recipe/few-rows": remark("Samples gave less than two rows an input of the weight. GPTQ gains more with more."),
	"recipe/no-statistics": remark(
		"The file or folder of input statistics has nothing for this weight; it was quantized without.",
	),
	"recipe/unmatched": warning(
		"A rule of the recipe matched nothing in the model: a name may be misspelt, or belong to another model.",
	),
	"recipe/overruled": warning(
		"Other rules of the recipe decide all that a rule matches: later ones, or those of a higher priority.",
	),
	"recipe/overlap": remark("Other rules of the recipe decide some of what a rule matches."),
	"recipe/keep": remark("The recipe keeps this as it is. Tables of embeddings are kept unless a rule names them."),
	"recipe/unfit": warning(
		"The shape of the weight does not allow the precision that the recipe asks for. The message says what it became.",
	),
	"weight/converted": remark("The weight was converted."),
	"weight/excluded": remark("The weight was left alone because --include or --exclude says so."),
	"weight/float": remark("The weight is float, not quantized; there is nothing to convert. Quantize it first."),
	"weight/quantized": remark("The weight is quantized already; a recipe is for float weights."),
	"weight/not-float": remark("The weight is not of a float type that can be quantized."),
	"weight/not-finite": remark("A value of the weight is infinite or not a number."),
	"weight/indirect": remark(
		"Between the weight and its operator stands another operator (Transpose, Reshape, Cast ...), so that its axes are not those of the operator.",
	),
	"weight/legal": remark("The weight was brought into a form that the target computes right, without loss."),
	"weight/legal-at-a-loss": warning(
		"The weight was brought into a form that the target computes right, which represents it less exactly; the figure says how well.",
	),
	"weight/normalized": remark(
		"The weight was brought into the one form that passes take, signed codes and their scales directly in front of the operator, without loss.",
	),
	"weight/requantized": warning(
		"The weight was quantized anew, symmetric and 4-bit, as `--requantize` asks; the figure says how well that represents it.",
	),
	"weight/copied": remark(
		"The weight is read in two forms or orders, so that the model holds a copy of it beside the original.",
	),
	"weight/split": remark(
		"The weight became the sum of two with the same codes, whose block scales are LPBQ's. The figure is that of the sum.",
	),
	"weight/not-block": remark("The weight has one scale, or one a channel; LPBQ needs one a block."),
	"weight/not-int4": remark("LPBQ has 4-bit codes only; weights of other types stay as they are."),
	"weight/opset": remark(
		"The model imports an operator set in which this form of DequantizeLinear does not exist (4-bit and blocks: 21; 2-bit: 25).",
	),
	"weight/operator": remark(
		"The operator takes its quantized weight itself, as QLinearMatMul does. LPBQ needs the QDQ form: a DequantizeLinear in front of MatMul, Gemm or Conv. Most quantizers write either; `--lower-dynamic-quantization` brings what ONNX Runtime's quantize_dynamic writes into it.",
	),
	"weight/rank": remark("The weight's rank is none that its operator takes."),
	"weight/overridable": remark("The weight is also a graph input, so that the caller may replace it."),
	"weight/scale-not-constant": remark("The scales or zero points are computed, not stored."),
	"weight/scale-type": remark("The scales are no floats, or the operator's output type contradicts them."),
	"weight/scale-shape": remark("The shape of the scales does not fit the weight, its axis and its block size."),
	"weight/scale-not-finite": remark("A scale is infinite or not a number."),
	"weight/zero-point": remark(
		"The weight is asymmetric: it has zero points that are not zero. LPBQ is symmetric. `--requantize` quantizes it anew without them, and says what that loses.",
	),
	"weight/block-axis": remark("The weight is blocked along another axis than the one its operator sums over."),
	"weight/indivisible": remark("The block size does not divide the axis; the HTP takes whole blocks only."),
	"weight/data-length": remark("The stored bytes are more or fewer than the shape needs."),
	"weight/shared": remark("The dequantized weight is read by something that cannot take the new form, too."),
	"weight/float-activations": remark(
		"The HTP computes LPBQ only between integer activations: the operator's input and output need Q/DQ. `qgraph calibrate` finds ranges, with which `convert --insert-activation-qdq --encodings` puts Q/DQ around the operators of a model whose weights are quantized, and `convert --recipe --encodings` does all of it to a float model. `--bq-to-lpbq-activations any` converts all the same, for other runtimes.",
	),
	"weight/depthwise": remark("Each output channel of the convolution sums over too few input channels to form blocks."),
	"nbits/lowered": remark(
		"The weight was unpacked from MatMulNBits into DequantizeLinear and MatMul, without loss; the message says what else changed.",
	),
	"nbits/unsupported": remark(
		"The MatMulNBits is none that qgraph reads: other bits than 2, 4 or 8, lengths that contradict its attributes, or attributes of the function's caller.",
	),
	"nbits/zero-point": remark(
		"The weight has zero points between its codes, which DequantizeLinear cannot hold. `--requantize` makes it symmetric 4-bit, and says at what loss.",
	),
	"nbits/group-index": remark(
		"The group index gives each block another number of rows, so that no order of rows makes blocks of them. `--requantize` quantizes the weight anew, and says at what loss.",
	),
	"nbits/opset": remark(
		"DequantizeLinear takes blocks from operator set 21 on (2-bit codes: 25), and the model cannot be raised to it.",
	),
	"nbits/copied": remark(
		"The packed weight is read by another operator, too, which needs it as it was: the model holds the weight twice.",
	),
	"embedding/unsupported": remark(
		"The table of a GatherBlockQuantized is none that qgraph reads: a matrix of 4-bit or 8-bit codes with constant scales.",
	),
	"embedding/one-scale": warning(
		"An embedding table was given one scale, which represents it less exactly; the figure says how well. `--lower-gather-block-quantized-table float` is exact.",
	),
	"weight/packed": remark(
		"The weight is packed for MatMulNBits, which is no operator of ONNX. `--lower-matmul-nbits` makes it a DequantizeLinear and a MatMul.",
	),
	"qdq/opset": remark(
		"Quantizers of ONNX Runtime's own domain become those of ONNX in operator set 21, to which the model cannot be raised.",
	),
	"qdq/bound": warning(
		"Nothing but the weight and the input says in what range an output lies. The range taken is sound but several times wider than what occurs, which costs bits: calibrate the model, so that the output has a QuantizeLinear of its own.",
	),
	"qdq/no-encoding": remark(
		"An output needs to be quantized, and neither its readers nor the weight say in what range it lies. Calibrate the model.",
	),
	"qdq/derived": remark(
		"The encodings file has nothing for this value; its range follows from those of the values that it is made of, or that are made of it.",
	),
	"qdq/float": remark(
		"The target does not compute the operator right between quantized values; it stays on floats, with Q/DQ around it.",
	),
	"qdq/guarded": remark(
		"The HTP misreads channels whose products are less than 2^-24 steps of the output, and biases of more than 2^31 steps of the products. The scales of such channels were raised, as AIMET does it.",
	),
	"qdq/io": remark(
		"An input or output of the model is codes now, as `io: integer` asks; the message says what they stand for.",
	),
	"qdq/mask": remark(
		"A mask that is added to the scores of an attention, or takes their place, goes so far down that the scores would have no codes left. It was raised to what makes a weight of zero behind the softmax all the same.",
	),
	"qdq/unused": remark(
		"Encodings are of tensors that the model does not have: of other operators than those that it has now, where passes fused or folded some, or of another model.",
	),
	"activation/rank": remark(
		"The HTP's MatMul takes ranks 2 to 4, and crashes on others. Reshaping needs fixed dimensions: give them by --dim.",
	),
	"operator/kept": remark(
		"An operator breaks a rule of the target, and the remedy needs what the model does not have: fixed shapes, ranges, codes that nobody else reads.",
	),
	"bias/kept": remark("A bias could not be stored with the scales of the products; the message says why."),
	"gemm/kept": remark("The Gemm cannot be written as MatMul and Add; the message says why."),
	"lpbq/operator": remark(
		"LPBQ exists for the right operand of MatMul and Gemm and for Conv; left operands and ConvTranspose stay as they are.",
	),
	"lpbq/already": remark("The weight has LPBQ scales already."),
	"lpbq/malformed": warning(
		"The weight has LPBQ scales, but not such as LPBQ has: UINT8 integers from 1 to 16, one a block, and a normal FLOAT for each channel.",
	),
	"lpbq/kernel": remark(
		"The scales of one block differ over the positions of the kernel; LPBQ has one for all. `--bq-to-lpbq-fit search` finds one.",
	),
	"lpbq/no-float-weight": remark("The float model has no weight of this name and shape to take as reference."),
	"lpbq/repaired": warning(
		"Blocks had negative scales, which the HTP does not take. They were turned positive and their codes chosen anew.",
	),
	"lpbq/htp-gemm": warning(
		"The HTP's compiler drops the bias and ignores alpha of a Gemm with LPBQ weights, without a word. Make it MatMul and Add before compiling for the HTP; other runtimes compute it right.",
	),
	"lpbq/htp-block-size": warning(
		"The HTP computes this block size wrong: it wants 16 or a multiple of 32, and K a multiple of 32 (docs/lpbq.md).",
	),
	"split/activations": remark(
		"The operator reads or makes values of 8 bits or floats: between these, splitting its weight gains nothing.",
	),
	"split/scales": remark("Some block scales of the weight are 0 or negative, which cannot be split into two."),
	"silu/float": remark("A Sigmoid of values that are not quantized is computed in float."),
	"silu/8-bit": remark(
		"Between values of 8 bits a Sigmoid is left in float, as it was: where the HTP has float16, that is closer.",
	),
	"silu/reader": remark(
		"A Sigmoid is quantized where it only goes into products with values that are quantized as its argument is.",
	),
	...OPERATOR_CODES,
} as const satisfies Record<string, CodeInfo>;

export type DiagnosticCode = keyof typeof CODES;

/** Where something is: any part may be missing. */
export interface Location {
	/** Path of graphs, as GraphSite.path. */
	readonly graph?: string;
	readonly node?: string;
	readonly value?: string;
	readonly file?: string;
}

/** Something that a pass or the verifier has to say. One sentence, lower case, names in single quotes. */
export interface Diagnostic {
	readonly code: DiagnosticCode;
	readonly severity: Severity;
	readonly message: string;
	readonly at: Location;
	readonly notes: readonly string[];
}

/** Everything that goes wrong for a reason outside qgraph; a plain Error is a bug in qgraph. */
export class QGraphError extends Error {
	/** Stable: programs may rely on it. */
	readonly code: DiagnosticCode;
	readonly at: Location;

	constructor(code: DiagnosticCode, message: string, at: Location = {}, options?: ErrorOptions) {
		super(message, options);
		this.name = "QGraphError";
		this.code = code;
		this.at = at;
	}
}
