import type { SampleSource } from "../calibration/calibration.js";
import { instrument } from "../calibration/instrument.js";
import { inferTypes } from "../inference/index.js";
import { intOf } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { type ModelSkeleton, serializeSkeleton } from "../onnx/file.js";
import { MOST_ROWS } from "../passes/support/few-rows.js";
import type { Interval } from "../quant/grid.js";
import { LiveSession } from "../runtime/live-session.js";
import { inputsOf } from "../runtime/model-inputs.js";
import { feedsOf } from "../runtime/sample-arrays.js";
import type { SensitivityUnit, UnitPart } from "./find-sensitivity-units.js";
import { type ActivationBits, type InputKeeper, KeptRows, KeptSamples } from "./layer-inputs.js";
import { operatorInputs } from "./part-model.js";

export interface KeepOptions {
	/** Bits of activations that will be asked for. */
	readonly bits: readonly ActivationBits[];
	/** Of the values of the model, as far as known. */
	readonly rangeOf: (value: string) => Interval | undefined;
	/** Number of the first sample, and how many. */
	readonly first: number;
	readonly samples: number;
	readonly signal?: AbortSignal | undefined;
	readonly onProgress: (done: number, total: number) => void;
}

/** What values one keeper is shown, by their names. */
interface Watch {
	readonly values: readonly string[];
	readonly keeper: InputKeeper;
}

/** Runs the model on samples and keeps what the operators of units read. Operators of subgraphs are not among the result. */
export async function keepInputs(
	model: Model,
	units: readonly SensitivityUnit[],
	source: SampleSource,
	options: KeepOptions,
): Promise<Map<Node, InputKeeper>> {
	const { rangeOf, first, samples, signal, onProgress } = options;
	const watches = new Map<string, Watch>();
	const keepers = new Map<Node, InputKeeper>();
	for (const part of units.flatMap(({ parts }) => parts)) {
		for (const node of part.operators) {
			if (node.graph !== model.graph) continue;
			const watch = watchOf(node, part, watches, options.bits);
			if (watch !== undefined) keepers.set(node, watch.keeper);
		}
	}
	const inputs = inputsOf(model);
	const { session, outputs } = await open(model, watches);
	try {
		let done = 0;
		for await (const { arrays, origin } of source.samples(first)) {
			if (done === samples) break;
			signal?.throwIfAborted();
			const found = await session.run(feedsOf(inputs, arrays, origin), [...new Set(outputs.values())]);
			for (const { values, keeper } of watches.values()) {
				keeper.add(
					values.map((name) => found.get(outputs.get(name)!)!),
					values.map(rangeOf),
				);
			}
			onProgress(++done, samples);
		}
	} finally {
		await session.close();
	}
	return keepers;
}

function watchOf(
	node: Node,
	part: UnitPart,
	watches: Map<string, Watch>,
	bits: readonly ActivationBits[],
): Watch | undefined {
	const { activations, weight } = operatorInputs(node, part);
	if (activations.length === 0 || activations.some(({ value }) => value.initializer !== undefined)) return undefined;
	const values = activations.map(({ value }) => value.name);
	const isRows = weight === 1 && readsRows(node, part);
	const key = `${isRows ? "rows" : "samples"} ${values.join("\0")}`;
	const watch = watches.get(key) ?? { values, keeper: isRows ? new KeptRows(key, bits) : new KeptSamples() };
	watches.set(key, watch);
	return watch;
}

/** Is every row of the activation by itself multiplied with the matrix on the right? */
function readsRows(node: Node, { constant }: UnitPart): boolean {
	if (constant?.tensor.shape.length !== 2) return false;
	return isOnnxOp(node, "MatMul") || (isOnnxOp(node, "Gemm") && intOf(node, "transA", 0) === 0);
}

/** A session that also gives the watched values, and under which names. */
async function open(model: Model, watches: ReadonlyMap<string, Watch>) {
	const types = inferTypes(model);
	const watched = new Set([...watches.values()].flatMap(({ values }) => values));
	const elements = [...model.graph.inputs, ...[...model.graph.nodes].flatMap((node) => node.outputs)]
		.filter(({ name }) => watched.has(name))
		.map((value) => {
			const type = types.typeOf(value);
			const dtype = type?.kind === "tensor" ? type.elementType : undefined;
			return { value, dtype, shape: types.shapeOf(value) };
		});
	const isRows = [...watches.values()].every(({ keeper }) => keeper instanceof KeptRows);
	const isFew = isRows && elements.every(({ shape }) => shape !== undefined && isFewRows(shape));
	const { outputs, remove } = instrument(model, {
		ranges: [],
		elements: elements.map(({ value, dtype, shape }) => ({ value, dtype, rank: shape?.length })),
		sampled: [],
		squares: [],
		rows: [],
		bodies: [],
	});
	let instrumented: ModelSkeleton;
	try {
		instrumented = serializeSkeleton(model);
	} finally {
		remove();
	}
	const { bytes, dataFolder } = instrumented;
	const session = await LiveSession.open(bytes, {
		dataFolder,
		prepacks: dataFolder === undefined,
		// few rows take the time that reading the weights takes: one thread does it, the others quantize meanwhile
		threads: isFew ? 1 : undefined,
	});
	return { session, outputs: new Map(outputs.elements.map(({ name, output }) => [name, output] as const)) };
}

/** Does an activation of this shape have so few rows that multiplying them takes no time? */
function isFewRows(shape: readonly (number | string | undefined)[]): boolean {
	return (
		shape.slice(0, -1).reduce<number>((rows, length) => rows * (typeof length === "number" ? length : Infinity), 1) <=
		MOST_ROWS
	);
}
