import { type CodeInfo, remark, warning } from "./code.js";

/** Codes of passes that write operators as others: they fuse, fold and lower. */
export const OPERATOR_CODES = {
	"fuse/opset": remark(
		"The operator that the subgraph would become is not in the operator set that the model imports. `--upgrade-opset` raises that.",
	),
	"fuse/shared": remark("A value inside of the subgraph is read elsewhere, too, so that the subgraph has to stay."),
	"fuse/quantized": remark(
		"The operators of the subgraph have Q/DQ between them. The option `quantized` of the pass says whether these may go away.",
	),
	"fuse/type": remark("Casts in the subgraph give another element type than goes in, or types are not known."),
	"fuse/axis": remark("The subgraph normalizes over other axes than the last one."),
	"fuse/parameter": remark("The scale or the bias of the subgraph is not of the form that the operator takes."),
	"lower/unsupported": remark(
		"The operator is used in a way that no standard operators stand for; the message says which.",
	),
	"fold/condition": remark(
		"An If chooses its branch when the model runs, which the HTP cannot. `--dim` may settle it, or `--input-value` where it follows from an input.",
	),
	"if/kept": remark(
		"An If whose condition is data stays: a branch may fail or be random where it is not taken, or the branches' results are not known to have one shape.",
	),
	"doubles/kept": remark(
		"DOUBLE, which the HTP has not, stays where an input of the model or an operator of another domain than ONNX's has it.",
	),
	"doubles/output": warning("An output of the model was computed in DOUBLE, and is FLOAT now."),
	"lower/shape": remark("What comes out depends on a length that is not known. `--dim` fixes those of inputs."),
	"fuse/no-gelu": remark("An Erf that is not part of GELU as anybody writes it. The HTP has no Erf."),
	"dynamic/form": remark(
		"The product of codes is none whose input a DynamicQuantizeLinear quantizes and whose sums are cast to FLOAT and multiplied by both scales, as quantize_dynamic writes it.",
	),
	"dynamic/shared": remark(
		"Sums of products of codes are read by something else than the scaling, so that they have to stay.",
	),
	"dynamic/weight": remark(
		"The weight of a product of codes is no constant of 8-bit codes: it is computed, an input, or may be replaced by the caller.",
	),
	"dynamic/scale": remark(
		"The scale or the zero point of a weight is no constant number, nor one a channel, of the type that DequantizeLinear takes.",
	),
	"dynamic/opset": remark(
		"DequantizeLinear takes one scale a channel from operator set 13 on, to which the model cannot be raised.",
	),
} as const satisfies Record<string, CodeInfo>;
