import path from "node:path";
import type { NumpyArray } from "../arrays/npz.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import type { Node } from "../ir/node.js";
import { bytesOf } from "../ir/tensor.js";
import { serializeModel, writeModel } from "../onnx/file.js";
import { type BlockWeight, partOf, slabRanges } from "../passes/support/block-weight.js";
import { canMultiply } from "../passes/support/few-rows.js";
import { floatSource } from "../passes/support/float-source.js";
import { gptqInputs } from "../passes/support/gptq-inputs.js";
import type { MomentsFolder } from "../passes/support/input-statistics.js";
import { quantizeWeight } from "../passes/support/quantize-weight.js";
import { DEFAULT_EXPONENT, type QuantizeTools, type WeightFitOptions } from "../passes/support/quantized-weight.js";
import { groupDecisions, type RecipeGroup } from "../passes/support/recipe-groups.js";
import { scanScales } from "../passes/support/scale-scan.js";
import { choiceOfMax } from "../passes/support/spooled-codes.js";
import type { Interval } from "../quant/grid.js";
import { slabCountOf, slabStart } from "../quant/layout.js";
import type { ErrorSum, Spread } from "../quant/measure.js";
import { findUnits } from "../recipe/find-units.js";
import { PRECISION_FACTS } from "../recipe/precision.js";
import type { Setting } from "../recipe/recipe.js";
import { LiveSession } from "../runtime/live-session.js";
import { candidateName, type SensitivityUnit, type UnitPart } from "./find-sensitivity-units.js";
import { IsolatedOperator, roundingOf } from "./isolated-operator.js";
import type { InputKeeper } from "./layer-inputs.js";
import { constantModel, onlyConstants, operatorInputs } from "./part-model.js";
import { SharedSessions } from "./shared-sessions.js";

/** What a unit loses as one of its candidates. */
export interface CandidateNoise {
	readonly setting: Setting;
	/** Of codes and scales; 0 for units without weights. */
	readonly bytes: number;
	/** Of the weights; null for units without. */
	readonly weights: ErrorSum | null;
	/** Of what the operators make of the inputs that were kept; null where there are none. */
	readonly output: ErrorSum | null;
	/** Files of the models that make the quantized constants, one a part; for each operator the output that it reads. */
	readonly constants: readonly QuantizedPart[];
}

export interface QuantizedPart {
	readonly file: string;
	readonly outputs: readonly string[];
}

export interface IsolatedOptions {
	/** That units are of. */
	readonly model: Model;
	readonly fit: "max" | "search" | "gptq";
	/** Second moments of inputs, for `gptq`. */
	readonly moments: MomentsFolder | undefined;
	readonly tools: QuantizeTools;
	/** Where quantized constants are kept for later; undefined where nobody will ask for them. */
	readonly folder: string | undefined;
	/** Of the values of the model, as far as known. */
	readonly rangeOf: (value: string) => Interval | undefined;
	/** What operators of the model read, once it was read; none in data-free mode. */
	readonly inputs: Promise<ReadonlyMap<Node, InputKeeper>>;
}

/** Quantizes units one at a time and measures what that changes at their outputs, without running the rest of the model. */
export class IsolatedNoise {
	readonly #options: IsolatedOptions;
	readonly #sessions = new SharedSessions();
	readonly #spreads: Map<UnitPart, Spread> = new Map();

	constructor(options: IsolatedOptions) {
		this.#options = options;
	}

	/** @param key a file name of its own for the unit. Settings that the unit cannot have are not in the result. */
	async measure(unit: SensitivityUnit, key: string, settings: readonly Setting[]): Promise<CandidateNoise[]> {
		// constants are quantized while inputs are still being read
		const opened = this.#open(unit);
		opened.catch(() => undefined);
		try {
			const found: CandidateNoise[] = [];
			for (const setting of settings) {
				const candidate = await this.#candidate(unit, key, setting, opened);
				if (candidate === undefined) continue;
				if (found.some((other) => candidateName(other.setting) === candidateName(candidate.setting))) continue;
				found.push(candidate);
			}
			return found;
		} finally {
			for (const operator of (await opened).values()) await operator.close();
		}
	}

