import { floatAttribute, intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { bytesOf, floatTensor, int64Tensor, type Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { type Attributes, type ModelBuilder, modelOf } from "../support/build.js";
import { floatFeed, floatsOf, run } from "../support/ort.js";
import { mixedSource } from "../support/random.js";
import { int4Tensor } from "../support/weights.js";

/*
 * Small quantized models of random operators, shapes and forms of weights, right and wrong ones, each a function of its
 * seed: `x -> Q -> DQ [-> producer -> Q -> DQ] -> linear operator [-> what is behind] -> Q -> DQ`, one to three times.
 */

const { UINT16, INT16, UINT8, INT8, INT32 } = DataType;
type ActivationType = typeof UINT16 | typeof INT16 | typeof UINT8 | typeof INT8;

const CODES: Readonly<Record<ActivationType, { readonly min: number; readonly max: number }>> = {
	[UINT16]: { min: 0, max: 65535 },
	[INT16]: { min: -32768, max: 32767 },
	[UINT8]: { min: 0, max: 255 },
	[INT8]: { min: -128, max: 127 },
};

export interface RandomModel {
	/** What was drawn, for messages. */
	readonly description: string;
	/**
	 * The SQNR that a right computation reaches. With activations of 8 bits 30 dB, or what is between two computations that
	 * each lose what quantizing costs, where that is more; none where the result is 0.
	 */
	readonly leastDb: number;
	/** Has it activations of 8 bits? */
	readonly isEightBits: boolean;
	/** What its input `x` was when the encodings were taken: within them. */
	readonly x: { readonly shape: readonly number[]; readonly values: Float32Array };
	/** The same model at every call, which passes may change. */
	build(): Model;
}

/** What a second error as large as the first costs. */
const TWICE_DB = 3;

type Range = readonly [lo: number, hi: number];

/** Of the values that are quantized, in order. */
type Ranges = readonly Range[];

/** The model of `seed`, its encodings taken from a run without any on ONNX Runtime's CPU. */
export async function randomModel(seed: number): Promise<RandomModel> {
	const float = new Generator(seed, undefined);
	const floatModel = float.model();
	const shape = float.inputShape;
	const values = normals(elementCount(shape), mixedSource(seed + 17));
	const feed = floatFeed(shape, values);
	const outputs = await run(serializeModel(floatModel), { x: feed });
	const ranges = float.quantized.map((name) => rangeOf(name === "x" ? values : floatsOf(outputs[name])));
	const build = () => new Generator(seed, ranges).model();
	const { name } = floatModel.graph.outputs[0]!;
	const exact = floatsOf(outputs[name]);
	/** After a LayerNormalization over one element there is nothing left to compare. */
	const isSilent = exact.every((value) => value === 0);
	const ownDb = async () => sqnrOf(exact, floatsOf(Object.values(await run(serializeModel(build()), { x: feed }))[0]));
	return {
		description: float.description,
		leastDb: isSilent ? Number.NEGATIVE_INFINITY : float.isEightBits ? Math.min(30, (await ownDb()) - TWICE_DB) : 35,
		isEightBits: float.isEightBits,
		x: { shape, values },
		build,
	};
}

function sqnrOf(exact: Float32Array, values: Float32Array): number {
	let signal = 0;
	let noise = 0;
	for (const [index, value] of exact.entries()) {
		signal += value ** 2;
		noise += (values[index]! - value) ** 2;
	}
	return 10 * Math.log10(signal / noise);
}

/** Numbers with the normal distribution. */
function normals(count: number, random: () => number): Float32Array {
	const one = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
	return Float32Array.from({ length: count }, one);
}

function rangeOf(values: Float32Array): Range {
	return [values.reduce((a, b) => Math.min(a, b), 0), values.reduce((a, b) => Math.max(a, b), 0)];
}

interface Encoding {
	readonly dtype: ActivationType;
	readonly scale: number;
	readonly zeroPoint: number;
}

/** A value on its way through the model. */
interface Flow {
	readonly name: string;
	readonly shape: readonly number[];
	/** Its scale where it comes out of a DequantizeLinear. */
	readonly scale?: number | undefined;
}

type Scheme = "lpbq" | "exact" | "block" | "channel" | "tensor" | "float";

interface Weight {
	readonly name: string;
	/** One a channel; undefined where there are none. */
	readonly scales: readonly number[] | undefined;
}

class Generator {
	readonly quantized: string[] = [];
	inputShape: readonly number[] = [];
	isEightBits = false;
	readonly #random: () => number;
	readonly #ranges: Ranges | undefined;
	readonly #words: string[] = [];
	#seed: number;
	#names = 0;
	#b!: ModelBuilder;
	#type: ActivationType = UINT16;

	constructor(seed: number, ranges: Ranges | undefined) {
		this.#random = mixedSource(seed);
		this.#seed = seed * 1000;
		this.#ranges = ranges;
	}

	get description(): string {
		return this.#words.join(" ");
	}

	model(): Model {
		return modelOf((b) => {
			this.#b = b;
			this.#type = this.#pick([UINT16, UINT16, UINT16, UINT16, UINT16, INT16, UINT8, INT8]);
			this.isEightBits = this.#type === UINT8 || this.#type === INT8;
			const { op, scheme, blockSize, depth } = this.#drawLinear();
			this.inputShape = this.#drawShape(op, depth);
			b.input("x", DataType.FLOAT, this.inputShape);
			const flow = this.#quantize({ name: "x", shape: this.inputShape });
			let result = this.#stage(flow, op, scheme, blockSize);
			for (let more = this.#pick([0, 0, 1, 2]); more > 0; more--) {
				const next = this.#drawScheme();
				const inputs = op === "Conv" || op === "ConvTranspose" ? result.shape[1]! : result.shape.at(-1)!;
				const sizes = [16, 32, 64, 8, 24].filter((size) => inputs % size === 0);
				const again =
					(next === "lpbq" || next === "exact" || next === "block") && sizes.length === 0 ? "channel" : next;
				result = this.#stage(
					result,
					result.shape.length !== 2 && op === "Gemm" ? "MatMul" : op,
					again,
					this.#pick(sizes),
				);
			}
			b.output(result.name).type = tensorType(DataType.FLOAT, result.shape);
			if (this.#ranges === undefined) {
				for (const name of this.quantized) if (name !== "x" && !b.value(name).isGraphOutput) b.output(name);
			}
		});
	}

	#drawScheme(): Scheme {
		return this.#pick<Scheme>([
			"lpbq",
			"lpbq",
			"exact",
			"exact",
			"block",
			"channel",
			"channel",
			"channel",
			"tensor",
			"float",
		]);
	}

	#drawLinear() {
		const op = this.#pick(["MatMul", "MatMul", "MatMul", "Gemm", "Conv", "Conv", "ConvTranspose"]);
		const scheme = this.#drawScheme();
		const isBlocked = scheme === "lpbq" || scheme === "exact" || scheme === "block";
		const blockSize = this.#pick([16, 32, 32, 64, 128, 256, 8, 24, 48, 96]);
		const depth = isBlocked
			? blockSize * this.#pick(blockSize > 64 ? [1, 2] : [1, 2, 3, 4, 5, 7])
			: this.#pick([3, 7, 16, 32, 50, 64, 96, 128]);
		return { op, scheme, blockSize, depth };
	}

	/** Not 16 rows but for one draw in many: there the compiler has faults of its own, for which there is a rule. */
	#drawShape(op: string, depth: number): readonly number[] {
		const rows = this.#pick([1, 2, 5, 7, 9, 16, 17, 24, 33]);
		if (op === "Gemm") return [rows, depth];
		if (op === "MatMul") {
			const leading = this.#pick<readonly number[]>([[], [], [1], [1], [2], [1, 3], [2, 2], [1, 1, 2]]);
			return this.#chance(0.04) ? [depth] : [...leading, rows, depth];
		}
		const side = this.#pick([1, 3, 4, 5, 8]);
		return [1, depth, side, ...(this.#chance(0.25) ? [] : [side])];
	}

	#stage(from: Flow, op: string, scheme: Scheme, blockSize: number): Flow {
		const input = this.#chance(0.4) ? this.#producer(from) : from;
		const result = this.#linear(input, op, scheme, blockSize);
		return this.#behind(result, input, op.startsWith("Conv"));
	}

	#producer(from: Flow): Flow {
		const depth = from.shape.at(-1)!;
		const op = this.#pick([
			"Tanh",
			"Sigmoid",
			"Relu",
			"Gelu",
			"Softmax",
			"Mul",
			"LayerNormalization",
			"HardSwish",
			"Add",
		]);
		this.#words.push(op);
		const inputs = [from.name];
		if (op === "Mul" || op === "Add") inputs.push(this.#constant(floatTensor([], [0.7])));
		if (op === "LayerNormalization") {
			inputs.push(
				this.#constant(
					floatTensor(
						[depth],
						normals(depth, mixedSource(++this.#seed)).map((value) => 1 + value / 4),
					),
				),
			);
			if (this.#chance(0.5))
				inputs.push(this.#constant(floatTensor([depth], normals(depth, mixedSource(++this.#seed)))));
		}
		return this.#quantize({ name: this.#node(op, inputs), shape: from.shape }, op);
	}

	#linear(from: Flow, op: string, scheme: Scheme, blockSize: number): Flow {
		const channels = this.#pick([1, 2, 3, 5, 8, 16, 31, 33, 64, 96]);
		if (op === "MatMul" || op === "Gemm") {
			const depth = from.shape.at(-1)!;
			const isTransposed = op === "Gemm" && this.#chance(0.5);
			this.#words.push(`${op}${isTransposed ? "T" : ""}[${from.shape}]x${channels}`);
			const weight = this.#weight(
				scheme,
				isTransposed ? [channels, depth] : [depth, channels],
				isTransposed ? 1 : 0,
				blockSize,
			);
			const shape = [...from.shape.slice(0, -1), channels];
			if (op === "MatMul") return { name: this.#node(op, [from.name, weight.name]), shape };
			const [alpha, beta] = [this.#chance(0.08) ? 0.5 : 1, this.#chance(0.08) ? 0.5 : 1];
			if (alpha !== 1 || beta !== 1) this.#words.push(`alpha ${alpha} beta ${beta}`);
			const attributes = {
				transB: intAttribute(isTransposed ? 1 : 0),
				alpha: floatAttribute(alpha),
				beta: floatAttribute(beta),
			};
			const bias = this.#bias(channels, from, weight);
			return { name: this.#node(op, [from.name, weight.name, ...bias], attributes), shape };
		}
		const rank = from.shape.length - 2;
		const depth = from.shape[1]!;
		const side = this.#pick([1, 1, 1, 3]);
		const isGrouped = side === 3 && depth % 2 === 0 && channels % 2 === 0 && this.#chance(0.4);
		const isDepthwise = isGrouped && this.#chance(0.4) && op === "Conv";
		const group = isDepthwise ? depth : isGrouped ? 2 : 1;
		const outputs = isDepthwise ? depth : channels;
		const kernel = new Array<number>(rank).fill(side);
		this.#words.push(`${op}${rank}d[${from.shape}]x${outputs},k${side},g${group}`);
		const isUp = op === "ConvTranspose";
		const shape = isUp ? [depth, outputs / group, ...kernel] : [outputs, depth / group, ...kernel];
		const weight = this.#weight(scheme, shape, isUp ? 0 : 1, blockSize, isUp ? 1 : 0);
		const attributes = {
			group: intAttribute(group),
			kernel_shape: intsAttribute(kernel),
			pads: intsAttribute(new Array<number>(2 * rank).fill((side - 1) / 2)),
		};
		const bias = this.#bias(outputs, from, weight);
		return {
			name: this.#node(op, [from.name, weight.name, ...bias], attributes),
			shape: [1, outputs, ...from.shape.slice(2)],
		};
	}

	/** A constant weight whose values are about 0.05. */
	#weight(
		scheme: Scheme,
		shape: readonly number[],
		blockAxis: number,
		blockSize: number,
		channelAxis = 1 - blockAxis,
	): Weight {
		const count = elementCount(shape);
		const channels = shape[channelAxis]!;
		if (scheme === "float") {
			this.#words.push("float");
			return {
				name: this.#constant(
					floatTensor(
						shape,
						normals(count, mixedSource(++this.#seed)).map((value) => value / 20),
					),
				),
				scales: undefined,
			};
		}
		const isChannelled = scheme === "channel" || scheme === "tensor";
		const isFour = isChannelled ? this.#chance(0.3) : true;
		const codes = this.#codes(count, isFour ? -8 : -127, isFour ? 7 : 127);
		const stored = this.#constant(isFour ? int4Tensor(shape, codes) : tensor(INT8, shape, bytesOf(codes)));
		const step = 0.1 / (isFour ? 15 : 254);
		const spread = this.#pick([0.3, 1]);
		const channelScales = Array.from(
			normals(channels, mixedSource(++this.#seed)),
			(value) => step * Math.exp(value * spread),
		);
		if (isChannelled) {
			this.#words.push(`${scheme}${isFour ? 4 : 8}`);
			const isOne = scheme === "tensor";
			const scale = this.#constant(isOne ? floatTensor([], [step]) : floatTensor([channels], channelScales));
			const attributes: Attributes = isOne ? {} : { axis: intAttribute(channelAxis) };
			const inputs = [stored, scale];
			const zeros = isOne ? [] : [channels];
			if (this.#chance(0.85))
				inputs.push(
					this.#constant(
						isFour
							? int4Tensor(zeros, new Int8Array(elementCount(zeros)))
							: tensor(INT8, zeros, new Uint8Array(elementCount(zeros))),
					),
				);
			else this.#words.push("no zero point");
			return {
				name: this.#node("DequantizeLinear", inputs, attributes),
				scales: isOne ? [step] : channelScales.map(Math.fround),
			};
		}
		const scaleShape = shape.map((length, axis) => (axis === blockAxis ? Math.ceil(length / blockSize) : length));
		const blocks = elementCount(scaleShape);
		const inner = elementCount(scaleShape.slice(channelAxis + 1));
		const channelOf = (index: number) => Math.floor(index / inner) % channels;
		const attributes = { axis: intAttribute(blockAxis), block_size: intAttribute(blockSize) };
		this.#words.push(`${scheme}${blockSize}`);
		if (scheme === "block") {
			const scales = normals(blocks, mixedSource(++this.#seed)).map((value) => step * Math.exp(value * spread));
			const inputs = [stored, this.#constant(floatTensor(scaleShape, scales))];
			if (this.#chance(0.5)) inputs.push(this.#constant(int4Tensor(scaleShape, new Int8Array(blocks))));
			return { name: this.#node("DequantizeLinear", inputs, attributes), scales: undefined };
		}
		const largest = this.#pick([16, 16, 16, 16, 16, 15, 20]);
		const seen = new Set<number>();
		const integers = normals(blocks, mixedSource(++this.#seed)).map((value, index) => {
			const isFirst = !seen.has(channelOf(index));
			seen.add(channelOf(index));
			return isFirst ? largest : Math.max(1, Math.min(largest, Math.round(6 * Math.exp(value * spread))));
		});
		const units = channelScales.map((scale) => Math.fround(scale / 8));
		if (scheme === "exact") {
			const scales = integers.map((integer, index) => integer * units[channelOf(index)]!);
			return {
				name: this.#node("DequantizeLinear", [stored, this.#constant(floatTensor(scaleShape, scales))], attributes),
				scales: units,
			};
		}
		const integerScales = this.#node(
			"DequantizeLinear",
			[
				this.#constant(tensor(UINT8, scaleShape, Uint8Array.from(integers))),
				this.#constant(floatTensor([channels], units)),
			],
			{ axis: intAttribute(channelAxis) },
		);
		const inputs = [stored, integerScales];
		if (!this.#chance(0.06)) inputs.push(this.#constant(int4Tensor(scaleShape, new Int8Array(blocks))));
		return { name: this.#node("DequantizeLinear", inputs, attributes), scales: units };
	}

	/** The bias of a Gemm or convolution: none, float, INT32 with one scale a channel or one, UINT16. */
	#bias(channels: number, { scale }: Flow, { scales }: Weight): string[] {
		const kind = this.#pick(["none", "float", "float", "zero", "products", "products", "one", "uint16"]);
		this.#words.push(kind);
		const values = normals(channels, mixedSource(++this.#seed)).map((value) =>
			kind === "zero" ? 0 : value * this.#bigness(),
		);
		if (kind === "none") return [];
		if (kind === "float" || kind === "zero" || scale === undefined || scales === undefined)
			return [this.#constant(floatTensor([channels], values))];
		if (kind === "uint16") return [this.#sixteenBits(values)];
		const isOne = kind === "one" || scales.length === 1;
		/** The groups of a ConvTranspose have the same scales. */
		const steps = Array.from({ length: isOne ? 1 : channels }, (_, at) => scale * scales[at % scales.length]!);
		const codes = Int32Array.from(values, (value, index) => Math.round(value / steps[isOne ? 0 : index]!));
		const inputs = [
			this.#constant(tensor(INT32, [channels], bytesOf(codes))),
			this.#constant(floatTensor(isOne ? [] : [channels], steps)),
		];
		return [this.#node("DequantizeLinear", inputs, { axis: intAttribute(0) })];
	}

	#bigness(): number {
		return this.#seed % 13 === 0 ? 100 : 0.5;
	}

	#sixteenBits(values: Float32Array, shape: readonly number[] = [values.length]): string {
		const scale = values.reduce((max, value) => Math.max(max, Math.abs(value)), 1e-3) / 32767;
		const codes = Uint16Array.from(values, (value) => Math.round(value / scale) + 32768);
		const parameters = [this.#constant(floatTensor([], [scale])), this.#codePoint(UINT16, 32768)];
		return this.#node("DequantizeLinear", [this.#constant(tensor(UINT16, shape, bytesOf(codes))), ...parameters]);
	}

	#behind(result: Flow, input: Flow, isConv: boolean): Flow {
		const what = this.#pick([
			"",
			"",
			"",
			"",
			"",
			"",
			"add",
			"add16",
			"relu",
			"reshape",
			"residual",
			"float",
			"transpose",
		]);
		if (what !== "") this.#words.push(what);
		const { name, shape } = result;
		switch (what) {
			case "float":
				return result;
			case "relu":
				return this.#quantize({ name: this.#node("Relu", [name]), shape });
			case "reshape": {
				const target = [1, elementCount(shape.slice(0, -1)), shape.at(-1)!];
				const reshaped = this.#node("Reshape", [name, this.#constant(int64Tensor([3], target))]);
				return this.#restored(this.#quantize({ name: reshaped, shape: target }), shape);
			}
			case "transpose": {
				if (shape.length < 2) return this.#quantize(result);
				const axes = shape.map((_, axis) => axis).reverse();
				const perm = { perm: intsAttribute(axes) };
				const quantized = this.#quantize({ name: this.#node("Transpose", [name], perm), shape: [...shape].reverse() });
				return { ...quantized, name: this.#node("Transpose", [quantized.name], perm), shape };
			}
			case "residual": {
				if (String(shape) !== String(input.shape)) return this.#quantize(result);
				return this.#quantize({ name: this.#node("Add", [name, input.name]), shape });
			}
			case "add":
			case "add16": {
				const length = isConv ? shape[1]! : shape.at(-1)!;
				const addendShape = isConv ? [length, ...shape.slice(2).fill(1)] : [length];
				const values = normals(length, mixedSource(++this.#seed)).map((value) => value * this.#bigness());
				const addend =
					what === "add" ? this.#constant(floatTensor(addendShape, values)) : this.#sixteenBits(values, addendShape);
				return this.#quantize({ name: this.#node("Add", this.#chance(0.5) ? [name, addend] : [addend, name]), shape });
			}
			default:
				return this.#quantize(result);
		}
	}

	#restored(flow: Flow, shape: readonly number[]): Flow {
		const target = this.#constant(int64Tensor([shape.length], shape));
		return { ...flow, name: this.#node("Reshape", [flow.name, target]), shape };
	}

	/** Quantized and dequantized in the model's type, rarely in another; left alone in the run that finds the ranges. */
	#quantize(flow: Flow, producer = ""): Flow {
		const isOther = this.#chance(0.04);
		const dtype = isOther ? this.#pick([UINT16, UINT8]) : this.#type;
		if (dtype === UINT8) this.isEightBits = true;
		const isSymmetric = this.#chance(0.6);
		const isFixed = this.#chance(0.5);
		this.quantized.push(flow.name);
		if (this.#ranges === undefined) return { ...flow, scale: undefined };
		const fixed = isFixed ? fixedEncoding(producer, dtype) : undefined;
		const { scale, zeroPoint } = fixed ?? encodingFor(this.#ranges[this.quantized.length - 1]!, dtype, isSymmetric);
		const parameters = [this.#constant(floatTensor([], [scale])), this.#codePoint(dtype, zeroPoint)];
		const codes = this.#node("QuantizeLinear", [flow.name, ...parameters]);
		return { ...flow, name: this.#node("DequantizeLinear", [codes, ...parameters]), scale };
	}

	#codePoint(dtype: ActivationType, value: number): string {
		const array = dtype === UINT16 || dtype === INT16 ? Uint16Array.of(value & 0xffff) : Uint8Array.of(value & 0xff);
		return this.#constant(tensor(dtype, [], bytesOf(array)));
	}

	#codes(count: number, min: number, max: number): Int8Array {
		const random = mixedSource(++this.#seed);
		return Int8Array.from({ length: count }, () => min + Math.floor(random() * (max - min + 1)));
	}

	#constant(value: Tensor): string {
		const name = `c${this.#names++}`;
		this.#b.initializer(name, value);
		return name;
	}

	/** The name of what the node makes. */
	#node(op: string, inputs: readonly string[], attributes: Attributes = {}): string {
		const name = `${op}_${this.#names++}`;
		this.#b.node(op, inputs, [name], attributes, name);
		return name;
	}

	#pick<T>(choices: readonly T[]): T {
		return choices[Math.floor(this.#random() * choices.length)]!;
	}

	#chance(probability: number): boolean {
		return this.#random() < probability;
	}
}

/** What covers the range and a little more. */
function encodingFor([lo, hi]: Range, dtype: ActivationType, isSymmetric: boolean): Encoding {
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
