import { createHash } from "node:crypto";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { QGraphError } from "../diagnostics.js";
import type { Model } from "../ir/model.js";
import { nodeLabel } from "../ir/walk.js";
import { reasonOf } from "../onnx/io-error.js";
import type { StoredSquares } from "./channel-totals.js";
import type { StoredTotals } from "./value-totals.js";

/** What an interrupted calibration had found out. */
export interface StoredCalibration {
	/** Samples of the first round that are in it. */
	readonly samples: number;
	readonly values: readonly StoredTotals[];
	readonly squares: StoredSquares;
	readonly counted: readonly (readonly [name: string, first: number])[];
}

const VERSION = 1;

/** The file that keeps an interrupted calibration. */
export class CalibrationState {
	readonly #file: string;
	readonly #belongsTo: { readonly model: string; readonly data: string; readonly asked: string };

	constructor(
		file: string,
		model: Model,
		data: string,
		asked: { readonly histograms?: boolean | undefined; readonly meanSquares?: boolean | undefined },
	) {
		const { histograms = false, meanSquares = false } = asked;
		this.#file = file;
		this.#belongsTo = { model: fingerprint(model), data, asked: JSON.stringify({ histograms, meanSquares }) };
	}

	/**
	 * What the file has; undefined where there is none.
	 *
	 * @throws QGraphError `calibrate/state` where it cannot be read or belongs to another model, other samples or options.
	 */
	read(): StoredCalibration | undefined {
		let stored: StoredCalibration & { readonly version: number; readonly belongsTo: Record<string, string> };
		try {
			stored = JSON.parse(readFileSync(this.#file, "utf8"));
		} catch (error) {
			if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
			throw this.#error(reasonOf(error));
		}
		if (stored.version !== VERSION) throw this.#error("it is of another version");
		for (const [what, value] of Object.entries(this.#belongsTo)) {
			if (stored.belongsTo?.[what] === value) continue;
			const names: Record<string, string> = { model: "another model", data: "other samples", asked: "other options" };
			throw this.#error(`it belongs to ${names[what]}; delete it to begin anew`);
		}
		return stored;
	}

	/** @throws QGraphError `write/failed`. */
	write(state: StoredCalibration): void {
		const temporary = `${this.#file}.${process.pid}.part`;
		try {
			writeFileSync(temporary, JSON.stringify({ version: VERSION, belongsTo: this.#belongsTo, ...state }));
			renameSync(temporary, this.#file);
		} catch (error) {
			rmSync(temporary, { force: true });
			const message = `cannot write '${this.#file}': ${reasonOf(error)}`;
			throw new QGraphError("write/failed", message, { file: this.#file }, { cause: error });
		}
	}

	remove(): void {
		rmSync(this.#file, { force: true });
	}

	#error(problem: string): QGraphError {
		return new QGraphError("calibrate/state", `cannot go on with '${this.#file}': ${problem}`, { file: this.#file });
	}
}

/** Of the structure of a model; weights are too much to read. */
export function fingerprint({ graph }: Model): string {
	const hash = createHash("sha256");
	for (const value of graph.inputs) hash.update(`${value.name} ${JSON.stringify(value.type)}\n`);
	for (const node of graph.nodes) hash.update(`${nodeLabel(node)} ${node.outputs.map(({ name }) => name).join()}\n`);
	return hash.digest("hex");
}
