import { DataType, type Dimension } from "../../ir/types.js";
import { isStatic, quotient, unknownShape } from "../dimension.js";
import { type Shape, tensorFact } from "../fact.js";
import { all, type OperatorCall, type Rule, type RuleTable } from "../operator-call.js";
import { shaped, shapeFromElements } from "./shape.js";

/** A window that slides over one axis. */
interface Window {
	readonly kernel: Dimension;
	readonly stride: number;
	readonly dilation: number;
	readonly padBefore: number;
	readonly padAfter: number;
}

function windowsOf(call: OperatorCall, kernel: Shape): readonly Window[] {
	const rank = kernel.length;
	const strides = call.ints("strides");
	const dilations = call.ints("dilations");
	const pads = call.ints("pads");
	return kernel.map((length, axis) => ({
		kernel: length,
		stride: strides?.[axis] ?? 1,
		dilation: dilations?.[axis] ?? 1,
		padBefore: pads?.[axis] ?? 0,
		padAfter: pads?.[axis + rank] ?? 0,
	}));
}

/** How many places a window has; with stride 1 and padding that makes up for it, as many as there are elements. */
function slide(length: Dimension, window: Window, autoPad: string, rounding: "floor" | "ceil"): Dimension {
	const { kernel, stride, dilation, padBefore, padAfter } = window;
	if (autoPad.startsWith("SAME")) {
		if (stride === 1) return length;
		return typeof length === "number" ? Math.ceil(length / stride) : undefined;
	}
	if (typeof kernel !== "number") return undefined;
	const reach = dilation * (kernel - 1) + 1;
	const padding = autoPad === "VALID" ? 0 : padBefore + padAfter;
	if (stride === 1 && padding === reach - 1) return length;
	if (typeof length !== "number") return undefined;
	const steps = (length + padding - reach) / stride;
	if (rounding === "floor") return Math.floor(steps) + 1;
	const places = Math.ceil(steps) + 1;
	// A window may hang over the end, but must not start behind it.
	const startsInside = (places - 1) * stride < length + (autoPad === "VALID" ? 0 : padBefore);
	return startsInside ? places : places - 1;
}

/** [N, channels, places ...] of a convolution with weights [channels, C / group, kernel ...]. */
function convolve(call: OperatorCall, input: Shape | undefined, weight: Shape | undefined): Shape | undefined {
	const rank = input?.length ?? weight?.length ?? (call.ints("kernel_shape")?.length ?? Number.NaN) + 2;
	if (Number.isNaN(rank) || rank < 2) return undefined;
	const kernel = call.ints("kernel_shape") ?? weight?.slice(2) ?? unknownShape(rank - 2);
	if (input === undefined) return [undefined, weight?.[0], ...unknownShape(rank - 2)];
	const windows = windowsOf(call, kernel);
	const autoPad = call.string("auto_pad") ?? "NOTSET";
	const places = windows.map((window, axis) => slide(input[axis + 2], window, autoPad, "floor"));
	return [input[0], weight?.[0], ...places];
}

function convolveBack(call: OperatorCall): Shape | undefined {
	const [input, weight] = [call.shape(0), call.shape(1)];
	if (input === undefined) return undefined;
	const group = call.int("group") ?? 1;
	const perGroup = weight?.[1];
	const channels = typeof perGroup === "number" ? perGroup * group : group === 1 ? perGroup : undefined;
	const kernel = call.ints("kernel_shape") ?? weight?.slice(2) ?? unknownShape(input.length - 2);
	const outputShape = call.ints("output_shape");
	const extra = call.ints("output_padding");
	const autoPad = call.string("auto_pad") ?? "NOTSET";
	const places = windowsOf(call, kernel).map((window, axis) => {
		const stated = outputShape?.at(axis - kernel.length);
		if (stated !== undefined) return stated;
		const length = input[axis + 2];
		const { stride, dilation, padBefore, padAfter } = window;
		if (typeof length !== "number") return undefined;
		if (autoPad.startsWith("SAME")) return length * stride;
		if (typeof window.kernel !== "number") return undefined;
		const padding = autoPad === "VALID" ? 0 : padBefore + padAfter;
		return stride * (length - 1) + (extra?.[axis] ?? 0) + dilation * (window.kernel - 1) + 1 - padding;
	});
	return [input[0], channels, ...places];
}

const pool: Rule = (call) => {
	const input = call.shape(0);
	const kernel = call.ints("kernel_shape");
	if (input === undefined || kernel === undefined || input.length !== kernel.length + 2)
		return [tensorFact(call.elementType(0), undefined)];
	const rounding = call.int("ceil_mode") === 1 ? "ceil" : "floor";
	const autoPad = call.string("auto_pad") ?? "NOTSET";
	const places = windowsOf(call, kernel).map((window, axis) => slide(input[axis + 2], window, autoPad, rounding));
	const shape = [...input.slice(0, 2), ...places];
	return [tensorFact(call.elementType(0), shape), tensorFact(DataType.INT64, shape)];
};

function maxUnpool(call: OperatorCall): Shape | undefined {
	if (call.has(2)) return call.elements(2) ?? call.shape(0)?.map(() => undefined);
	const input = call.shape(0);
	const kernel = call.ints("kernel_shape");
	if (input === undefined || kernel === undefined) return undefined;
	const places = windowsOf(call, kernel).map((window, axis) => {
		const length = input[axis + 2];
		const { stride, padBefore, padAfter } = window;
		return typeof length === "number" ? stride * (length - 1) + kernel[axis]! - padBefore - padAfter : undefined;
	});
	return [...input.slice(0, 2), ...places];
}

function regionPool(call: OperatorCall, spatial: Shape): Shape {
	return [call.shape(1)?.[0], call.shape(0)?.[1], ...spatial];
}

function columnsToImage(call: OperatorCall): Shape | undefined {
	const image = shapeFromElements(call, 1);
	const block = call.elements(2);
	const input = call.shape(0);
	if (image === undefined || input === undefined) return undefined;
	return [input[0], isStatic(block) ? quotient([input[1]], block) : undefined, ...image];
}

export const CONVOLUTION_RULES: RuleTable = {
	...all(
		"Conv DeformConv",
		shaped((call) => convolve(call, call.shape(0), call.shape(1))),
	),
	ConvInteger: (call) => [tensorFact(DataType.INT32, convolve(call, call.shape(0), call.shape(1)))],
	QLinearConv: (call) => [tensorFact(call.elementType(7), convolve(call, call.shape(0), call.shape(3)))],
	ConvTranspose: shaped(convolveBack),
	...all("AveragePool LpPool MaxPool", pool),
	MaxUnpool: shaped(maxUnpool),
	MaxRoiPool: shaped((call) => regionPool(call, call.ints("pooled_shape") ?? unknownShape(2))),
	RoiAlign: (call) => [
		tensorFact(call.elementType(0), [
			call.shape(1)?.[0] ?? call.shape(2)?.[0],
			call.shape(0)?.[1],
			call.int("output_height") ?? 1,
			call.int("output_width") ?? 1,
		]),
	],
	Col2Im: shaped(columnsToImage),
};
