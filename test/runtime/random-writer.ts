import { intAttribute } from "../../src/ir/attribute.js";
import { bytesOf, floatTensor, type Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import type { Attributes, GraphBuilder } from "../support/build.js";
import { mixedSource } from "../support/random.js";
import { int4Tensor } from "../support/weights.js";

export const { UINT16, INT16, UINT8, INT8, INT32 } = DataType;
export type ActivationType = typeof UINT16 | typeof INT16 | typeof UINT8 | typeof INT8;

export const CODES: Readonly<Record<ActivationType, { readonly min: number; readonly max: number }>> = {
	[UINT16]: { min: 0, max: 65535 },
	[INT16]: { min: -32768, max: 32767 },
	[UINT8]: { min: 0, max: 255 },
	[INT8]: { min: -128, max: 127 },
};

export type Range = readonly [lo: number, hi: number];

/** Of the values that are quantized, in order. */
export type Ranges = readonly Range[];

export interface Encoding {
	readonly dtype: ActivationType;
	readonly scale: number;
	readonly zeroPoint: number;
}

/** A value on its way through the model. */
export interface Flow {
	readonly name: string;
	readonly shape: readonly number[];
	/** Its scale where it comes out of a DequantizeLinear. */
	readonly scale?: number | undefined;
}

export type Scheme = "lpbq" | "exact" | "block" | "channel" | "tensor" | "float";

export interface Weight {
	readonly name: string;
	/** One a channel; undefined where there are none. */
	readonly scales: readonly number[] | undefined;
}

/** Writes parts of quantized models, drawing at random; the values of constants follow from a seed of their own. */
export class RandomWriter {
	readonly quantized: string[] = [];
	inputShape: readonly number[] = [];
	isEightBits = false;
	protected readonly random: () => number;
	protected readonly ranges: Ranges | undefined;
	protected readonly words: string[] = [];
	protected seed: number;
	protected names = 0;
	protected b!: GraphBuilder;
	protected type: ActivationType = UINT16;

	constructor(seed: number, ranges: Ranges | undefined) {
		this.random = mixedSource(seed);
		this.seed = seed * 1000;
		this.ranges = ranges;
	}

	get description(): string {
		return this.words.join(" ");
	}

	/** A constant weight whose values are about 0.05. */
	protected weight(
		scheme: Scheme,
		shape: readonly number[],
		blockAxis: number,
		blockSize: number,
		channelAxis = 1 - blockAxis,
	): Weight {
		const count = elementCount(shape);
		const channels = shape[channelAxis]!;
		if (scheme === "float") {
			this.words.push("float");
			return {
				name: this.constant(
					floatTensor(
						shape,
						normals(count, mixedSource(++this.seed)).map((value) => value / 20),
					),
				),
				scales: undefined,
			};
		}
		const isChannelled = scheme === "channel" || scheme === "tensor";
		const isFour = isChannelled ? this.chance(0.3) : true;
		const codes = this.codes(count, isFour ? -8 : -127, isFour ? 7 : 127);
		const stored = this.constant(isFour ? int4Tensor(shape, codes) : tensor(INT8, shape, bytesOf(codes)));
		const step = 0.1 / (isFour ? 15 : 254);
		const spread = this.pick([0.3, 1]);
		const channelScales = Array.from(
			normals(channels, mixedSource(++this.seed)),
			(value) => step * Math.exp(value * spread),
		);
		if (isChannelled) {
			this.words.push(`${scheme}${isFour ? 4 : 8}`);
			const isOne = scheme === "tensor";
			const scale = this.constant(isOne ? floatTensor([], [step]) : floatTensor([channels], channelScales));
			const attributes: Attributes = isOne ? {} : { axis: intAttribute(channelAxis) };
			const inputs = [stored, scale];
			const zeros = isOne ? [] : [channels];
			if (this.chance(0.85))
				inputs.push(
					this.constant(
						isFour
							? int4Tensor(zeros, new Int8Array(elementCount(zeros)))
							: tensor(INT8, zeros, new Uint8Array(elementCount(zeros))),
					),
				);
			else this.words.push("no zero point");
			return {
				name: this.node("DequantizeLinear", inputs, attributes),
				scales: isOne ? [step] : channelScales.map(Math.fround),
			};
		}
		const scaleShape = shape.map((length, axis) => (axis === blockAxis ? Math.ceil(length / blockSize) : length));
		const blocks = elementCount(scaleShape);
		const inner = elementCount(scaleShape.slice(channelAxis + 1));
		const channelOf = (index: number) => Math.floor(index / inner) % channels;
		const attributes = { axis: intAttribute(blockAxis), block_size: intAttribute(blockSize) };
		this.words.push(`${scheme}${blockSize}`);
		if (scheme === "block") {
			const scales = normals(blocks, mixedSource(++this.seed)).map((value) => step * Math.exp(value * spread));
			const inputs = [stored, this.constant(floatTensor(scaleShape, scales))];
			if (this.chance(0.5)) inputs.push(this.constant(int4Tensor(scaleShape, new Int8Array(blocks))));
			return { name: this.node("DequantizeLinear", inputs, attributes), scales: undefined };
		}
		const largest = this.pick([16, 16, 16, 16, 16, 15, 20]);
		const seen = new Set<number>();
		const integers = normals(blocks, mixedSource(++this.seed)).map((value, index) => {
			const isFirst = !seen.has(channelOf(index));
			seen.add(channelOf(index));
			return isFirst ? largest : Math.max(1, Math.min(largest, Math.round(6 * Math.exp(value * spread))));
		});
		const units = channelScales.map((scale) => Math.fround(scale / 8));
		if (scheme === "exact") {
			const scales = integers.map((integer, index) => integer * units[channelOf(index)]!);
			return {
				name: this.node("DequantizeLinear", [stored, this.constant(floatTensor(scaleShape, scales))], attributes),
				scales: units,
			};
		}
		const integerScales = this.node(
			"DequantizeLinear",
			[
				this.constant(tensor(UINT8, scaleShape, Uint8Array.from(integers))),
				this.constant(floatTensor([channels], units)),
			],
			{ axis: intAttribute(channelAxis) },
		);
		const inputs = [stored, integerScales];
		if (!this.chance(0.06)) inputs.push(this.constant(int4Tensor(scaleShape, new Int8Array(blocks))));
		return { name: this.node("DequantizeLinear", inputs, attributes), scales: units };
	}

	/** The bias of a Gemm or convolution: none, float, INT32 with one scale a channel or one, UINT16. */
	protected bias(channels: number, { scale }: Flow, { scales }: Weight): string[] {
		const kind = this.pick(["none", "float", "float", "zero", "products", "products", "one", "uint16"]);
		this.words.push(kind);
		const values = normals(channels, mixedSource(++this.seed)).map((value) =>
			kind === "zero" ? 0 : value * this.bigness(),
		);
		if (kind === "none") return [];
		if (kind === "float" || kind === "zero" || scale === undefined || scales === undefined)
			return [this.constant(floatTensor([channels], values))];
		if (kind === "uint16") return [this.sixteenBits(values)];
		const isOne = kind === "one" || scales.length === 1;
		/** The groups of a ConvTranspose have the same scales. */
		const steps = Array.from({ length: isOne ? 1 : channels }, (_, at) => scale * scales[at % scales.length]!);
		const codes = Int32Array.from(values, (value, index) => Math.round(value / steps[isOne ? 0 : index]!));
		const inputs = [
			this.constant(tensor(INT32, [channels], bytesOf(codes))),
			this.constant(floatTensor(isOne ? [] : [channels], steps)),
		];
		return [this.node("DequantizeLinear", inputs, { axis: intAttribute(0) })];
	}

	protected bigness(): number {
		return this.seed % 13 === 0 ? 100 : 0.5;
	}

	protected sixteenBits(values: Float32Array, shape: readonly number[] = [values.length]): string {
		const scale = values.reduce((max, value) => Math.max(max, Math.abs(value)), 1e-3) / 32767;
		const codes = Uint16Array.from(values, (value) => Math.round(value / scale) + 32768);
		const parameters = [this.constant(floatTensor([], [scale])), this.codePoint(UINT16, 32768)];
		return this.node("DequantizeLinear", [this.constant(tensor(UINT16, shape, bytesOf(codes))), ...parameters]);
	}

	/** Quantized and dequantized in the model's type, rarely in another; left alone in the run that finds the ranges. */
	protected quantize(flow: Flow, producer = ""): Flow {
		const isOther = this.chance(0.04);
		const dtype = isOther ? this.pick([UINT16, UINT8]) : this.type;
		if (dtype === UINT8) this.isEightBits = true;
		const isSymmetric = this.chance(0.6);
		const isFixed = this.chance(0.5);
		this.quantized.push(flow.name);
		if (this.ranges === undefined) return { ...flow, scale: undefined };
		const fixed = isFixed ? fixedEncoding(producer, dtype) : undefined;
		const { scale, zeroPoint } = fixed ?? encodingFor(this.ranges[this.quantized.length - 1]!, dtype, isSymmetric);
		const parameters = [this.constant(floatTensor([], [scale])), this.codePoint(dtype, zeroPoint)];
		const codes = this.node("QuantizeLinear", [flow.name, ...parameters]);
		return { ...flow, name: this.node("DequantizeLinear", [codes, ...parameters]), scale };
	}

	protected codePoint(dtype: ActivationType, value: number): string {
		const array = dtype === UINT16 || dtype === INT16 ? Uint16Array.of(value & 0xffff) : Uint8Array.of(value & 0xff);
		return this.constant(tensor(dtype, [], bytesOf(array)));
	}

	protected codes(count: number, min: number, max: number): Int8Array {
		const random = mixedSource(++this.seed);
		return Int8Array.from({ length: count }, () => min + Math.floor(random() * (max - min + 1)));
	}

	protected constant(value: Tensor): string {
		const name = this.fresh("c");
		this.b.initializer(name, value);
		return name;
	}

	/** A name that nothing else has, beginning with `stem`. */
	protected fresh(stem: string): string {
		return `${stem}${this.names++}`;
	}

	/** The name of what the node makes. */
	protected node(op: string, inputs: readonly string[], attributes: Attributes = {}): string {
		const name = this.fresh(`${op}_`);
		this.b.node(op, inputs, [name], attributes, name);
		return name;
	}

	protected pick<T>(choices: readonly T[]): T {
		return choices[Math.floor(this.random() * choices.length)]!;
	}

	protected chance(probability: number): boolean {
		return this.random() < probability;
	}
}

/** Numbers with the normal distribution. */
export function normals(count: number, random: () => number): Float32Array {
	const one = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
	return Float32Array.from({ length: count }, one);
}

/** What covers the range and a little more. */
export function encodingFor([lo, hi]: Range, dtype: ActivationType, isSymmetric: boolean): Encoding {
	const { min, max } = CODES[dtype];
	const middle = Math.ceil((min + max) / 2);
	const steps = max - min;
	if (isSymmetric) {
		const scale = Math.fround(Math.max((2.04 * Math.max(-lo, hi)) / steps, 1e-8));
		return { dtype, scale, zeroPoint: middle };
	}
	const scale = Math.fround(Math.max((1.02 * (hi - lo)) / steps, 1e-8));
	return { dtype, scale, zeroPoint: Math.max(min, Math.min(max, Math.round(min - lo / scale))) };
}

/** What the compiler gives the operator's output, where that is known. */
function fixedEncoding(op: string, dtype: ActivationType): Encoding | undefined {
	if (dtype !== UINT16) return undefined;
	if (op === "Sigmoid") return { dtype, scale: 2 ** -16, zeroPoint: 0 };
	return op === "Tanh" ? { dtype, scale: 2 ** -15, zeroPoint: 2 ** 15 } : undefined;
}

export function rangeOf(values: Float32Array): Range {
	return [values.reduce((a, b) => Math.min(a, b), 0), values.reduce((a, b) => Math.max(a, b), 0)];
}
