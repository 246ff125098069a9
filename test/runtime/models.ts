import { intAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType, tensorType } from "../../src/ir/types.js";
import { type GraphBuilder, type ModelBuilder, modelOf } from "../support/build.js";
import { randomSource } from "../support/random.js";
import { blockWeight, quantized, randomCodes } from "../support/weights.js";

/** Reproducible numbers with the normal distribution, cut at four standard deviations. */
export function normals(count: number, seed: number): Float32Array {
	const random = randomSource(seed);
	const one = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
	return Float32Array.from({ length: count }, () => Math.max(-4, Math.min(4, one())));
}

/** Block scales around 0.01 that differ so much (log-normal, sigma 1) that taking one for another ruins the result. */
export function spreadScales(count: number, seed: number): Float32Array {
	return normals(count, seed).map((value) => 0.01 * Math.exp(value));
}

/** Every tenth scale becomes 0, and all scales of channel 3. */
export function withZeros(
	scales: Float32Array,
	spec: Pick<LinearSpec, "op" | "depth" | "channels" | "blockSize">,
): Float32Array {
	const { op, depth, channels, blockSize } = spec;
	const channelOf = (index: number) => (isTransposed(op) ? Math.floor(index / (depth / blockSize)) : index % channels);
	return scales.map((scale, index) => (index % 10 === 7 || channelOf(index) === 3 ? 0 : scale));
}

/** Two of five scales become negative. */
export function withSigns(scales: Float32Array): Float32Array {
	return scales.map((scale, index) => ((index * 7) % 5 < 2 ? -scale : scale));
}

/** A constant weight in an operator that multiplies with it. */
export interface LinearSpec {
	readonly op: "MatMul" | "Gemm" | "Gemm transB" | "Conv";
	/** Inputs and outputs of a channel. */
	readonly depth: number;
	readonly channels: number;
	readonly blockSize: number;
	/** Rows that are multiplied: of the left matrix, or pixels. */
	readonly rows: number;
	readonly activations: "integer" | "float";
	readonly seed?: number;
	readonly scales?: ArrayLike<number>;
	readonly bias?: boolean;
}

/** Is the block axis the second one, the weight [channels, depth]? */
export function isTransposed(op: string): boolean {
	return op === "Gemm transB" || op === "Conv";
}

/** The shape of the activation that the operator reads. */
export function inputShape({ op, rows, depth }: LinearSpec): readonly number[] {
	return op === "Conv" ? [1, depth, rows, 1] : [rows, depth];
}

export function outputShape({ op, rows, channels }: LinearSpec): readonly number[] {
	return op === "Conv" ? [1, channels, rows, 1] : [rows, channels];
}

/** The activations' quantization step: for inputs within four standard deviations, and for what comes out of them. */
export const INPUT_STEP = 2 ** -13;

export function outputStep({ depth }: LinearSpec): number {
	return Math.sqrt(depth) * 2 ** -15;
}

/** A weight of the shape that the operator wants; the name of the dequantized value. */
export function linearWeight(graph: GraphBuilder, name: string, spec: LinearSpec): string {
	const { op, depth, channels, blockSize, seed = 1 } = spec;
	const shape = isTransposed(op) ? [channels, depth, ...(op === "Conv" ? [1, 1] : [])] : [depth, channels];
	return blockWeight(graph, name, {
		shape,
		axis: isTransposed(op) ? 1 : 0,
		blockSize,
		seed,
		codes: randomCodes(depth * channels, seed, -8, 7),
		scales: spec.scales ?? spreadScales((depth / blockSize) * channels, seed + 1),
	});
}

/**
 * The operator, called `<output>_op`, quantized on both sides where the activations are integers; the name of the value
 * that comes out.
 */
export function linearOp(graph: GraphBuilder, spec: LinearSpec, input: string, weight: string, output: string): string {
	const { op, channels, activations, seed = 1 } = spec;
	const inputs = [input, weight];
	if (spec.bias === true) {
		graph.initializer(`${output}_bias`, floatTensor([channels], normals(channels, seed + 2)));
		inputs.push(`${output}_bias`);
	}
	const attributes = op === "Gemm transB" ? { transB: intAttribute(1) } : {};
	graph.node(op.split(" ")[0]!, inputs, [output], attributes, `${output}_op`);
	return activations === "float" ? output : quantized(graph, output, outputStep(spec));
}

/** A model that reads `x`; `fill` gets the name of the value that the operators are to read. */
export function linearModel(spec: LinearSpec, fill: (b: ModelBuilder, input: string) => void = oneWeight(spec)): Model {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, inputShape(spec));
		fill(b, spec.activations === "integer" ? quantized(b, "x", INPUT_STEP) : "x");
	});
}

/** Makes the value `name`, of the operator's shape, an output. */
export function linearOutput(graph: GraphBuilder, spec: LinearSpec, name: string): void {
	graph.output(name).type = tensorType(DataType.FLOAT, outputShape(spec));
}

function oneWeight(spec: LinearSpec) {
	return (b: ModelBuilder, input: string) => {
		linearOutput(b, spec, linearOp(b, spec, input, linearWeight(b, "W", spec), "y"));
	};
}
