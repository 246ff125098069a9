import { readFileSync } from "node:fs";
import { QGraphError } from "../../diagnostics.js";
import type { Model } from "../../ir/model.js";
import type { Tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import { allGraphs } from "../../ir/walk.js";
import type { Conversion } from "./conversion.js";

/** What exporters put behind the name of a weight when they store its codes. */
const SUFFIXES = ["_codes", "_quantized", "_dequantized", "_int4", "_q4", "_Q4", "_DQ_Q4", "_DQ", "_dq", "_q", "_Q"];
const FLOAT_TYPES: readonly number[] = [DataType.FLOAT, DataType.FLOAT16, DataType.BFLOAT16];

/** The weights of a float model, to take as reference for the quantized ones. */
export class FloatWeights {
	readonly #tensors: Map<string, Tensor> = new Map();
	readonly #names: ReadonlyMap<string, string>;

	/** `mapFile`: JSON object, names in the quantized model -> names in the float model; empty for none. */
	constructor(model: Model, mapFile: string) {
		for (const { graph } of allGraphs(model)) {
			for (const value of graph.initializers) {
				if (value.initializer && FLOAT_TYPES.includes(value.initializer.dtype)) {
					this.#tensors.set(value.name, value.initializer);
				}
			}
		}
		this.#names = mapFile === "" ? new Map() : readNameMap(mapFile);
	}

	/** The float weight of a conversion: by the map, the name of the codes or of the dequantized weight, suffixes aside. */
	find({ sites, dequantizations }: Conversion): Tensor | undefined {
		const { weightName, stored } = sites[0]!;
		const dequantized = dequantizations[0]!.node.outputs[0]?.name ?? "";
		const candidates = [weightName, dequantized].flatMap((name) => [
			this.#names.get(name) ?? name,
			...SUFFIXES.filter((suffix) => name.endsWith(suffix)).map((suffix) => name.slice(0, -suffix.length)),
		]);
		return candidates
			.map((name) => this.#tensors.get(name))
			.find((tensor) => tensor !== undefined && tensor.shape.join() === stored.tensor.shape.join());
	}
}

function readNameMap(file: string): Map<string, string> {
	let parsed: unknown;
	try {
		parsed = JSON.parse(readFileSync(file, "utf8"));
	} catch (error) {
		const reason = error instanceof Error ? error.message : String(error);
		throw new QGraphError("pass/failed", `cannot read the name map '${file}': ${reason}`, { file }, { cause: error });
	}
	const entries = typeof parsed === "object" && parsed !== null && !Array.isArray(parsed) ? Object.entries(parsed) : [];
	if (entries.length === 0 || entries.some(([, name]) => typeof name !== "string")) {
		throw new QGraphError("pass/failed", `the name map '${file}' is not a JSON object of names`, { file });
	}
	return new Map(entries as [string, string][]);
}
