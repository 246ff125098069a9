import { readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { numbersOf } from "../../arrays/element-type.js";
import { type NumpyArray, readNpy, readNpz } from "../../arrays/npz.js";
import { QGraphError } from "../../diagnostics.js";
import { layerFromNames, roleFromNames } from "../../recipe/role.js";
import type { Unit } from "../../recipe/unit.js";
import type { GptqInputs } from "./gptq-inputs.js";
import { readLlamaImportance } from "./llama-importance.js";

/**
 * How much each input channel of a weight matters: the mean square of its inputs, or anything in proportion to it. From
 * .npz or JSON (weight name -> list of numbers), or an importance matrix of llama.cpp.
 */
export class ImportanceFile {
	readonly #file: string;
	readonly #byName: ReadonlyMap<string, ArrayLike<number>>;
	/** By role and layer, for names of other worlds: `blk.3.attn_q.weight` is q_proj of layer 3. */
	readonly #byRole: Map<string, ArrayLike<number>> = new Map();

	/** @throws QGraphError `recipe/statistics` for a file that is none of these. */
	constructor(file: string) {
		this.#file = file;
		this.#byName = readImportance(file);
		for (const [name, values] of this.#byName) {
			const key = roleKey([name]);
			if (key !== undefined) this.#byRole.set(key, values);
		}
	}

	/**
	 * The factors of the weight of `unit`, scaled to a mean of 1; undefined where the file has none.
	 *
	 * @throws QGraphError `recipe/statistics` where there are not `depth` of them, or one is negative or not finite.
	 */
	find(unit: Unit, depth: number): Float64Array | undefined {
		const { weight = "", role, layer } = unit;
		const values = this.#byName.get(weight) ?? (role && this.#byRole.get(`${role} ${layer}`));
		if (values === undefined) return undefined;
		if (values.length !== depth) {
			throw statisticsError(
				this.#file,
				`'${weight}' has ${values.length} numbers, expected ${depth}, one an input channel`,
			);
		}
		const factors = Float64Array.from(values);
		const mean = factors.reduce((sum, value) => sum + value, 0) / depth;
		if (!factors.every((value) => value >= 0 && value < Number.POSITIVE_INFINITY)) {
			throw statisticsError(this.#file, `a number of '${weight}' is negative or not finite`);
		}
		return mean === 0 ? undefined : factors.map((value) => value / mean);
	}
}

function roleKey(names: readonly string[]): string | undefined {
	const layer = layerFromNames(names);
	const role = roleFromNames(names, layer);
	return role === undefined ? undefined : `${role} ${layer}`;
}

function readImportance(file: string): Map<string, ArrayLike<number>> {
	if (file.endsWith(".npz")) return new Map([...readNpz(file)].map(([name, array]) => [name, floatsIn(array)]));
	const bytes = readBytes(file);
	return file.endsWith(".json") ? readJson(file, bytes) : readLlamaImportance(file, bytes);
}

function readJson(file: string, bytes: Buffer): Map<string, ArrayLike<number>> {
	let content: unknown;
	try {
		content = JSON.parse(bytes.toString("utf8"));
	} catch (error) {
		throw statisticsError(file, error instanceof Error ? error.message : String(error));
	}
	const entries = typeof content === "object" && content !== null ? Object.entries(content) : [];
	const odd = entries.find(([, list]) => !Array.isArray(list) || list.some((value) => typeof value !== "number"));
	if (entries.length === 0 || odd !== undefined) {
		throw statisticsError(file, "it is no JSON object of weight names with lists of numbers");
	}
	return new Map(entries as [string, number[]][]);
}

/** Second moments of the inputs of a weight. */
export interface InputMoments {
	/** Means of products, [groups, depth, depth]. */
	readonly matrices: Float64Array;
	/** Inputs of a channel; of a convolution channels times positions of the kernel. */
	readonly depth: number;
	readonly groups: number;
	/** Rows of inputs that they are means of; undefined where nothing says. */
	readonly rows: number | undefined;
	/**
	 * Means of products of what the layer's output is off, for weights before it that are codes already, and its inputs,
	 * [channels, depth], group by group; undefined where nothing is to be made good.
	 */
	readonly errors?: Float32Array | undefined;
}

/** The file that says how many rows the moments of each weight are means of. */
const COUNTS_FILE = "rows.json";

/**
 * Files of second moments of the inputs of weights: a folder of .npy files named after the weights, [depth, depth], or
 * [groups, depth, depth] for convolutions in groups. Beside them may be what outputs are off times inputs,
 * [channels, depth], in files that end in `.errors.npy`.
 */
export class MomentsFolder {
	readonly #folder: string;
	readonly #rows: Readonly<Record<string, unknown>>;

	/** @throws QGraphError `recipe/statistics` where there is no such folder. */
	constructor(folder: string) {
		this.#folder = folder;
		if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) {
			throw statisticsError(folder, "there is no such folder");
		}
		this.#rows = MomentsFolder.rowsIn(folder);
	}

	/** Where the moments of a weight are, or would be. */
	static fileName(weight: string): string {
		return `${encodeURIComponent(weight)}.npy`;
	}

	/** Where products of the errors of a weight's outputs and its inputs are, or would be. */
	static errorsFileName(weight: string): string {
		return `${encodeURIComponent(weight)}.errors.npy`;
	}

	/** Notes how many rows the moments of weights are means of. */
	static addRows(folder: string, rows: ReadonlyMap<string, number>): void {
		const all = { ...MomentsFolder.rowsIn(folder), ...Object.fromEntries(rows) };
		writeFileSync(path.join(folder, COUNTS_FILE), JSON.stringify(all, null, "\t"));
	}

	private static rowsIn(folder: string): Record<string, unknown> {
		const file = path.join(folder, COUNTS_FILE);
		if (statSync(file, { throwIfNoEntry: false }) === undefined) return {};
		try {
			return JSON.parse(readBytes(file).toString("utf8"));
		} catch (error) {
			throw statisticsError(file, error instanceof Error ? error.message : String(error));
		}
	}

	/**
	 * The moments of a weight's input; undefined where there are none.
	 *
	 * @throws QGraphError `recipe/statistics` where they are of another size.
	 */
	find(weight: string, { groups, depth, channels }: GptqInputs): InputMoments | undefined {
		const file = path.join(this.#folder, MomentsFolder.fileName(weight));
		if (statSync(file, { throwIfNoEntry: false }) === undefined) return undefined;
		const array = readShaped(file, groups === 1 ? [depth, depth] : [groups, depth, depth]);
		const rows = this.#rows[weight];
		return {
			matrices: Float64Array.from(floatsIn(array)),
			depth,
			groups,
			rows: typeof rows === "number" && rows > 0 ? rows : undefined,
			errors: this.#errors(weight, channels, depth),
		};
	}

	#errors(weight: string, channels: number, depth: number): Float32Array | undefined {
		const file = path.join(this.#folder, MomentsFolder.errorsFileName(weight));
		if (statSync(file, { throwIfNoEntry: false }) === undefined) return undefined;
		return Float32Array.from(floatsIn(readShaped(file, [channels, depth])));
	}
}

/** Reads an array that has to have a shape. */
function readShaped(file: string, expected: readonly number[]): NumpyArray {
	const array = readNpy(file);
	if (array.shape.join() === expected.join()) return array;
	throw statisticsError(file, `it has shape [${array.shape.join(", ")}], expected [${expected.join(", ")}]`);
}

/** The mean squares of the inputs that second moments are of, [groups, depth]. */
export function meanSquaresOf({ matrices, depth, groups }: InputMoments): Float64Array {
	return Float64Array.from({ length: groups * depth }, (_, i) => matrices[i * depth + (i % depth)]!);
}

/**
 * What inputs count as factors of the input channels of a weight, scaled to a mean of 1; undefined where none counts.
 *
 * @param squares [groups, depth].
 * @param channels of a group; `depth` is a multiple of it.
 */
export function importanceOf(squares: Float64Array, depth: number, channels: number): Float64Array | undefined {
	const positions = depth / channels;
	const sums = new Float64Array(channels);
	squares.forEach((square, index) => {
		sums[Math.floor((index % depth) / positions)]! += Math.max(0, square);
	});
	const mean = sums.reduce((sum, value) => sum + value, 0) / channels;
	return mean > 0 ? sums.map((value) => value / mean) : undefined;
}

function floatsIn({ type, bytes }: NumpyArray): ArrayLike<number> {
	return numbersOf(type, Uint8Array.from(bytes).buffer);
}

function readBytes(file: string): Buffer {
	try {
		return readFileSync(file);
	} catch (error) {
		throw statisticsError(file, error instanceof Error ? error.message : String(error));
	}
}

function statisticsError(file: string, problem: string): QGraphError {
	return new QGraphError("recipe/statistics", `cannot use '${file}': ${problem}`, { file });
}
