import { floatAttribute, intAttribute, intsAttribute, stringAttribute } from "../../src/ir/attribute.js";
import { bytesOf, floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { mixedSource } from "../support/random.js";
import { type Flow, normals } from "./random-writer.js";
import { OperatorWriter } from "./wide-operators.js";

const { UINT8, INT8, FLOAT } = DataType;

/** Rows of numbers: linear layers, norms, attention, recurrent layers, and what stands between them. */
export class TokenWriter extends OperatorWriter {
	protected override write(): Flow[] {
		const depth = this.pick([16, 20, 32, 33, 48, 50, 64, 64, 96, 128]);
		const rows = this.pick([1, 2, 5, 7, 8, 12, 17, 24]);
		const leading = this.pick<readonly number[]>([[1], [1], [1], [], [2], [1, 2], [1, 1, 1]]);
		let flow = this.input("x", [...leading, rows, depth]);
		this.words.push(`[${flow.shape}]`);
		for (let left = this.pick([3, 4, 5, 6, 8, 10, 13]); left > 0; left--) {
			this.seen.push(flow);
			flow = this.#layer(flow);
		}
		return this.chance(0.3) ? [flow, this.pick(this.seen)] : [flow];
	}

	#layer(from: Flow): Flow {
		const kind = this.pick([
			...["linear", "linear", "linear", "linear", "norm", "norm", "activation", "activation", "binary", "binary"],
			...["residual", "residual", "views", "views", "attention", "recurrent", "softmax", "gated", "integer", "packed"],
			...["other", "other", "other", "other"],
		]);
		return this.common(kind, from, from.shape.length - 1) ?? this.#own(kind, from);
	}

	#own(kind: string, from: Flow): Flow {
		switch (kind) {
			case "linear":
				return this.#linear(from, this.pick([from.shape.at(-1)!, 16, 31, 64, 1, 96]));
			case "norm":
				return this.#norm(from);
			case "attention":
				return this.#attention(from);
			case "recurrent":
				return this.#recurrent(from);
			case "gated": {
				const inner = this.pick([32, 64, 48]);
				const gate = this.activation(this.#linear(from, inner));
				const up = this.#linear(from, inner);
				const product = this.encode({ name: this.node("Mul", [gate.name, up.name]), shape: up.shape });
				return this.#linear(product, from.shape.at(-1)!);
			}
			case "packed":
				return this.#packed(from);
			default:
				return this.#integers(from);
		}
	}

	#linear(from: Flow, channels: number): Flow {
		const depth = from.shape.at(-1)!;
		const { scheme, blockSize } = this.drawScheme(depth);
		const isGemm = from.shape.length === 2 && this.chance(0.4);
		const isTransposed = isGemm && this.chance(0.5);
		this.words.push(`${isGemm ? "Gemm" : "MatMul"}[${from.shape}]x${channels}`);
		const shape = isTransposed ? [channels, depth] : [depth, channels];
		const weight = this.weight(scheme, shape, isTransposed ? 1 : 0, blockSize);
		const result = [...from.shape.slice(0, -1), channels];
		if (isGemm) {
			const bias = this.bias(channels, from, weight);
			const attributes = { transB: intAttribute(isTransposed ? 1 : 0) };
			return this.encode({ name: this.node("Gemm", [from.name, weight.name, ...bias], attributes), shape: result });
		}
		const product = { name: this.node("MatMul", [from.name, weight.name]), shape: result };
		const kind = this.pick(["none", "bias", "quantized", "bias16"]);
		this.words.push(kind);
		if (kind === "none") return this.encode(product);
		const sum = kind === "quantized" ? this.encode(product) : product;
		const values = normals(channels, mixedSource(++this.seed)).map((value) => value / 3);
		const vector = kind === "bias16" ? this.sixteenBits(values) : this.constant(floatTensor([channels], values));
		const operands = this.chance(0.7) ? [sum.name, vector] : [vector, sum.name];
		return this.encode({ name: this.node("Add", operands), shape: result });
	}

	/** As ONNX Runtime's MatMulNBits. */
	#packed(from: Flow): Flow {
		const [depth, channels] = [from.shape.at(-1)!, this.pick([8, 24, 33])];
		const bits = this.pick([4, 4, 4, 8, 2]);
		const blockSize = this.pick([16, 32, 64, 128]);
		const blocks = Math.ceil(depth / blockSize);
		const bytes = (blockSize * bits) / 8;
		const random = mixedSource(++this.seed);
		const packed = Uint8Array.from({ length: channels * blocks * bytes }, () => Math.floor(random() * 256));
		const steps = Float32Array.from({ length: channels * blocks }, () => (0.2 + random()) * (0.3 / 2 ** bits));
		const inputs = [
			from.name,
			this.constant(tensor(UINT8, [channels, blocks, bytes], packed)),
			this.constant(floatTensor([channels, blocks], steps)),
		];
		const isAsymmetric = this.chance(0.4);
		if (isAsymmetric) {
			const length = Math.ceil((blocks * bits) / 8);
			const points = Uint8Array.from({ length: channels * length }, () => Math.floor(random() * 256));
			inputs.push(this.constant(tensor(UINT8, [channels, length], points)));
		}
		this.words.push(`nbits${bits},${blockSize}${isAsymmetric ? "z" : ""}[${from.shape}]x${channels}`);
		const name = this.fresh("packed");
		const attributes = {
			K: intAttribute(depth),
			N: intAttribute(channels),
			bits: intAttribute(bits),
			block_size: intAttribute(blockSize),
		};
		this.b.node({ domain: "com.microsoft", type: "MatMulNBits" } as never, inputs, [name], attributes, name);
		this.root.model.opsetImports.set("com.microsoft", 1);
		return this.encode({ name, shape: [...from.shape.slice(0, -1), channels] });
	}

	/** As operators on codes: QLinearMatMul, MatMulInteger. */
	#integers(from: Flow): Flow {
		const [depth, channels] = [from.shape.at(-1)!, this.pick([8, 24])];
		const codes = this.constant(tensor(INT8, [depth, channels], bytesOf(this.codes(depth * channels, -127, 127))));
		const [step, wide] = [this.constant(floatTensor([], [0.05])), this.constant(floatTensor([], [2 ** -8]))];
		const point = this.constant(tensor(UINT8, [], Uint8Array.of(128)));
		const zero = this.constant(tensor(INT8, [], Uint8Array.of(0)));
		const read = this.node("QuantizeLinear", [from.name, step, point]);
		const shape = [...from.shape.slice(0, -1), channels];
		this.isEightBits = true;
		this.words.push("integers");
		if (this.chance(0.5)) {
			const coarse = this.constant(floatTensor([], [0.1]));
			const inputs = [read, step, point, codes, wide, zero, coarse, point];
			const result = this.node("QLinearMatMul", inputs);
			return this.encode({ name: this.node("DequantizeLinear", [result, coarse, point]), shape });
		}
		const sums = this.node("MatMulInteger", [read, codes, point, zero]);
		const floats = this.node("Cast", [sums], { to: intAttribute(FLOAT) });
		return this.encode({ name: this.node("Mul", [floats, this.constant(floatTensor([], [0.05 / 256]))]), shape });
	}

	#norm(from: Flow): Flow {
		const { name, shape } = from;
		const depth = shape.at(-1)!;
		const gamma = this.constant(
			floatTensor(
				[depth],
				normals(depth, mixedSource(++this.seed)).map((value) => 1 + value / 5),
			),
		);
		const beta = this.constant(floatTensor([depth], normals(depth, mixedSource(++this.seed))));
		const kind = this.pick(["layer", "layer", "rms", "written", "written-rms", "l2"]);
		this.words.push(`norm-${kind}`);
		const binary = (op: string, a: string, b: string) => this.encode({ name: this.node(op, [a, b]), shape }).name;
		const mean = (value: string) => {
			const axes = this.once("last", () => this.constant(int64Tensor([1], [-1])));
			return this.encode({ name: this.node("ReduceMean", [value, axes]), shape: shape.with(-1, 1) }).name;
		};
		const root = (value: string) => {
			const sum = this.node("Add", [value, this.once("eps", () => this.constant(floatTensor([], [1e-5])))]);
			return this.encode({ name: this.node("Sqrt", [sum]), shape: shape.with(-1, 1) }).name;
		};
		switch (kind) {
			case "layer": {
				const inputs = this.chance(0.7) ? [name, gamma, beta] : [name, gamma];
				return this.encode({ name: this.node("LayerNormalization", inputs, { axis: intAttribute(-1) }), shape });
			}
			case "rms": {
				const attributes = { axis: intAttribute(-1), epsilon: floatAttribute(1e-5) };
				return this.encode({ name: this.node("SimplifiedLayerNormalization", [name, gamma], attributes), shape });
			}
			case "l2":
				return this.encode({ name: this.node("LpNormalization", [name], { axis: intAttribute(-1) }), shape });
			case "written": {
				const centered = binary("Sub", name, mean(name));
				const variance = mean(binary("Mul", centered, centered));
				const scaled = binary("Mul", binary("Div", centered, root(variance)), gamma);
				return { name: binary("Add", scaled, beta), shape };
			}
			default: {
				const squares = binary(
					"Pow",
					name,
					this.once("two", () => this.constant(floatTensor([], [2]))),
				);
				return { name: binary("Mul", binary("Div", name, root(mean(squares))), gamma), shape };
			}
		}
	}

	#attention(from: Flow): Flow {
		const rank = from.shape.length;
		const depth = from.shape.at(-1)!;
		if (rank < 2 || rank > 3) return this.activation(from);
		const heads = this.pick([1, 2, 4].filter((count) => depth % count === 0));
		const rows = from.shape.at(-2)!;
		const batch = rank === 3 ? from.shape[0]! : 1;
		this.words.push(`attention${heads}`);
		const split = (flow: Flow) => {
			const to = [batch, rows, heads, depth / heads];
			const shaped = this.node("Reshape", [flow.name, this.constant(int64Tensor([4], to))]);
			return this.encode({ name: shaped, shape: to });
		};
		const turned = (flow: Flow, perm: readonly number[]) => {
			const name = this.node("Transpose", [flow.name], { perm: intsAttribute(perm) });
			return this.encode({ name, shape: perm.map((axis) => flow.shape[axis]!) });
		};
		const [q, k, v] = [0, 1, 2].map(() => split(this.#linear(from, depth)));
		const [queries, keys, values] = [turned(q!, [0, 2, 1, 3]), turned(k!, [0, 2, 3, 1]), turned(v!, [0, 2, 1, 3])];
		const scores = [batch, heads, rows, rows];
		let products = this.encode({ name: this.node("MatMul", [queries.name, keys.name]), shape: scores });
		const factor = this.constant(floatTensor([], [1 / Math.sqrt(depth / heads)]));
		products = this.encode({ name: this.node("Mul", [products.name, factor]), shape: scores });
		if (this.chance(0.4)) {
			const lowest = this.pick([-10, -100, -10000]);
			const mask = Float32Array.from({ length: rows * rows }, (_, at) =>
				at % rows > Math.floor(at / rows) ? lowest : 0,
			);
			this.words.push(`mask${lowest}`);
			const masked = this.node("Add", [products.name, this.constant(floatTensor([1, 1, rows, rows], mask))]);
			products = this.encode({ name: masked, shape: scores });
		}
		const weights = this.encode({
			name: this.node("Softmax", [products.name], { axis: intAttribute(-1) }),
			shape: scores,
		});
		const mixed = this.encode({ name: this.node("MatMul", [weights.name, values.name]), shape: values.shape });
		const back = turned(mixed, [0, 2, 1, 3]);
		const joined = this.node("Reshape", [back.name, this.constant(int64Tensor([rank], from.shape))]);
		return this.#linear(this.encode({ name: joined, shape: from.shape }), depth);
	}

	#recurrent(from: Flow): Flow {
		const [rows, depth] = from.shape.slice(-2);
		if (elementCount(from.shape) !== rows! * depth!) return this.activation(from);
		const op = this.pick(["LSTM", "GRU"]);
		const gates = op === "LSTM" ? 4 : 3;
		const hidden = this.pick([4, 8, 16, 20]);
		const direction = this.pick(["forward", "reverse", "bidirectional"]);
		const ways = direction === "bidirectional" ? 2 : 1;
		this.words.push(`${op}-${direction}`);
		const shaped = (flow: Flow, to: readonly number[]) =>
			this.encode({ name: this.node("Reshape", [flow.name, this.constant(int64Tensor([to.length], to))]), shape: to });
		const weights = (shape: readonly number[]) => {
			const values = normals(elementCount(shape), mixedSource(++this.seed)).map((value) => value / 5);
			if (this.style === "float" || this.chance(0.5)) return this.constant(floatTensor(shape, values));
			return this.sixteenBits(values, shape);
		};
		const inputs = [
			shaped(from, [rows!, 1, depth!]).name,
			weights([ways, gates * hidden, depth!]),
			weights([ways, gates * hidden, hidden]),
			...(this.chance(0.7) ? [weights([ways, 2 * gates * hidden])] : []),
		];
		const attributes = {
			hidden_size: intAttribute(hidden),
			direction: stringAttribute(direction),
			...(op === "GRU" ? { linear_before_reset: intAttribute(this.pick([0, 1])) } : {}),
		};
		const all = this.encode({ name: this.node(op, inputs, attributes), shape: [rows!, ways, 1, hidden] });
		const turned = this.node("Transpose", [all.name], { perm: intsAttribute([0, 2, 1, 3]) });
		const flow = this.encode({ name: turned, shape: [rows!, 1, ways, hidden] });
		return shaped(flow, [...from.shape.slice(0, -2), rows!, ways * hidden]);
	}
}
