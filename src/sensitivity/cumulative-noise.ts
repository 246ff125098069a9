import path from "node:path";
import { numbersOf } from "../arrays/element-type.js";
import type { NumpyArray } from "../arrays/npz.js";
import type { SampleSource } from "../calibration/calibration.js";
import type { Model } from "../ir/model.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { nodeLabel } from "../ir/walk.js";
import { writeModel } from "../onnx/file.js";
import { type ErrorSum, errorSum } from "../quant/measure.js";
import { LiveSession } from "../runtime/live-session.js";
import { inputsOf } from "../runtime/model-inputs.js";
import { commonValues, exposeProbes, type Probe } from "../runtime/probes.js";
import { feedsOf } from "../runtime/sample-arrays.js";
import type { SensitivityUnit } from "./find-sensitivity-units.js";
import { logitsOf, type OutputNoise, OutputNoiseSum } from "./output-noise.js";

/** What a model that is quantized throughout makes of every operator's output. */
export interface CumulativeNoise {
	/** By the operator's label, for each sample; null where something was infinite or no number. */
	readonly operators: ReadonlyMap<string, readonly (ErrorSum | null)[]>;
	readonly outputs: OutputNoise | undefined;
}

export interface CumulativeOptions {
	readonly folder: string;
	readonly source: SampleSource;
	/** Number of the first sample that the operators are compared on, and how many. */
	readonly first: number;
	readonly samples: number;
	/** Number of the first sample that the outputs are compared on, and how many. */
	readonly firstHeldOut: number;
	readonly heldOut: number;
	readonly signal?: AbortSignal | undefined;
	readonly onProgress: (done: number, total: number) => void;
}

/**
 * Runs a float model and the same one quantized on samples, and compares what the operators of `units` make of them: in
 * the quantized model behind their quantizer, where one follows (as ExecuTorch's PerLayerSqnrAnalyzer does it). Both models
 * get more outputs.
 */
export async function cumulativeNoise(
	float: Model,
	quantized: Model,
	units: readonly SensitivityUnit[],
	options: CumulativeOptions,
): Promise<CumulativeNoise> {
	const { folder, source, first, samples, firstHeldOut, heldOut, signal, onProgress } = options;
	const logits = logitsOf(float);
	const outputs = float.graph.outputs.map(({ name }) => name);
	const inputs = inputsOf(float);
	const nodes = new Map(
		units.flatMap(({ parts }) => parts.flatMap((part) => part.operators.map((node) => [node.outputs[0]!.name, node]))),
	);
	const all = commonValues(float, quantized, true);
	const names = new Set(all.map(({ name }) => name));
	for (const [name, node] of [...nodes]) {
		const clamped = names.has(name) ? undefined : clampedBehind(node);
		if (clamped !== undefined) nodes.set(clamped, node);
	}
	const common = all.filter(({ name }) => nodes.has(name));
	const operators = new Map(common.map(({ name }) => [name, [] as (ErrorSum | null)[]] as const));
	const sum = new OutputNoiseSum(logits);
	const sessions = [
		await open(
			float,
			common.map(({ reference }) => reference),
			path.join(folder, "float.onnx"),
		),
		await open(
			quantized,
			common.map(({ converted }) => converted),
			path.join(folder, "quantized.onnx"),
		),
	] as const;
	try {
		let done = 0;
		const each = async (from: number, count: number, visit: (wanted: Arrays, found: Arrays, feeds: Arrays) => void) => {
			let left = count;
			for await (const { arrays, origin } of source.samples(from)) {
				if (left-- === 0) break;
				signal?.throwIfAborted();
				const feeds = feedsOf(inputs, arrays, origin);
				visit(await sessions[0].run(feeds), await sessions[1].run(feeds), feeds);
				onProgress(++done, samples + heldOut);
			}
		};
		await each(first, samples, (wanted, found) => {
			for (const { name, reference, converted } of common) {
				operators.get(name)!.push(noiseOf(wanted, reference, found, converted));
			}
		});
		await each(firstHeldOut, heldOut, (wanted, found, feeds) => {
			sum.add(feeds, new Map(outputs.flatMap((name) => arrayEntry(wanted, name))), found);
		});
	} finally {
		for (const session of sessions) await session.close();
	}
	return {
		operators: new Map([...operators].map(([name, noise]) => [nodeLabel(nodes.get(name)!), noise] as const)),
		outputs: sum.noise,
	};
}

/** Of an operator that became one with the Relu or Clip behind it there is only what that makes of its result. */
function clampedBehind({ outputs: [output] }: Node): string | undefined {
	const [use, ...others] = output!.uses;
	return others.length === 0 && use !== undefined && isOnnxOp(use.node, "Relu", "Clip")
		? use.node.outputs[0]!.name
		: undefined;
}

type Arrays = ReadonlyMap<string, NumpyArray>;

function arrayEntry(arrays: Arrays, name: string): (readonly [string, NumpyArray])[] {
	const array = arrays.get(name);
	return array === undefined ? [] : [[name, array]];
}

async function open(model: Model, probes: readonly Probe[], file: string): Promise<LiveSession> {
	exposeProbes(model, probes);
	await writeModel(model, file);
	return LiveSession.open(file);
}

function noiseOf(wanted: Arrays, reference: Probe, found: Arrays, converted: Probe): ErrorSum | null {
	const sum = errorSum(elements(wanted, reference), elements(found, converted));
	return Number.isFinite(sum.signal + sum.error) ? sum : null;
}

function elements(arrays: Arrays, { value, encoding }: Probe): Float32Array {
	const { type, bytes } = arrays.get(value.name)!;
	const numbers = numbersOf(type, bytes.slice().buffer);
	if (encoding === undefined) return numbers instanceof Float32Array ? numbers : Float32Array.from(numbers);
	return Float32Array.from(numbers, (code) => (code - encoding.zeroPoint) * encoding.scale);
}
