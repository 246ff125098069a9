import { floatAttribute, intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount, tensorType } from "../../src/ir/types.js";
import { serializeModel } from "../../src/onnx/file.js";
import { modelOf } from "../support/build.js";
import { floatFeed, floatsOf, run } from "../support/ort.js";
import { mixedSource } from "../support/random.js";
import { type Flow, INT8, INT16, normals, RandomWriter, rangeOf, type Scheme, UINT8, UINT16 } from "./random-writer.js";

/*
 * Small quantized models of random operators, shapes and forms of weights, right and wrong ones, each a function of its
 * seed: `x -> Q -> DQ [-> producer -> Q -> DQ] -> linear operator [-> what is behind] -> Q -> DQ`, one to three times.
 */

/** An input of a model. */
export interface RandomInput {
	readonly name: string;
	readonly shape: readonly number[];
	readonly values: Float32Array;
}

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
	/** What its inputs were when the encodings were taken: within them. */
	readonly inputs: readonly RandomInput[];
	/** The same model at every call, which passes may change. */
	build(): Model;
}

/** What a second error as large as the first costs. */
export const TWICE_DB = 3;

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
		inputs: [{ name: "x", shape, values }],
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

class Generator extends RandomWriter {
	model(): Model {
		return modelOf((b) => {
			this.b = b;
			this.type = this.pick([UINT16, UINT16, UINT16, UINT16, UINT16, INT16, UINT8, INT8]);
			this.isEightBits = this.type === UINT8 || this.type === INT8;
			const { op, scheme, blockSize, depth } = this.drawLinear();
			this.inputShape = this.drawShape(op, depth);
			b.input("x", DataType.FLOAT, this.inputShape);
			const flow = this.quantize({ name: "x", shape: this.inputShape });
			let result = this.stage(flow, op, scheme, blockSize);
			for (let more = this.pick([0, 0, 1, 2]); more > 0; more--) {
				const next = this.drawScheme();
				const inputs = op === "Conv" || op === "ConvTranspose" ? result.shape[1]! : result.shape.at(-1)!;
				const sizes = [16, 32, 64, 8, 24].filter((size) => inputs % size === 0);
				const again =
					(next === "lpbq" || next === "exact" || next === "block") && sizes.length === 0 ? "channel" : next;
				result = this.stage(
					result,
					result.shape.length !== 2 && op === "Gemm" ? "MatMul" : op,
					again,
					this.pick(sizes),
				);
			}
			b.output(result.name).type = tensorType(DataType.FLOAT, result.shape);
			if (this.ranges === undefined) {
				for (const name of this.quantized) if (name !== "x" && !b.value(name).isGraphOutput) b.output(name);
			}
		});
	}

