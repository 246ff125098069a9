import { type CodeInfo, error } from "./code.js";

/** Codes of reading and writing files. */
export const FILE_CODES = {
	"data/short-read": error("A file ended before the bytes that the model points to. Fetch the file again."),
	"data/file-changed": error("A file of the model was changed after the model was read. Read the model again."),
	"onnx/not-found": error("The model file does not exist or cannot be read."),
	"onnx/not-a-model": error("The file is not an ONNX model: not a protobuf message with a graph in it."),
	"onnx/malformed": error("The file breaks off or is not valid protobuf. Export or download it again."),
	"onnx/too-deep": error("Messages are nested deeper than any ONNX runtime accepts; the file is broken or hostile."),
	"onnx/too-large": error("The model's structure, weights not counted, is larger than qgraph accepts."),
	"onnx/invalid-tensor": error("A tensor has a negative or impossible dimension."),
	"external-data/invalid": error("The entries that describe external data are missing, contradictory or not numbers."),
	"external-data/outside": error("External data must lie in the model's folder or below; this path leaves it."),
	"external-data/range": error("The range that a tensor points to does not lie within its data file."),
	"external-data/missing": error("A data file that the model points to is not there. Put it beside the model."),
	"graph/cycle": error(
		"Nodes of a graph need each other's results in a circle, so that none can run first. Break the cycle.",
	),
	"write/too-large": error("A protobuf file cannot exceed 2 GiB. Write the weights to external data."),
	"write/would-overwrite-input": error(
		"The output would replace a file that the input still needs. Choose another name.",
	),
	"write/exists": error("The output file exists. Use --force to replace it."),
	"write/failed": error("The output could not be written: disk full, no permission, no such folder."),
	"write/wrong-length": error("A pass produced fewer or more bytes than the tensor's shape needs; a bug in the pass."),
} as const satisfies Record<string, CodeInfo>;