	async close(): Promise<void> {
		await this.#sessions.close();
	}

	/** How the weights of a part are spread, where quantizing them told. */
	spreadOf(part: UnitPart): Spread | undefined {
		return this.#spreads.get(part);
	}

	async #open(unit: SensitivityUnit): Promise<Map<Node, IsolatedOperator>> {
		const inputs = await this.#options.inputs;
		const operators = new Map<Node, IsolatedOperator>();
		const { model, tools } = this.#options;
		const shared = { model, sessions: this.#sessions, pool: tools.pool };
		for (const part of unit.parts) {
			for (const node of part.operators) {
				const kept = inputs.get(node)?.kept ?? [];
				if (kept.length === 0) continue;
				operators.set(node, new IsolatedOperator(operatorInputs(node, part), kept, part.constant?.tensor, shared));
			}
		}
		return operators;
	}

	/**
	 * A MatMul of few rows in blocks of AIMET's scales, of which nobody will ask for the codes: two readings of its weights tell
	 * what it loses. Undefined for all others.
	 */
	async #quickCandidate(
		{ parts }: SensitivityUnit,
		setting: Setting,
		opened: Promise<ReadonlyMap<Node, IsolatedOperator>>,
	): Promise<CandidateNoise | undefined> {
		const { fit, folder, tools, rangeOf } = this.#options;
		const [part] = parts;
		const node = part?.operators[0];
		const isOne = parts.length === 1 && part?.constant !== undefined && part.operators.length === 1;
		if (folder !== undefined || fit !== "max" || !isOne || setting.blockScales !== "lpbq") return undefined;
		const group = groupsIn(constantModel(part).model, setting)[0];
		const site = group?.weight.sites[0];
		if (group === undefined || group.unfit !== undefined || site === undefined) return undefined;
		if (!PRECISION_FACTS[group.setting.precision].isBlock) return undefined;
		const source = floatSource(site, group.setting.blockSize);
		if (!canMultiply(source)) return undefined;
		const { layout } = source;
		const blocks = new Float64Array(new SharedArrayBuffer(8 * slabCountOf(layout) * layout.channels));
		const scan = await scanScales(source, tools.pool, blocks);
		const operator = (await opened).get(node!);
		if (!scan.finite || operator === undefined) return undefined;
		const choice = choiceOfMax(scan, blocks);
		const range = rangeOf(node!.outputs[0]!.name);
		const noise = await operator.noiseOfCodes(roundingOf(setting, node!, part), source, choice, range);
		if (noise === undefined) return undefined;
		this.#spreads.set(part, { largest: scan.largest, squares: noise.weights.signal });
		const codeBytes = Math.ceil(slabStart(layout, slabCountOf(layout)) / 2);
		const bytes = codeBytes + slabCountOf(layout) * layout.channels + choice.storedScales.byteLength;
		return { setting: group.setting, bytes, ...noise, constants: [] };
	}

	async #candidate(
		unit: SensitivityUnit,
		key: string,
		setting: Setting,
		opened: Promise<ReadonlyMap<Node, IsolatedOperator>>,
	): Promise<CandidateNoise | undefined> {
		const quick = await this.#quickCandidate(unit, setting, opened);
		if (quick !== undefined) return quick;
		const weights = { signal: 0, error: 0 };
		const output = { signal: 0, error: 0 };
		const constants: QuantizedPart[] = [];
		let [bytes, chosen] = [0, setting];
		for (const [index, part] of unit.parts.entries()) {
			const made = part.constant && (await this.#quantize(part, setting, `${key}-${index}`));
			if (part.constant !== undefined) {
				if (made === undefined) return undefined;
				bytes += made.bytes;
				chosen = made.setting;
				add(weights, made.error);
				if (made.constants !== undefined) constants.push(made.constants);
			}
			const operators = await opened;
			let values: Promise<readonly NumpyArray[]> | undefined;
			for (const [number, node] of part.operators.entries()) {
				const operator = operators.get(node);
				if (operator === undefined) continue;
				const constant = made && {
					blocks: made.blocks,
					values: async () => {
						values ??= made.values();
						return (await values)[number]!;
					},
				};
				const range = this.#options.rangeOf(node.outputs[0]!.name);
				add(output, await operator.noise(roundingOf(setting, node, part), constant, range));
			}
		}
		return {
			setting: chosen,
			bytes,
			weights: unit.elements === 0 ? null : weights,
			output: (await opened).size === 0 ? null : output,
			constants,
		};
	}

	async #quantize(part: UnitPart, setting: Setting, key: string) {
		const { fit, tools, folder } = this.#options;
		const { model } = constantModel(part);
		const groups = groupsIn(model, setting);
		const names = new NameScope(model);
		const error = { signal: 0, error: 0 };
		let [bytes, chosen] = [0, setting];
		let blocks: BlockWeight | undefined;
		let largest: number | undefined;
		for (const group of groups) {
			if (group.unfit !== undefined) return undefined;
			const known = this.#statistics(group);
			const exponent = known.moments === undefined ? DEFAULT_EXPONENT : 2;
			const options: WeightFitOptions = { fit: fit === "max" ? "max" : "search", exponent, codeMin: -8, ...known };
			const made = await quantizeWeight(group.weight, group.setting, options, tools);
			if ("code" in made) return undefined;
			made.insert(names);
			({ blocks, largest } = made);
			bytes += made.bytes;
			chosen = group.setting;
			add(error, await made.error());
		}
		const { tensor } = part.constant!;
		const outputs = onlyConstants(model, tensor);
		const only = groups.length === 1 ? blocks : undefined;
		if (only !== undefined && largest !== undefined) this.#spreads.set(part, { largest, squares: error.signal });
		const values = async (): Promise<NumpyArray[]> => {
			if (only === undefined) return madeBy(serializeModel(model), outputs);
			const array: NumpyArray = { type: "float32", shape: tensor.shape, bytes: await this.#valuesOf(only) };
			return part.operators.map(() => array);
		};
		if (folder === undefined) return { values, blocks: only, bytes, setting: chosen, error };
		const file = path.join(folder, `${key}-${candidateName(chosen).replace(":", "-")}.onnx`);
		await writeModel(model, file);
		return { values, blocks: only, constants: { file, outputs }, bytes, setting: chosen, error };
	}

	/** What codes and scales in blocks stand for, read on all cores. */
	async #valuesOf(blocks: BlockWeight): Promise<Uint8Array> {
		const { layout } = blocks;
		const elements = new Float32Array(slabStart(layout, slabCountOf(layout)));
		await this.#options.tools.pool.each(
			slabRanges(layout),
			(range) => ({ kind: "read-values", part: partOf(blocks, range) }),
			(values, { first }) => elements.set(values, slabStart(layout, first)),
		);
		return bytesOf(elements);
	}

	#statistics({ weight, setting }: RecipeGroup): Pick<WeightFitOptions, "importance" | "moments"> {
		const nothing = { importance: undefined, moments: undefined };
		const [site] = weight.sites;
		if (this.#options.fit !== "gptq" || site === undefined || PRECISION_FACTS[setting.precision].isFloat)
			return nothing;
		const inputs = gptqInputs(site, PRECISION_FACTS[setting.precision].isBlock);
		const moments = inputs && this.#options.moments?.find(weight.constant.value.name, inputs);
		return { importance: undefined, moments };
	}
}

/** What is quantized in a model where everything becomes `setting`. */
function groupsIn(model: Model, setting: Setting): readonly RecipeGroup[] {
	return groupDecisions(findUnits(model).map((unit) => ({ unit, setting, rule: undefined, overruled: [] }))).groups;
}

/** The constants that the operators of a part read, as float32. */
export async function constantsOf({ file, outputs }: QuantizedPart): Promise<NumpyArray[]> {
	return madeBy(file, outputs);
}

async function madeBy(model: string | Uint8Array, outputs: readonly string[]): Promise<NumpyArray[]> {
	const session = await LiveSession.open(model);
	try {
		const made = await session.run(new Map());
		return outputs.map((name) => made.get(name)!);
	} finally {
		await session.close();
	}
}

function add(sum: { signal: number; error: number }, { signal, error }: ErrorSum): void {
	sum.signal += signal;
	sum.error += error;
}
