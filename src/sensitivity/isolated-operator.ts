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
import { decodeBfloat16, decodeFloat16 } from "../quant/float16.js";
import type { Interval } from "../quant/grid.js";
import { type ErrorSum, errorSum } from "../quant/measure.js";
import { PRECISION_FACTS } from "../recipe/precision.js";
import type { Setting } from "../recipe/recipe.js";
import { floatsOf, LiveSession } from "../runtime/live-session.js";
import { convertedTo } from "../runtime/sample-arrays.js";
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

/** An operator by itself, with what it makes of the kept inputs as they are. */
export class IsolatedOperator {
	readonly #session: LiveSession;
	readonly #giveBack: () => Promise<void>;
	readonly #inputs: OperatorInputs;
	readonly #kept: readonly KeptInput[];
	readonly #wanted: readonly Float32Array[];

	private constructor(
		{ session, giveBack }: Awaited<ReturnType<SharedSessions["take"]>>,
		inputs: OperatorInputs,
		kept: readonly KeptInput[],
		wanted: readonly Float32Array[],
	) {
		this.#session = session;
		this.#giveBack = giveBack;
		this.#inputs = inputs;
		this.#kept = kept;
		this.#wanted = wanted;
	}

	static async open(
		inputs: OperatorInputs,
		kept: readonly KeptInput[],
		constant: Tensor | undefined,
		{ model, sessions }: { readonly model: Model; readonly sessions: SharedSessions },
	): Promise<IsolatedOperator> {
		const types = new Map(inputs.activations.map(({ value }, index) => [value, kept[0]!.plain[index]!.type] as const));
		const isInteger = (value: Value) => !isFloat(types.get(value)!);
		const shared = await sessions.take(serializeModel(operatorModel(inputs, isInteger, false)));
		const wanted: Float32Array[] = [];
		// weights that are read from where they are need not come by way of this thread
		if (constant?.dtype === DataType.FLOAT) {
			const { bytes, dataFolder } = serializeSkeleton(operatorModel(inputs, isInteger, true), model);
			const session = await LiveSession.open(bytes, { dataFolder, prepacks: false });
			for (const { plain } of kept) wanted.push(await runOnce(session, inputs, plain, undefined));
			await session.close();
		} else {
			const weights = constant && floatArray(constant);
			for (const { plain } of kept) wanted.push(await runOnce(shared.session, inputs, plain, weights));
		}
		return new IsolatedOperator(shared, inputs, kept, wanted);
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
			const { signal, error } = errorSum(wanted, await runOnce(this.#session, this.#inputs, inputs, weights));
			sum.signal += signal;
			sum.error += error;
			if (rounding !== undefined && range !== undefined) {
				sum.error += (wanted.length * stepOf(range, rounding.bits[0]!) ** 2) / 12;
			}
		}
		return sum;
	}

	async close(): Promise<void> {
		await this.#giveBack();
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
