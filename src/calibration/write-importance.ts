import { renameSync, rmSync, writeFileSync } from "node:fs";
import { type NumpyArray, writeNpz } from "../arrays/npz.js";
import { QGraphError } from "../diagnostics.js";
import { bytesOf } from "../ir/tensor.js";
import { reasonOf } from "../onnx/io-error.js";
import type { Calibration } from "./calibration.js";

/**
 * Writes the mean squares of input channels as `apply-precision-recipe` reads them: .npz, or JSON where the name ends so.
 *
 * @throws QGraphError `write/failed`.
 */
export function writeImportance(meanSquares: Calibration["meanSquares"], file: string): void {
	const temporary = `${file}.${process.pid}.part`;
	try {
		if (file.endsWith(".json")) {
			const lists = [...meanSquares].map(([name, values]) => [name, [...values]] as const);
			writeFileSync(temporary, JSON.stringify(Object.fromEntries(lists)));
		} else writeNpz(temporary, new Map([...meanSquares].map(([name, values]) => [name, arrayOf(values)] as const)));
		renameSync(temporary, file);
	} catch (error) {
		rmSync(temporary, { force: true });
		throw new QGraphError("write/failed", `cannot write '${file}': ${reasonOf(error)}`, { file }, { cause: error });
	}
}

function arrayOf(values: Float64Array): NumpyArray {
	return { type: "float32", shape: [values.length], bytes: bytesOf(Float32Array.from(values)) };
}
