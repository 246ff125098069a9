import { inferTypes, type TypeTable } from "../inference/index.js";
import { intOf, intsAttribute } from "../ir/attribute.js";
import { onnxOpset } from "../ir/model.js";
import { NameScope } from "../ir/names.js";
import { isOnnxOp, type Node } from "../ir/node.js";
import { floatTensor } from "../ir/tensor.js";
import { DataType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allGraphs } from "../ir/walk.js";
import { fourierMatrix, frameKernels } from "../quant/fourier.js";
import { definePass } from "./infra/pass.js";
import { elementTypeOf, leave, type Obstacle } from "./support/fusion.js";
import { vector } from "./support/lengths.js";
import { NodeWriter } from "./support/node-writer.js";
import { smallConstantOf } from "./support/small-constant.js";

/**
 * `STFT(signal, step, window)` -> `Conv` with cosines and sines times the window, Transpose and Reshape; `DFT(x)` of a fixed
 * length -> `MatMul` with a matrix of them. Both with real and imaginary part of a result beside each other, as the operators
 * have them. A transform stays whose step, window or length is computed, and an STFT of complex signals.
 */
export const lowerFourier = definePass<Record<never, never>>({
	name: "lower-fourier",
	summary: "Write Fourier transforms of fixed lengths, STFT and DFT, as Conv and MatMul.",
	options: {},
	run(model, context) {
		const transforms = [...allGraphs(model)].flatMap((site) =>
			[...site.graph.nodes].filter((node) => isOnnxOp(node, "STFT", "DFT")).map((node) => ({ site, node })),
		);
		if (transforms.length === 0) return false;
		const [names, types] = [new NameScope(model), inferTypes(model)];
		let changed = false;
		for (const { site, node } of transforms) {
			const opset = onnxOpset(site.function ?? model) ?? 0;
			const plan = isOnnxOp(node, "STFT") ? framesOf(node, types) : transformOf(node, types, opset);
			if ("code" in plan) {
				leave(plan, node, site, context);
				continue;
			}
			const writer = new NodeWriter(node, names);
			writer.give(0, "window" in plan ? writeFrames(plan, writer) : writeTransform(plan, writer));
			writer.finish();
			context.count("transforms lowered");
			changed = true;
		}
		return changed;
	},
});

/** An STFT that can be written as a Conv. */
interface Frames {
	/** [batch, length] or [batch, length, 1]. */
	readonly signal: Value;
	readonly step: number;
	readonly window: ArrayLike<number>;
	readonly bins: number;
}

/** A DFT that can be written as a MatMul. */
interface Transform {
	/** [..., samples, ..., parts]. */
	readonly x: Value;
	readonly rank: number;
	readonly axis: number;
	readonly samples: number;
	readonly length: number;
	readonly bins: number;
	readonly isComplex: boolean;
	readonly isInverse: boolean;
}

const unsupported = (message: string): Obstacle => ({ code: "lower/unsupported", message });

/** Weights are made in memory. */
const MAX_ELEMENTS = 2 ** 24;

function tooLarge(elements: number): Obstacle | undefined {
	if (elements <= MAX_ELEMENTS) return undefined;
	return unsupported(`its cosines and sines are ${elements} numbers, expected ${MAX_ELEMENTS} at most`);
}

function numberOf(value: Value | undefined): number | undefined {
	return smallConstantOf(value)?.values[0];
}

function framesOf(node: Node, types: TypeTable): Frames | Obstacle {
	const [signal, step, window, length] = node.inputs;
	const shape = signal && types.shapeOf(signal);
	if (signal === undefined || shape === undefined || elementTypeOf(signal, types) !== DataType.FLOAT)
		return unsupported("its signal is not FLOAT of a known rank");
	if (shape.length !== 2 && shape[2] !== 1) return unsupported("its signal is complex, expected real numbers");
	const stored = smallConstantOf(window);
	if (window !== undefined && stored === undefined) return unsupported(`its window '${window.name}' is computed`);
	const [distance, stated] = [numberOf(step), numberOf(length)];
	const frame = stored?.shape[0] ?? stated;
	if (distance === undefined || frame === undefined || (length !== undefined && stated === undefined))
		return unsupported("its frames have a step or a length that is computed");
	if (stated !== undefined && stated !== frame)
		return unsupported(`its window has ${frame} elements and its frames ${stated}, expected as many`);
	const bins = intOf(node, "onesided", 1) === 0 ? frame : Math.floor(frame / 2) + 1;
	const values = stored?.values ?? new Float32Array(frame).fill(1);
	return tooLarge(2 * bins * frame) ?? { signal, step: distance, window: values, bins };
}

