import { linkSync, mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import { writeNpy } from "../arrays/npz.js";
import { QGraphError } from "../diagnostics.js";
import { bytesOf } from "../ir/tensor.js";
import { reasonOf } from "../onnx/io-error.js";
import { MomentsFolder } from "../passes/support/input-statistics.js";
import type { MomentInput } from "./moment-inputs.js";
import { triangleSize, wholeMatrix } from "./moment-sum.js";
import type { WeightInput } from "./watched-values.js";

interface Sums {
	readonly key: string;
	readonly sums: Float64Array;
	readonly rows: number;
}

/** {@link ChannelTotals} in a form that JSON has. */
export type StoredSquares = readonly {
	readonly key: string;
	readonly sums: readonly number[];
	readonly rows: number;
}[];

/** What was seen of the inputs of weights so far. */
export class ChannelTotals {
	readonly #weights: readonly WeightInput[];
	readonly #squares: Map<string, { sums: Float64Array; rows: number }> = new Map();
	readonly #moments: Map<string, { sums: Float64Array; rows: number }> = new Map();

	constructor(weights: readonly WeightInput[]) {
		this.#weights = weights;
	}

	addSquares(sums: Sums): void {
		add(this.#squares, sums);
	}

	addMoments(sums: Sums): void {
		add(this.#moments, sums);
	}

	/** The mean square of each input channel, by weight; of a grouped convolution the mean over its groups. */
	meanSquares(): Map<string, Float64Array> {
		const found = new Map<string, Float64Array>();
		for (const { key, weights } of this.#weights) {
			const total = this.#squares.get(key);
			if (total === undefined) continue;
			for (const { name, groups } of weights) {
				const depth = total.sums.length / groups;
				const means = new Float64Array(depth);
				total.sums.forEach((sum, channel) => {
					means[channel % depth]! += sum / total.rows / groups;
				});
				found.set(name, means);
			}
		}
		return found;
	}

	/**
	 * Writes the second moments of inputs, one file a weight, and forgets them. Weights that share an input share a file.
	 *
	 * @throws QGraphError `write/failed`.
	 */
	writeMoments(inputs: readonly MomentInput[], folder: string): void {
		try {
			this.#writeMoments(inputs, folder);
		} catch (error) {
			const message = `cannot write second moments into '${folder}': ${reasonOf(error)}`;
			throw new QGraphError("write/failed", message, { file: folder }, { cause: error });
		}
	}

	#writeMoments(inputs: readonly MomentInput[], folder: string): void {
		mkdirSync(folder, { recursive: true });
		const counts = new Map<string, number>();
		for (const { key, depth, groups, weights } of inputs) {
			const total = this.#moments.get(key);
			if (total === undefined) continue;
			const means = new Float32Array(groups * depth * depth);
			const size = triangleSize(depth);
			for (let group = 0; group < groups; group++) {
				const triangle = total.sums.subarray(group * size, (group + 1) * size);
				means.set(wholeMatrix(triangle, depth, total.rows), group * depth * depth);
			}
			const shape = groups === 1 ? [depth, depth] : [groups, depth, depth];
			let written: string | undefined;
			for (const name of weights) {
				const file = path.join(folder, MomentsFolder.fileName(name));
				rmSync(file, { force: true });
				if (written === undefined || !linked(written, file)) {
					writeNpy(file, { type: "float32", shape, bytes: bytesOf(means) });
				}
				written ??= file;
				counts.set(name, total.rows);
			}
			this.#moments.delete(key);
		}
		MomentsFolder.addRows(folder, counts);
	}

	store(): StoredSquares {
		return [...this.#squares].map(([key, { sums, rows }]) => ({ key, sums: [...sums], rows }));
	}

	restore(stored: StoredSquares): void {
		for (const { key, sums, rows } of stored) this.#squares.set(key, { sums: Float64Array.from(sums), rows });
	}
}

function add(totals: Map<string, { sums: Float64Array; rows: number }>, { key, sums, rows }: Sums): void {
	const total = totals.get(key);
	if (total === undefined) {
		totals.set(key, { sums, rows });
		return;
	}
	for (let index = 0; index < sums.length; index++) total.sums[index]! += sums[index]!;
	total.rows += rows;
}

/** Gives a file a second name; false where the file system has no such thing. */
function linked(file: string, name: string): boolean {
	try {
		linkSync(file, name);
		return true;
	} catch {
		return false;
	}
}
