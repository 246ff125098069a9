import { isDeepStrictEqual } from "node:util";
import { CODES, type Diagnostic, type DiagnosticCode, QGraphError } from "../diagnostics.js";
import { encodingFor } from "../encodings/encode.js";
import type { Encodings, EncodingsVersion, TensorEncoding } from "../encodings/encoding.js";
import type { PlacedEncoding } from "../encodings/placement.js";
import { headerOf } from "../encodings/write-encodings.js";
import type { Model } from "../ir/model.js";
import { findQuantizedTensors } from "../passes/support/quantized-tensors.js";

export interface ExportEncodingsOptions {
	/** 1.0.0 unless another is named. */
	readonly version?: EncodingsVersion;
	/** With the biases that are stored as INT32; unless it says so as AIMET: from version 2.0.0 on. */
	readonly bias?: boolean;
	/** Who the file says made it; qgraph unless another is named. */
	readonly producer?: { readonly package: string; readonly version: string };
}

/** Encodings that a model has, and what of its quantization an encodings file has no way to say. */
export interface ExportedEncodings {
	readonly encodings: Encodings;
	readonly diagnostics: readonly Diagnostic[];
}

/**
 * What a quantized model says of how its tensors are quantized, as an encodings file for AIMET or QAIRT; the model that the
 * file belongs to is what the pass `remove-qdq` makes of it. Reads scales and zero points, not weights; they are in memory
 * as 8 bytes a number.
 */
export function exportEncodings(model: Model, options: ExportEncodingsOptions = {}): ExportedEncodings {
	const { version = "1.0.0", producer = { package: "qgraph", version: "" } } = options;
	const withBias = options.bias ?? version.startsWith("2");
	const found = new Map<string, PlacedEncoding>();
	const entries: TensorEncoding[] = [];
	const diagnostics: Diagnostic[] = [];
	const report = (code: DiagnosticCode, message: string, value: string) =>
		diagnostics.push({ code, severity: CODES[code].severity, message, at: { value }, notes: [] });
	for (const { name, encoding, kind } of findQuantizedTensors(model)) {
		if (typeof encoding === "string") {
			report("encodings/not-representable", `the encoding of '${name}' cannot be written: ${encoding}`, name);
			continue;
		}
		if (encoding.codes.bits === 32 && !withBias) continue;
		const before = found.get(name);
		found.set(name, before ?? encoding);
		if (before !== undefined) {
			if (isDeepStrictEqual(before, encoding)) continue;
			report("encodings/not-representable", `'${name}' is quantized in two ways; the file has the first`, name);
			continue;
		}
		try {
			entries.push(encodingFor(version, name, kind === "constant" ? "parameter" : "activation", encoding));
		} catch (error) {
			if (!(error instanceof QGraphError)) throw error;
			report("encodings/not-representable", error.message, name);
		}
	}
	return { encodings: { version, entries, header: headerOf(producer), unknownFields: new Map() }, diagnostics };
}
