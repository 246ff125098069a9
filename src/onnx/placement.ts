import path from "node:path";
import { type DataFile, FileData, type TensorData } from "../ir/data.js";
import type { Model } from "../ir/model.js";
import type { Tensor } from "../ir/tensor.js";
import { allTensors } from "../ir/walk.js";
import { EXTERNAL_ALIGNMENT, MAX_MODEL_BYTES, MIN_EXTERNAL_BYTES, STRUCTURE_RESERVE } from "./limits.js";
import { isFromFile, isStoredExternally, type Placement, storedPlacement } from "./tensor-codec.js";

/**
 * Where weights go. `auto`: data files that still fit as they are keep their names and bytes, else all external weights
 * go into one new data file; inline weights stay inline unless the file would exceed 2 GiB. `keep`: unchanged weights
 * stay in the data files that they are in, new ones get a file of their own. `inline`: into the model file.
 * `one-file`: everything above 1 KiB into one data file beside the model.
 */
export type ExternalDataPolicy = "auto" | "keep" | "inline" | "one-file";

/** Where a model was read from. */
export interface ModelSource {
	readonly path: string;
	/** Data files by location. */
	readonly files: ReadonlyMap<string, DataFile>;
	readonly externalTensors: number;
}

/** A run of bytes of the new data file. */
export interface DataRun {
	readonly offset: number;
	readonly data: TensorData;
}

/** Distributes the tensors of one write over files. `place` is called once a tensor; then `runs` is complete. */
export class PlacementPlan {
	/** Name of the new data file, relative to the model. */
	readonly newLocation: string;
	/** What goes into the new data file, by rising offset. */
	readonly runs: DataRun[] = [];
	/** Do external tensors keep the files and the offsets that they have? */
	readonly keepsFiles: boolean;
	readonly #policy: ExternalDataPolicy;
	readonly #spillsInline: boolean;
	readonly #newIsExternal: boolean;
	readonly #shared: Map<string, Placement> = new Map();
	#end = 0;

	/** `renames`: the output is another model file in the source's folder, so that data files cannot keep their names. */
	constructor(
		model: Model,
		source: ModelSource | undefined,
		outputPath: string,
		policy: ExternalDataPolicy,
		renames: boolean,
	) {
		const tensors = new Set(allTensors(model));
		const externalBefore = source?.externalTensors ?? 0;
		let externalNow = 0;
		let inlineBytes = 0;
		let grown = false;
		for (const tensor of tensors) {
			if (isStoredExternally(tensor)) externalNow++;
			else {
				inlineBytes += tensor.data.byteLength;
				grown ||= !isFromFile(tensor) && tensor.data.byteLength >= MIN_EXTERNAL_BYTES;
			}
		}
		this.newLocation = `${path.basename(outputPath)}.data`;
		this.#policy = policy;
		this.#newIsExternal = externalBefore + externalNow > 0;
		this.#spillsInline = policy === "one-file" || inlineBytes > MAX_MODEL_BYTES - STRUCTURE_RESERVE;
		const fitsAsIs = externalNow === externalBefore && !(this.#newIsExternal && grown) && !this.#spillsInline;
		this.keepsFiles = policy === "keep" || (policy === "auto" && fitsAsIs && !renames);
	}

	/** Bytes of the new data file. */
	get newBytes(): number {
		return this.#end;
	}

	place(tensor: Tensor): Placement {
		const { byteLength } = tensor.data;
		if (this.#policy === "inline" || tensor.strings !== undefined) return "inline";
		const stored = storedPlacement(tensor);
		if (stored !== undefined) return this.keepsFiles ? stored : this.#allocate(tensor.data);
		const external = this.#spillsInline || (this.#newIsExternal && !isFromFile(tensor));
		return external && byteLength >= MIN_EXTERNAL_BYTES ? this.#allocate(tensor.data) : "inline";
	}

	/** A place in the new data file; tensors that share bytes go on sharing them. */
	#allocate(data: TensorData): Placement {
		const key = data instanceof FileData ? `${data.file.path}\0${data.offset}\0${data.byteLength}` : undefined;
		const known = key === undefined ? undefined : this.#shared.get(key);
		if (known !== undefined) return known;
		const offset = Math.ceil(this.#end / EXTERNAL_ALIGNMENT) * EXTERNAL_ALIGNMENT;
		const placement = { location: this.newLocation, offset, length: data.byteLength };
		this.runs.push({ offset, data });
		this.#end = offset + data.byteLength;
		if (key !== undefined) this.#shared.set(key, placement);
		return placement;
	}
}
