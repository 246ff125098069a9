import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const folder = mkdtempSync(path.join(tmpdir(), "qgraph-encodings-"));
let count = 0;

/** A file that holds `content` as JSON; returns its path. */
export function encodingsFile(content: object | string): string {
	const file = path.join(folder, `${count++}.encodings`);
	writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
	return file;
}

/** A file of version 2.0.0 with these entries. */
export function version2File(...entries: readonly object[]): string {
	return encodingsFile({ version: "2.0.0", encodings: entries });
}

/** A file of version 1.0.0. */
export function version1File(parameters: readonly object[], activations: readonly object[] = []): string {
	return encodingsFile({ version: "1.0.0", param_encodings: parameters, activation_encodings: activations });
}
