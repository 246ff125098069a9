export type Severity = "error" | "warning" | "remark";

interface CodeInfo {
	readonly severity: Severity;
	/** What it means and what to do, for docs/diagnostics.md. */
	readonly explain: string;
}

const error = (explain: string): CodeInfo => ({ severity: "error", explain });
const warning = (explain: string): CodeInfo => ({ severity: "warning", explain });
const remark = (explain: string): CodeInfo => ({ severity: "remark", explain });

/** Every code there is. An error stops the work, a warning is a loss to know of, a remark says why something was left alone. */
export const CODES = {
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
	"write/too-large": error("A protobuf file cannot exceed 2 GiB. Write the weights to external data."),
	"write/would-overwrite-input": error(
		"The output would replace a file that the input still needs. Choose another name.",
	),
	"write/exists": error("The output file exists. Use --force to replace it."),
	"write/failed": error("The output could not be written: disk full, no permission, no such folder."),
	"write/wrong-length": error("A pass produced fewer or more bytes than the tensor's shape needs; a bug in the pass."),
	"pass/unknown-option": error("A pass was given an option that it does not have, or a value it does not take."),
	"pass/unknown": error("There is no pass of that name. `qgraph list-passes` names them."),
	"pass/failed": error("A pass broke the model or could not do its work."),
	"pass/aborted": error("The run was cancelled."),
	"verify/invalid": error("The model breaks a rule of ONNX that passes rely on."),
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
