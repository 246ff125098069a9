import { PRECISION_FACTS } from "../../recipe/precision.js";
import type { PassContext } from "../infra/pass.js";
import { gptqInputs } from "./gptq-inputs.js";
import { ImportanceFile, type InputMoments, MomentsFolder } from "./input-statistics.js";
import type { WeightFitOptions } from "./quantized-weight.js";
import type { RecipeGroup } from "./recipe-groups.js";

export type Statistics = Pick<WeightFitOptions, "importance" | "moments">;

/** What is known of the inputs of weights. */
export class KnownStatistics {
	readonly #importance: string;
	readonly #report: PassContext<unknown>["report"];
	readonly #file: ImportanceFile | undefined;
	readonly #folder: MomentsFolder | undefined;

	/**
	 * @param importance a file, or nothing.
	 * @param hessian a folder, or nothing.
	 */
	constructor(
		{ importance, hessian }: { readonly importance: string; readonly hessian: string },
		report: PassContext<unknown>["report"],
	) {
		this.#importance = importance;
		this.#report = report;
		this.#file = importance === "" ? undefined : new ImportanceFile(importance);
		this.#folder = hessian === "" ? undefined : new MomentsFolder(hessian);
	}

	/** @param observed moments that count more than those of the options. */
	finder(observed: MomentsFolder | undefined): (group: RecipeGroup) => Statistics {
		const folders = [observed, this.#folder].filter((folder) => folder !== undefined);
		return (group) => this.#find(group, folders);
	}

	#find({ weight, decision: { unit }, setting }: RecipeGroup, folders: readonly MomentsFolder[]): Statistics {
		const [site] = weight.sites;
		if (site === undefined || PRECISION_FACTS[setting.precision].isFloat)
			return { importance: undefined, moments: undefined };
		const name = weight.constant.value.name;
		const at = { graph: unit.graph, node: unit.node, value: name };
		const inputs = gptqInputs(site, PRECISION_FACTS[setting.precision].isBlock);
		let moments: InputMoments | undefined;
		if (inputs !== undefined) for (const folder of folders) moments ??= folder.find(name, inputs);
		const channels = site.stored.tensor.shape[site.axes!.blockAxis]!;
		const factors = this.#file?.find(unit, channels);
		const missing = [
			...(this.#file !== undefined && !factors ? [`'${this.#importance}' has no importance weights for`] : []),
			...(folders.length > 0 && !moments ? ["there are no second moments of the inputs of"] : []),
		];
		for (const what of missing) this.#report("recipe/no-statistics", `${what} weight '${name}'`, at);
		if (moments?.rows !== undefined && moments.rows < ROWS_PER_INPUT * moments.depth) {
			const seen = `of its ${moments.depth} inputs samples gave ${moments.rows} rows`;
			const message = `weight '${name}': ${seen}; several times as many rows would tell more`;
			this.#report("recipe/few-rows", message, at);
		}
		return { importance: factors, moments };
	}
}

/** With fewer rows of samples much of what second moments show is chance. */
const ROWS_PER_INPUT = 2;
