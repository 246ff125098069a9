import { isFloat } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import { readAll } from "../ir/data.js";
import type { Model } from "../ir/model.js";
import type { Node } from "../ir/node.js";
import type { Tensor } from "../ir/tensor.js";
import { bytesOf } from "../ir/tensor.js";
import { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { serializeModel, serializeSkeleton } from "../onnx/file.js";
import type { BlockWeight } from "../passes/support/block-weight.js";
import type { CodesChoice } from "../passes/support/made-codes.js";
import type { TaskPool } from "../passes/support/task-pool.js";
import { decodeBfloat16, decodeFloat16 } from "../quant/float16.js";
import type { Interval } from "../quant/grid.js";
import { type ErrorSum, errorSum } from "../quant/measure.js";
import { PRECISION_FACTS } from "../recipe/precision.js";
import type { Setting } from "../recipe/recipe.js";
import { floatsOf, LiveSession } from "../runtime/live-session.js";
import { convertedTo } from "../runtime/sample-arrays.js";
import { FewRowProduct } from "./few-row-product.js";
import type { UnitPart } from "./find-sensitivity-units.js";
import { type ActivationBits, type KeptInput, type Rounding, stepOf } from "./layer-inputs.js";
import { activationName, type OperatorInputs, OUTPUT, operatorModel, WEIGHT } from "./part-model.js";
import type { SharedSessions } from "./shared-sessions.js";

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

/** What became of the constant of an operator. */
export interface MadeConstant {
	/** Codes and scales, where all that it is made of are such. */
	readonly blocks: BlockWeight | undefined;
	/** The elements that the operator reads. */
	readonly values: () => Promise<NumpyArray>;
}

/** What operators are run with. */
export interface OperatorTools {
	/** That the operators are of. */
	readonly model: Model;
	readonly sessions: SharedSessions;
	readonly pool: TaskPool;
}

/** An operator in ONNX Runtime, with what it makes of the kept inputs as they are. */
interface Running {
	readonly session: LiveSession;
	readonly giveBack: () => Promise<void>;
	readonly wanted: readonly Float32Array[];
}

/** An operator by itself, and the inputs that were kept for it. */
export class IsolatedOperator {
	readonly #inputs: OperatorInputs;
	readonly #kept: readonly KeptInput[];
	readonly #constant: Tensor | undefined;
	readonly #tools: OperatorTools;
	readonly #fewRows: FewRowProduct | undefined;
	#running: Promise<Running> | undefined;

	constructor(inputs: OperatorInputs, kept: readonly KeptInput[], constant: Tensor | undefined, tools: OperatorTools) {
		this.#inputs = inputs;
		this.#kept = kept;
		this.#constant = constant;
		this.#tools = tools;
		this.#fewRows = FewRowProduct.of(inputs, kept, constant, tools.pool);
	}

	/**
	 * @param rounding of what it reads and makes.
	 * @param range of what it makes.
	 */
	async noise(
		rounding: Rounding | undefined,
		made: MadeConstant | undefined,
		range: Interval | undefined,
	): Promise<ErrorSum> {
		const readings = this.#readings(rounding);
		if (made?.blocks !== undefined && this.#fewRows?.canTake(made.blocks) === true) {
			const { wanted, found } = await this.#fewRows.products(floatsOf(readings[0]![0]!), made.blocks);
			return noiseOf(wanted, found, rounding, range);
		}
		const sum = { signal: 0, error: 0 };
		this.#running ??= this.#open();
		const { session, wanted } = await this.#running;
		const values = await made?.values();
		for (const [index, reading] of readings.entries()) {
			const found = await runOnce(session, this.#inputs, reading, values);
			const { signal, error } = noiseOf(wanted[index]!, found, rounding, range);
			sum.signal += signal;
			sum.error += error;
		}
		return sum;
	}

	/**
	 * Noise with codes that are chosen on the way, which nobody keeps, and what these lose of the weights; undefined where the
	 * operator has more than few rows.
	 */
	async noiseOfCodes(
		rounding: Rounding | undefined,
		source: BlockWeight,
		choice: CodesChoice,
		range: Interval | undefined,
	): Promise<{ readonly output: ErrorSum; readonly weights: ErrorSum } | undefined> {
		if (this.#fewRows?.canTake(source) !== true) return undefined;
		const rows = this.#readings(rounding)[0]![0]!;
		const { wanted, found, weights } = await this.#fewRows.measureCodes(floatsOf(rows), source, choice);
		return { output: noiseOf(wanted, found, rounding, range), weights };
	}

	#readings(rounding: Rounding | undefined): (readonly NumpyArray[])[] {
		return this.#kept.map((kept) => (rounding === undefined ? kept.plain : kept.rounded(rounding)));
	}

	async close(): Promise<void> {
		await (await this.#running)?.giveBack();
	}

	async #open(): Promise<Running> {
		const { model, sessions } = this.#tools;
		const [inputs, kept, constant] = [this.#inputs, this.#kept, this.#constant];
		const types = new Map(inputs.activations.map(({ value }, index) => [value, kept[0]!.plain[index]!.type] as const));
		const isInteger = (value: Value) => !isFloat(types.get(value)!);
		const { session, giveBack } = await sessions.take(serializeModel(operatorModel(inputs, isInteger, false)));
		const wanted: Float32Array[] = [];
		// weights that are read from where they are need not come by way of this thread
		if (constant?.dtype === DataType.FLOAT) {
			const { bytes, dataFolder } = serializeSkeleton(operatorModel(inputs, isInteger, true), model);
			const own = await LiveSession.open(bytes, { dataFolder, prepacks: false });
			for (const { plain } of kept) wanted.push(await runOnce(own, inputs, plain, undefined));
			await own.close();
		} else {
			const weights = constant && floatArray(constant);
			for (const { plain } of kept) wanted.push(await runOnce(session, inputs, plain, weights));
		}
		return { session, giveBack, wanted };
	}
}

/** What an operator gives instead of what it should, with the rounding of its output. */
function noiseOf(
	wanted: Float32Array,
	found: Float32Array,
	rounding: Rounding | undefined,
	range: Interval | undefined,
): ErrorSum {
	const { signal, error } = errorSum(wanted, found);
	if (rounding === undefined || range === undefined) return { signal, error };
	return { signal, error: error + (wanted.length * stepOf(range, rounding.bits[0]!) ** 2) / 12 };
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