	drawScheme(): Scheme {
		return this.pick<Scheme>([
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

	drawLinear() {
		const op = this.pick(["MatMul", "MatMul", "MatMul", "Gemm", "Conv", "Conv", "ConvTranspose"]);
		const scheme = this.drawScheme();
		const isBlocked = scheme === "lpbq" || scheme === "exact" || scheme === "block";
		const blockSize = this.pick([16, 32, 32, 64, 128, 256, 8, 24, 48, 96]);
		const depth = isBlocked
			? blockSize * this.pick(blockSize > 64 ? [1, 2] : [1, 2, 3, 4, 5, 7])
			: this.pick([3, 7, 16, 32, 50, 64, 96, 128]);
		return { op, scheme, blockSize, depth };
	}

	/** Not 16 rows but for one draw in many: there the compiler has faults of its own, for which there is a rule. */
	drawShape(op: string, depth: number): readonly number[] {
		const rows = this.pick([1, 2, 5, 7, 9, 16, 17, 24, 33]);
		if (op === "Gemm") return [rows, depth];
		if (op === "MatMul") {
			const leading = this.pick<readonly number[]>([[], [], [1], [1], [2], [1, 3], [2, 2], [1, 1, 2]]);
			return this.chance(0.04) ? [depth] : [...leading, rows, depth];
		}
		const side = this.pick([1, 3, 4, 5, 8]);
		return [1, depth, side, ...(this.chance(0.25) ? [] : [side])];
	}

	stage(from: Flow, op: string, scheme: Scheme, blockSize: number): Flow {
		const input = this.chance(0.4) ? this.producer(from) : from;
		const result = this.linear(input, op, scheme, blockSize);
		return this.behind(result, input, op.startsWith("Conv"));
	}

	producer(from: Flow): Flow {
		const depth = from.shape.at(-1)!;
		const op = this.pick([
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
		this.words.push(op);
		const inputs = [from.name];
		if (op === "Mul" || op === "Add") inputs.push(this.constant(floatTensor([], [0.7])));
		if (op === "LayerNormalization") {
			inputs.push(
				this.constant(
					floatTensor(
						[depth],
						normals(depth, mixedSource(++this.seed)).map((value) => 1 + value / 4),
					),
				),
			);
			if (this.chance(0.5)) inputs.push(this.constant(floatTensor([depth], normals(depth, mixedSource(++this.seed)))));
		}
		return this.quantize({ name: this.node(op, inputs), shape: from.shape }, op);
	}

	linear(from: Flow, op: string, scheme: Scheme, blockSize: number): Flow {
		const channels = this.pick([1, 2, 3, 5, 8, 16, 31, 33, 64, 96]);
		if (op === "MatMul" || op === "Gemm") {
			const depth = from.shape.at(-1)!;
			const isTransposed = op === "Gemm" && this.chance(0.5);
			this.words.push(`${op}${isTransposed ? "T" : ""}[${from.shape}]x${channels}`);
			const weight = this.weight(
				scheme,
				isTransposed ? [channels, depth] : [depth, channels],
				isTransposed ? 1 : 0,
				blockSize,
			);
			const shape = [...from.shape.slice(0, -1), channels];
			if (op === "MatMul") return { name: this.node(op, [from.name, weight.name]), shape };
			const [alpha, beta] = [this.chance(0.08) ? 0.5 : 1, this.chance(0.08) ? 0.5 : 1];
			if (alpha !== 1 || beta !== 1) this.words.push(`alpha ${alpha} beta ${beta}`);
			const attributes = {
				transB: intAttribute(isTransposed ? 1 : 0),
				alpha: floatAttribute(alpha),
				beta: floatAttribute(beta),
			};
			const bias = this.bias(channels, from, weight);
			return { name: this.node(op, [from.name, weight.name, ...bias], attributes), shape };
		}
		const rank = from.shape.length - 2;
		const depth = from.shape[1]!;
		const side = this.pick([1, 1, 1, 3]);
		const isGrouped = side === 3 && depth % 2 === 0 && channels % 2 === 0 && this.chance(0.4);
		const isDepthwise = isGrouped && this.chance(0.4) && op === "Conv";
		const group = isDepthwise ? depth : isGrouped ? 2 : 1;
		const outputs = isDepthwise ? depth : channels;
		const kernel = new Array<number>(rank).fill(side);
		this.words.push(`${op}${rank}d[${from.shape}]x${outputs},k${side},g${group}`);
		const isUp = op === "ConvTranspose";
		const shape = isUp ? [depth, outputs / group, ...kernel] : [outputs, depth / group, ...kernel];
		const weight = this.weight(scheme, shape, isUp ? 0 : 1, blockSize, isUp ? 1 : 0);
		const attributes = {
			group: intAttribute(group),
			kernel_shape: intsAttribute(kernel),
			pads: intsAttribute(new Array<number>(2 * rank).fill((side - 1) / 2)),
		};
		const bias = this.bias(outputs, from, weight);
		return {
			name: this.node(op, [from.name, weight.name, ...bias], attributes),
			shape: [1, outputs, ...from.shape.slice(2)],
		};
	}

	behind(result: Flow, input: Flow, isConv: boolean): Flow {
		const what = this.pick([
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
		if (what !== "") this.words.push(what);
		const { name, shape } = result;
		switch (what) {
			case "float":
				return result;
			case "relu":
				return this.quantize({ name: this.node("Relu", [name]), shape });
			case "reshape": {
				const target = [1, elementCount(shape.slice(0, -1)), shape.at(-1)!];
				const reshaped = this.node("Reshape", [name, this.constant(int64Tensor([3], target))]);
				return this.restored(this.quantize({ name: reshaped, shape: target }), shape);
			}
			case "transpose": {
				if (shape.length < 2) return this.quantize(result);
				const axes = shape.map((_, axis) => axis).reverse();
				const perm = { perm: intsAttribute(axes) };
				const quantized = this.quantize({ name: this.node("Transpose", [name], perm), shape: [...shape].reverse() });
				return { ...quantized, name: this.node("Transpose", [quantized.name], perm), shape };
			}
			case "residual": {
				if (String(shape) !== String(input.shape)) return this.quantize(result);
				return this.quantize({ name: this.node("Add", [name, input.name]), shape });
			}
			case "add":
			case "add16": {
				const length = isConv ? shape[1]! : shape.at(-1)!;
				const addendShape = isConv ? [length, ...shape.slice(2).fill(1)] : [length];
				const values = normals(length, mixedSource(++this.seed)).map((value) => value * this.bigness());
				const addend =
					what === "add" ? this.constant(floatTensor(addendShape, values)) : this.sixteenBits(values, addendShape);
				return this.quantize({ name: this.node("Add", this.chance(0.5) ? [name, addend] : [addend, name]), shape });
			}
			default:
				return this.quantize(result);
		}
	}

	restored(flow: Flow, shape: readonly number[]): Flow {
		const target = this.constant(int64Tensor([shape.length], shape));
		return { ...flow, name: this.node("Reshape", [flow.name, target]), shape };
	}
}
