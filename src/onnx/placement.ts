import path from "node:path";
import { type DataFile, FileData, type TensorData } from "../ir/data.js";
import type { Model } from "../ir/model.js";
import type { Tensor } from "../ir/tensor.js";
import { allTensors } from "../ir/walk.js";
import { MissingData } from "./external-data.js";
import { EXTERNAL_ALIGNMENT, MIN_EXTERNAL_BYTES } from "./limits.js";
import {
	type ExternalRange,
	isFromFile,
	isStoredExternally,
	type Placement,
	storedLocation,
	type TensorRole,
} from "./tensor-codec.js";

/**
 * Where weights go. `auto`: data files that still fit as they are keep their names and bytes, else all external weights
 * go into one new data file; inline weights stay inline unless the file would exceed 2 GiB. `keep`: unchanged weights
 * stay in the data files that they are in, new ones get a file of their own. `inline`: into the model file.
 * `one-file`: everything above 1 KiB into one data file beside the model. Where a data file is missing, `auto` and `keep`
 * leave what the model says of it; the others refuse.
 */
export type ExternalDataPolicy = "auto" | "keep" | "inline" | "one-file";

/** Where a model was read from. */
export interface ModelSource {
	/** The file itself, links followed. */
	readonly path: string;
	/** Where its locations start: the folder of the path that the user gave. */
	readonly folder: string;
	/** Data files by location; those that are missing are not in it. */
	readonly files: ReadonlyMap<string, DataFile>;
	readonly missing: readonly string[];
	readonly externalTensors: number;
}

/** A run of bytes of the new data file. */
export interface DataRun {
	readonly offset: number;
	readonly data: TensorData;
}

export interface PlacementOptions {
	readonly policy: ExternalDataPolicy;
	/** The model file's name in the folder that it goes to. */
	readonly outputName: string;
	/** May data files keep their names? Not beside the input, which goes on using them, nor where one is the output's. */
	readonly mayKeepNames: boolean;
	/** Does the model not fit into 2 GiB with its inline weights? */
	readonly isTooLarge: boolean;
}

/** Distributes the tensors of one write over files. `place` is called once a tensor; then `runs` is complete. */
export class PlacementPlan {
	/** Name of the new data file, relative to the model. */
	readonly newLocation: string;
	/** What goes into the new data file, by rising offset. */
	readonly runs: DataRun[] = [];
	/** The files of `source` that tensors stay in, by location; where `newLocation` is one, under that name. */
	readonly keptFiles: Map<string, DataFile> = new Map();
	readonly #source: ModelSource | undefined;
	readonly #policy: ExternalDataPolicy;
	/** Do external tensors keep their offsets in their files? */
	readonly #keepsFiles: boolean;
	/** Does their only file get the new data file's name? */
	readonly #renamesFile: boolean;
	/** Do weights that the model file holds move to the data file? */
	readonly #movesInline: boolean;
	readonly #newIsExternal: boolean;
	readonly #shared: Map<string | TensorData, ExternalRange> = new Map();
	#end = 0;

	constructor(model: Model, source: ModelSource | undefined, options: PlacementOptions) {
		const { policy } = options;
		let external = 0;
		let grown = false;
		for (const tensor of new Set(allTensors(model))) {
			if (isStoredExternally(tensor)) external++;
			else grown ||= !isFromFile(tensor) && tensor.data.byteLength >= MIN_EXTERNAL_BYTES;
		}
		const externalBefore = source?.externalTensors ?? 0;
		this.#source = source;
		this.#policy = policy;
		this.#newIsExternal = external + externalBefore > 0;
		this.#movesInline = policy === "one-file" || options.isTooLarge;
		const fitsAsIs = external === externalBefore && !(this.#newIsExternal && grown) && !this.#movesInline;
		this.#renamesFile = policy === "auto" && !options.mayKeepNames && source?.files.size === 1;
		const mayKeepFiles = options.mayKeepNames || this.#renamesFile;
		this.#keepsFiles = policy === "keep" || (policy === "auto" && fitsAsIs && mayKeepFiles);
		this.newLocation = this.#freeName(`${options.outputName}.data`);
	}

	/** Bytes of the new data file. */
	get newBytes(): number {
		return this.#end;
	}

	place(tensor: Tensor, role: TensorRole): Placement {
		if (isStoredExternally(tensor)) return this.#placeStored(tensor);
		if (this.#policy === "inline" || role === "attribute" || tensor.data.byteLength < MIN_EXTERNAL_BYTES)
			return "inline";
		const isExternal = this.#movesInline || (this.#newIsExternal && !isFromFile(tensor));
		return isExternal ? this.#allocate(tensor.data) : "inline";
	}

	/** The place of a tensor that its file keeps in a data file. */
	#placeStored(tensor: Tensor): Placement {
		const { data } = tensor;
		const isLoose = this.#policy === "auto" || this.#policy === "keep";
		if (data instanceof MissingData && isLoose) return "stored";
		const location = storedLocation(tensor) ?? "";
		const file = this.#source?.files.get(location);
		if (this.#keepsFiles && file !== undefined && data instanceof FileData && data.file === file) {
			this.keptFiles.set(this.#renamesFile ? this.newLocation : location, file);
			if (!this.#renamesFile) return "stored";
			return { location: this.newLocation, offset: data.offset, length: data.byteLength };
		}
		return this.#policy === "inline" || data.byteLength === 0 ? "inline" : this.#allocate(data);
	}

	/** A place in the new data file; tensors that share bytes go on sharing them. */
	#allocate(data: TensorData): ExternalRange {
		const key = data instanceof FileData ? `${data.file.path}\0${data.offset}\0${data.byteLength}` : data;
		const known = this.#shared.get(key);
		if (known !== undefined) return known;
		const offset = Math.ceil(this.#end / EXTERNAL_ALIGNMENT) * EXTERNAL_ALIGNMENT;
		const range = { location: this.newLocation, offset, length: data.byteLength };
		this.runs.push({ offset, data });
		this.#end = offset + data.byteLength;
		this.#shared.set(key, range);
		return range;
	}

	/** `wanted`, or `wanted.2`, ... where a data file that stays has that name. */
	#freeName(wanted: string): string {
		const locations = this.#keepsFiles && !this.#renamesFile ? [...(this.#source?.files.keys() ?? [])] : [];
		const taken = new Set(locations.map((location) => path.posix.normalize(location)));
		let name = wanted;
		for (let copy = 2; taken.has(name); copy++) name = `${wanted}.${copy}`;
		return name;
	}
}
