import path from "node:path";
import { isFloat } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { readAll } from "../ir/data.js";
import { NameScope } from "../ir/names.js";
import type { Node } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import { bytesOf } from "../ir/tensor.js";
import { DataType } from "../ir/types.js";
import { serializeModel, writeModel } from "../onnx/file.js";
import { gptqInputs } from "../passes/support/gptq-inputs.js";
import type { MomentsFolder } from "../passes/support/input-statistics.js";
import { quantizeWeight } from "../passes/support/quantize-weight.js";
import { DEFAULT_EXPONENT, type QuantizeTools, type WeightFitOptions } from "../passes/support/quantized-weight.js";
import { groupDecisions, type RecipeGroup } from "../passes/support/recipe-groups.js";
import { decodeBfloat16, decodeFloat16 } from "../quant/float16.js";
import type { Interval } from "../quant/grid.js";
import { type ErrorSum, errorSum } from "../quant/measure.js";
import { findUnits } from "../recipe/find-units.js";
import { PRECISION_FACTS } from "../recipe/precision.js";
import type { Setting } from "../recipe/recipe.js";
import { floatsOf, LiveSession } from "../runtime/live-session.js";
import { convertedTo } from "../runtime/sample-arrays.js";
import { candidateName, type SensitivityUnit, type UnitPart } from "./find-sensitivity-units.js";
import { type ActivationBits, type InputKeeper, type KeptInput, type Rounding, stepOf } from "./layer-inputs.js";
import {
	activationName,
	constantModel,
	type OperatorInputs,
	OUTPUT,
	onlyConstants,
	operatorInputs,
	operatorModel,
	WEIGHT,
} from "./part-model.js";

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
	readonly fit: "max" | "search" | "gptq";
	/** Second moments of inputs, for `gptq`. */
	readonly moments: MomentsFolder | undefined;
	readonly tools: QuantizeTools;
	/** Where quantized constants are put. */
	readonly folder: string;
	/** Of the values of the model, as far as known. */
	readonly rangeOf: (value: string) => Interval | undefined;
	/** What operators of the model read; none in data-free mode. */
	readonly inputs: ReadonlyMap<Node, InputKeeper>;
}

/** Quantizes units one at a time and measures what that changes at their outputs, without running the rest of the model. */
export class IsolatedNoise {
	readonly #options: IsolatedOptions;

	constructor(options: IsolatedOptions) {
		this.#options = options;
	}

	/** @param key a file name of its own for the unit. Settings that the unit cannot have are not in the result. */
	async measure(unit: SensitivityUnit, key: string, settings: readonly Setting[]): Promise<CandidateNoise[]> {
		const operators = await this.#open(unit);
		try {
			const found: CandidateNoise[] = [];
			for (const setting of settings) {
				const candidate = await this.#candidate(unit, key, setting, operators);
				if (candidate === undefined) continue;
				if (found.some((other) => candidateName(other.setting) === candidateName(candidate.setting))) continue;
				found.push(candidate);
			}
			return found;
		} finally {
			for (const operator of operators.values()) await operator.close();
		}
	}

	/** Samples of which a unit got something infinite or no number. */
	notFinite(unit: SensitivityUnit): number {
		const counts = unit.parts.flatMap(({ operators }) =>
			operators.map((node) => this.#options.inputs.get(node)?.notFinite ?? 0),
		);
		return Math.max(0, ...counts);
	}

	async #open(unit: SensitivityUnit): Promise<Map<Node, IsolatedOperator>> {
		const operators = new Map<Node, IsolatedOperator>();
		for (const part of unit.parts) {
			const weights = part.constant === undefined ? undefined : floatArray(part.constant.tensor);
			for (const node of part.operators) {
				const kept = this.#options.inputs.get(node)?.kept ?? [];
				if (kept.length === 0) continue;
				operators.set(node, await IsolatedOperator.open(operatorInputs(node, part), kept, weights));
			}
		}
		return operators;
	}

	async #candidate(
		unit: SensitivityUnit,
		key: string,
		setting: Setting,
		operators: ReadonlyMap<Node, IsolatedOperator>,
	): Promise<CandidateNoise | undefined> {
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
				constants.push(made);
			}
			const values = made && operators.size > 0 ? await constantsOf(made) : undefined;
			for (const [number, node] of part.operators.entries()) {
				const operator = operators.get(node);
				if (operator === undefined) continue;
				const range = this.#options.rangeOf(node.outputs[0]!.name);
				add(output, await operator.noise(roundingOf(setting, node, part), values?.[number], range));
			}
		}
		return {
			setting: chosen,
			bytes,
			weights: constants.length === 0 ? null : weights,
			output: operators.size === 0 ? null : output,
			constants,
		};
	}

	async #quantize(part: UnitPart, setting: Setting, key: string) {
		const { fit, tools, folder } = this.#options;
		const { model } = constantModel(part);
		const { groups } = groupDecisions(
			findUnits(model).map((unit) => ({ unit, setting, rule: undefined, overruled: [] })),
		);
		const names = new NameScope(model);
		const error = { signal: 0, error: 0 };
		let [bytes, chosen] = [0, setting];
		for (const group of groups) {
			if (group.unfit !== undefined) return undefined;
			const known = this.#statistics(group);
			const exponent = known.moments === undefined ? DEFAULT_EXPONENT : 2;
			const options: WeightFitOptions = { fit: fit === "max" ? "max" : "search", exponent, codeMin: -8, ...known };
			const made = await quantizeWeight(group.weight, group.setting, options, tools);
			if ("code" in made) return undefined;
			made.insert(names);
			bytes += made.bytes;
			chosen = group.setting;
			add(error, await made.error());
		}
		const outputs = onlyConstants(model, part.constant!.tensor);
		const file = path.join(folder, `${key}-${candidateName(chosen).replace(":", "-")}.onnx`);
		await writeModel(model, file);
		return { file, outputs, bytes, setting: chosen, error };
	}

	#statistics({ weight, setting }: RecipeGroup): Pick<WeightFitOptions, "importance" | "moments"> {
		const nothing = { importance: undefined, moments: undefined };
		const [site] = weight.sites;
		if (this.#options.fit !== "gptq" || site === undefined || PRECISION_FACTS[setting.precision].isFloat)
			return nothing;
		const inputs = gptqInputs(site, PRECISION_FACTS[setting.precision].isBlock);
		const moments = inputs && this.#options.moments?.find(weight.constant.value.name, inputs.groups, inputs.depth);
		return { importance: undefined, moments };
	}
}

