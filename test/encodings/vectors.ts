import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const FOLDER = fileURLToPath(new URL("../vectors/aimet-encodings/", import.meta.url));

/** Encodings files that aimet-onnx wrote: `gemm_transB0_128x24_b32-lpbq-1.0.0`. */
export const ENCODING_VECTORS: readonly string[] = readdirSync(FOLDER)
	.filter((file) => file.endsWith(".encodings"))
	.map((file) => file.replace(/\.encodings$/, ""))
	.sort();

export function vectorPath(name: string): string {
	return `${FOLDER}${name}.encodings`;
}
