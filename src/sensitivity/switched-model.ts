import { bytesFrom, type ElementType, elementTypeOf } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import type { SampleSource } from "../calibration/calibration.js";
import { readAll } from "../ir/data.js";
import type { Model } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import type { Node } from "../ir/node.js";
import { bytesOf } from "../ir/tensor.js";
import { DataType, tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { writeModel } from "../onnx/file.js";
import type { Interval } from "../quant/grid.js";
import { floatsOf, LiveSession } from "../runtime/live-session.js";
import { inputsOf, type ModelInput } from "../runtime/model-inputs.js";
import { feedsOf } from "../runtime/sample-arrays.js";
import { removeIfUnused } from "../weights/constant.js";
import type { SensitivityUnit } from "./find-sensitivity-units.js";
import { type CandidateNoise, constantsOf, type QuantizedPart } from "./isolated-noise.js";
import { roundingOf } from "./isolated-operator.js";
import { stepOf } from "./layer-inputs.js";
import { logitsOf, type OutputNoise, OutputNoiseSum } from "./output-noise.js";
import { operatorInputs } from "./part-model.js";

/** What becomes of some units, by their names; all others stay float. */
export type Choice = ReadonlyMap<string, CandidateNoise>;

export interface SwitchOptions {
	readonly file: string;
	/** Of the values of the model. */
	readonly rangeOf: (value: string) => Interval | undefined;
}

/** Samples to run. */
export interface SampleRange {
	readonly source: SampleSource;
	/** Number of the first sample, and how many. */
	readonly first: number;
	readonly count: number;
}

/** Samples that a model is run on, with what it makes of them as it is. */
export interface FloatSamples {
	readonly samples: readonly Sample[];
}

/** Wanted outputs take no more; what does not fit is left out. */
const OUTPUT_BYTES = 2 ** 30;

/** Of quantized constants that are kept for the next run. */
const RECENT_BYTES = 2 ** 27;

/** Rounding in steps of so small a part of the range changes nothing that float32 can tell. */
const NO_ROUNDING = 2 ** -24;

interface Sample {
	readonly feeds: ReadonlyMap<string, NumpyArray>;
	readonly wanted: ReadonlyMap<string, NumpyArray>;
}

/** An input of the model that stands for a constant of a unit. */
interface ConstantInput {
	/** The constant as it is. */
	readonly array: NumpyArray;
	readonly name: string;
	/** Part of the unit, and operator of the part. */
	readonly part: number;
	readonly operator: number;
}

/** An input of the model that says in which steps an activation is rounded. */
interface StepInput {
	readonly name: string;
	readonly operator: Node | undefined;
	/** Which of the operator's activations. */
	readonly index: number;
	readonly part: number;
	readonly range: Interval;
	/** A step so small that nothing is rounded. */
	readonly array: NumpyArray;
}

interface SwitchedUnit {
	readonly unit: SensitivityUnit;
	readonly constants: readonly ConstantInput[];
	readonly steps: readonly StepInput[];
}

/**
 * A float model whose units can be quantized from run to run, each by itself or many together, without loading it again:
 * their constants are inputs, and activations that units round go through a rounding of changeable step. The constants are
 * in memory.
 */
export class SwitchedModel {
	readonly #session: LiveSession;
	readonly #units: ReadonlyMap<string, SwitchedUnit>;
	readonly #logits: ReadonlySet<string>;
	/** What the inputs are where nothing is quantized. */
	readonly #unchanged: ReadonlyMap<string, NumpyArray>;
	readonly #inputs: readonly ModelInput[];
	readonly #recent: Map<string, NumpyArray[]> = new Map();

	private constructor(
		session: LiveSession,
		inputs: readonly ModelInput[],
		units: ReadonlyMap<string, SwitchedUnit>,
		logits: ReadonlySet<string>,
	) {
		this.#session = session;
		this.#inputs = inputs;
		this.#units = units;
		const switches = [...units.values()].flatMap(({ constants, steps }) => [...constants, ...steps]);
		this.#unchanged = new Map(switches.map(({ name, array }) => [name, array] as const));
		this.#logits = logits;
	}

	/** Changes `model`, of which `units` are, and loads it. */
	static async open(
		model: Model,
		units: readonly SensitivityUnit[],
		{ file, rangeOf }: SwitchOptions,
	): Promise<SwitchedModel> {
		const inputs = inputsOf(model);
		const logits = logitsOf(model);
		const names = new NameScope(model);
		const inputsOfUnit = (unit: SensitivityUnit): SwitchedUnit => ({
			unit,
			constants: constantInputs(model, unit, names),
			steps: stepInputs(model, unit, names, rangeOf),
		});
		const byName = new Map(units.map((unit) => [unit.name, inputsOfUnit(unit)] as const));
		await writeModel(model, file);
		return new SwitchedModel(await LiveSession.open(file), inputs, byName, logits);
	}

	/** Runs the float model. */
	async read({ source, first, count }: SampleRange): Promise<FloatSamples> {
		const samples: Sample[] = [];
		let bytes = 0;
		for await (const { arrays, origin } of source.samples(first)) {
			if (samples.length === count || bytes > OUTPUT_BYTES) break;
			const feeds = feedsOf(this.#inputs, arrays, origin);
			const wanted = await this.#session.run(new Map([...feeds, ...this.#unchanged]));
			for (const array of wanted.values()) bytes += array.bytes.byteLength;
			samples.push({ feeds, wanted });
		}
		return { samples };
	}

	/** How far the outputs are from those of the float model when units become what `choice` says. */
	async noise(
		choice: Choice,
		{ samples }: FloatSamples,
		signal: AbortSignal | undefined,
	): Promise<OutputNoise | undefined> {
		const changed = new Map(this.#unchanged);
		for (const [name, candidate] of choice) {
			const { unit, constants, steps } = this.#units.get(name)!;
			for (const [part, quantized] of candidate.constants.entries()) {
				const made = await this.#made(quantized);
				for (const input of constants) {
					if (input.part === part) changed.set(input.name, typed(made[input.operator]!, input.array.type));
				}
			}
			for (const { name, operator, index, part, range } of steps) {
				const bits =
					operator === undefined
						? cacheBits(candidate)
						: roundingOf(candidate.setting, operator, unit.parts[part]!)?.bits[index];
				if (bits === undefined) continue;
				const isSymmetric = bits === 8 && (operator === undefined || index === 1);
				changed.set(name, scalar(stepOf(range, bits, isSymmetric)));
			}
		}
		const sum = new OutputNoiseSum(this.#logits);
		for (const { feeds, wanted } of samples) {
			signal?.throwIfAborted();
			sum.add(feeds, wanted, await this.#session.run(new Map([...feeds, ...changed])));
		}
		return sum.noise;
	}

	async close(): Promise<void> {
		this.#recent.clear();
		await this.#session.close();
	}

	/** Constants of the last choices are kept: the next one often differs in one unit or two. */
	async #made(quantized: QuantizedPart): Promise<NumpyArray[]> {
		const { file } = quantized;
		const made = this.#recent.get(file) ?? (await constantsOf(quantized));
		this.#recent.delete(file);
		this.#recent.set(file, made);
		const bytesIn = (arrays: readonly NumpyArray[]) =>
			[...new Set(arrays)].reduce((sum, { bytes }) => sum + bytes.byteLength, 0);
		let total = [...this.#recent.values()].reduce((sum, arrays) => sum + bytesIn(arrays), 0);
		for (const [oldest, arrays] of this.#recent) {
			if (total <= RECENT_BYTES || oldest === file) break;
			this.#recent.delete(oldest);
			total -= bytesIn(arrays);
		}
		return made;
	}
}

function cacheBits({ setting }: CandidateNoise): 8 | 16 {
	return setting.precision === "16a16w" ? 16 : 8;
}

/** Makes the constants of a unit inputs; each operator has its own where a constant is used in two ways. */
function constantInputs(model: Model, unit: SensitivityUnit, names: NameScope): ConstantInput[] {
	const made: ConstantInput[] = [];
	for (const [part, { constant, operators }] of unit.parts.entries()) {
		if (constant === undefined) continue;
		const { tensor } = constant;
		const type = elementTypeOf(tensor.dtype);
		if (type === undefined) continue;
		const array = { type, shape: tensor.shape, bytes: readAll(tensor.data) };
		const isShared = unit.kind !== "tied";
		let value: Value | undefined;
		for (const [operator, node] of operators.entries()) {
			if (node.graph !== model.graph) continue;
			if (value === undefined || !isShared) {
				value = addInput();
				made.push({ name: value.name, array, part, operator });
			}
			for (const [index, input] of node.inputs.entries()) if (input === constant.value) node.setInput(index, value);
		}
		removeIfUnused(constant.value);

		function addInput(): Value {
			const value = model.graph.createValue(names.fresh("qgraph_switched"), tensorType(tensor.dtype, tensor.shape));
			model.graph.addInput(value);
			return value;
		}
	}
	return made;
}

/** Puts roundings in front of both sides of products and behind caches. */
function stepInputs(
	model: Model,
	unit: SensitivityUnit,
	names: NameScope,
	rangeOf: (value: string) => Interval | undefined,
): StepInput[] {
	const made: StepInput[] = [];
	for (const [part, unitPart] of unit.parts.entries()) {
		if (unitPart.constant !== undefined) continue;
		for (const operator of unitPart.operators) {
			if (operator.graph !== model.graph) continue;
			for (const [index, activation] of operatorInputs(operator, unitPart).activations.entries()) {
				const range = rangeOf(activation.value.name);
				if (range === undefined) continue;
				const step = addStep();
				operator.setInput(activation.index, rounded(activation.value, step, operator));
				made.push({ name: step.name, operator, index, part, range, array: unroundedStep(range) });
			}
		}
	}
	for (const name of unit.caches) {
		const value = model.graph.inputs.find((input) => input.name === name);
		const range = rangeOf(name);
		if (value === undefined || range === undefined) continue;
		const step = addStep();
		const uses = [...value.uses];
		const [first] = model.graph.nodes;
		const rounding = rounded(value, step, first);
		for (const { node, index } of uses) node.setInput(index, rounding);
		made.push({ name: step.name, operator: undefined, index: 0, part: 0, range, array: unroundedStep(range) });
	}
	return made;

	function addStep(): Value {
		const value = model.graph.createValue(names.fresh("qgraph_step"), tensorType(DataType.FLOAT, []));
		model.graph.addInput(value);
		return value;
	}

	function rounded(value: Value, step: Value, before: Node | undefined): Value {
		const add = (op: string, inputs: readonly Value[]) => {
			const output = model.graph.createValue(names.fresh(`qgraph_${op}`));
			model.graph.createNode({ op, inputs, outputs: [output] }, before);
			return output;
		};
		return add("Mul", [add("Round", [add("Div", [value, step])]), step]);
	}
}

function unroundedStep({ lo, hi }: Interval): NumpyArray {
	return scalar((hi - lo || 1) * NO_ROUNDING);
}

function typed(array: NumpyArray, type: ElementType): NumpyArray {
	return type === "float32" ? array : { type, shape: array.shape, bytes: bytesFrom(type, floatsOf(array)) };
}

function scalar(value: number): NumpyArray {
	return { type: "float32", shape: [], bytes: bytesOf(Float32Array.of(value)) };
}