/** The constants that the operators of a part read, as float32. */
export async function constantsOf({ file, outputs }: QuantizedPart): Promise<NumpyArray[]> {
	const session = await LiveSession.open(file);
	try {
		const made = await session.run(new Map());
		return outputs.map((name) => made.get(name)!);
	} finally {
		await session.close();
	}
}

/** To how many bits a setting rounds the activations of an operator; undefined where they stay as they are. */
export function roundingOf({ precision }: Setting, node: Node, { constant }: UnitPart): Rounding | undefined {
	const { activationBits, weightBits } = PRECISION_FACTS[precision];
	if (activationBits === undefined) return undefined;
	const right: ActivationBits = weightBits === 16 ? 16 : 8;
	return { bits: constant === undefined ? [activationBits, right] : node.inputs.map(() => activationBits) };
}

/** The elements of a float tensor as float32. */
export function floatArray({ dtype, shape, data }: Tensor): NumpyArray {
	const bytes = readAll(data);
	if (dtype === DataType.FLOAT) return { type: "float32", shape, bytes };
	const elements = dtype === DataType.FLOAT16 ? decodeFloat16(bytes) : decodeBfloat16(bytes);
	return { type: "float32", shape, bytes: bytesOf(elements) };
}

/** An operator in a session of its own, with what it makes of the kept inputs as they are. */
class IsolatedOperator {
	readonly #session: LiveSession;
	readonly #inputs: OperatorInputs;
	readonly #kept: readonly KeptInput[];
	readonly #wanted: readonly Float32Array[];

	private constructor(
		session: LiveSession,
		inputs: OperatorInputs,
		kept: readonly KeptInput[],
		wanted: readonly Float32Array[],
	) {
		this.#session = session;
		this.#inputs = inputs;
		this.#kept = kept;
		this.#wanted = wanted;
	}

	static async open(
		inputs: OperatorInputs,
		kept: readonly KeptInput[],
		weights: NumpyArray | undefined,
	): Promise<IsolatedOperator> {
		const types = new Map(inputs.activations.map(({ value }, index) => [value, kept[0]!.plain[index]!.type] as const));
		const model = operatorModel(inputs, (value) => !isFloat(types.get(value)!));
		const session = await LiveSession.open(serializeModel(model));
		const wanted: Float32Array[] = [];
		for (const { plain } of kept) wanted.push(await runOnce(session, inputs, plain, weights));
		return new IsolatedOperator(session, inputs, kept, wanted);
	}

	/**
	 * @param rounding of what it reads and makes.
	 * @param range of what it makes.
	 */
	async noise(
		rounding: Rounding | undefined,
		weights: NumpyArray | undefined,
		range: Interval | undefined,
	): Promise<ErrorSum> {
		const sum = { signal: 0, error: 0 };
		for (const [index, kept] of this.#kept.entries()) {
			const inputs = rounding === undefined ? kept.plain : kept.rounded(rounding);
			const wanted = this.#wanted[index]!;
			add(sum, errorSum(wanted, await runOnce(this.#session, this.#inputs, inputs, weights)));
			if (rounding !== undefined && range !== undefined) {
				sum.error += (wanted.length * stepOf(range, rounding.bits[0]!) ** 2) / 12;
			}
		}
		return sum;
	}

	async close(): Promise<void> {
		await this.#session.close();
	}
}

async function runOnce(
	session: LiveSession,
	{ activations }: OperatorInputs,
	inputs: readonly NumpyArray[],
	weights: NumpyArray | undefined,
): Promise<Float32Array> {
	const feeds = new Map(
		activations.map(({ index }, position) => {
			const array = inputs[position]!;
			return [activationName(index), isFloat(array.type) ? array : convertedTo(array, "int64")] as const;
		}),
	);
	if (weights !== undefined) feeds.set(WEIGHT, weights);
	return floatsOf((await session.run(feeds)).get(OUTPUT)!);
}

function add(sum: { signal: number; error: number }, { signal, error }: ErrorSum): void {
	sum.signal += signal;
	sum.error += error;
}