function writeFrames({ signal, step, window, bins }: Frames, writer: NodeWriter): Value {
	const row = writer.emit("Reshape", [signal, vector(writer, "row_shape", 0, 1, -1)], {}, "row");
	const kernels = writer.constant("kernels", floatTensor([2 * bins, 1, window.length], frameKernels(window, bins)));
	const strides = intsAttribute([step]);
	const parts = writer.emit("Conv", [row, kernels], { strides, kernel_shape: intsAttribute([window.length]) }, "parts");
	const frames = writer.emit("Transpose", [parts], { perm: intsAttribute([0, 2, 1]) }, "frames");
	return writer.emit("Reshape", [frames, vector(writer, "shape", 0, 0, bins, 2)], {}, "spectrum");
}

/** Since this version the axis is an input, and the last but one by default. */
const AXIS_AS_INPUT = 20;

function transformOf(node: Node, types: TypeTable, opset: number): Transform | Obstacle {
	const [x, length, axisInput] = node.inputs;
	const shape = x && types.shapeOf(x);
	if (x === undefined || shape === undefined || elementTypeOf(x, types) !== DataType.FLOAT)
		return unsupported("its input is not FLOAT of a known rank");
	const isAttribute = opset < AXIS_AS_INPUT;
	const stated = isAttribute ? intOf(node, "axis", 1) : axisInput === undefined ? -2 : numberOf(axisInput);
	const axis = stated !== undefined && stated < 0 ? stated + shape.length : stated;
	const samples = axis === undefined ? undefined : shape[axis];
	const size = length === undefined ? samples : numberOf(length);
	if (axis === undefined || typeof samples !== "number" || typeof size !== "number")
		return unsupported("its axis or length is not fixed; fix the dimensions (--dim)");
	const parts = shape.at(-1);
	if (parts !== 1 && parts !== 2) return unsupported(`its last axis is ${parts ?? "not known"}, expected 1 or 2`);
	const [isInverse, isOneSided] = [intOf(node, "inverse", 0) === 1, intOf(node, "onesided", 0) === 1];
	if (isInverse && isOneSided) return unsupported("it is an inverse one of one side, which runtimes read differently");
	const bins = isOneSided ? Math.floor(size / 2) + 1 : size;
	const plan = { x, rank: shape.length, axis, samples, length: size, bins, isComplex: parts === 2, isInverse };
	return tooLarge(samples * parts * 2 * bins) ?? plan;
}

function writeTransform(transform: Transform, writer: NodeWriter): Value {
	const { x, rank, axis, samples, bins, isComplex } = transform;
	const last = rank - 2;
	const others = Array.from({ length: rank }, (_, at) => at).filter((at) => at !== axis && at !== rank - 1);
	const order = [...others, axis, rank - 1];
	const before = axis === last ? x : writer.emit("Transpose", [x], { perm: intsAttribute(order) }, "ordered");
	const kept = others.map(() => 0);
	const rows = [samples * (isComplex ? 2 : 1), 2 * bins];
	const flat = writer.emit("Reshape", [before, vector(writer, "rows_shape", ...kept, rows[0]!)], {}, "rows");
	const matrix = writer.constant("matrix", floatTensor(rows, fourierMatrix(transform)));
	const product = writer.emit("MatMul", [flat, matrix], {}, "product");
	const pairs = writer.emit("Reshape", [product, vector(writer, "shape", ...kept, bins, 2)], {}, "pairs");
	if (axis === last) return pairs;
	const back = Array.from({ length: rank }, (_, at) => order.indexOf(at));
	return writer.emit("Transpose", [pairs], { perm: intsAttribute(back) }, "spectrum");
}
