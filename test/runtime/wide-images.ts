import { floatAttribute, intAttribute, intsAttribute, stringAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { elementCount } from "../../src/ir/types.js";
import { mixedSource } from "../support/random.js";
import { type Flow, normals } from "./random-writer.js";
import { OperatorWriter } from "./wide-operators.js";

/** Positions in one, two or three dimensions, [1, C, ...]: convolutions, pools, norms of channels, and what is between. */
export class ImageWriter extends OperatorWriter {
	protected override write(): Flow[] {
		const dimensions = this.pick([1, 2, 2, 2, 2, 3]);
		const channels = this.pick([1, 3, 4, 8, 16, 32]);
		const sides = { 1: [8, 15, 33], 2: [4, 7, 8, 12], 3: [3, 4, 5] }[dimensions]!;
		let flow = this.input("x", [1, channels, ...Array.from({ length: dimensions }, () => this.pick(sides))]);
		this.words.push(`[${flow.shape}]`);
		for (let left = this.pick([3, 4, 5, 6, 8, 10, 13]); left > 0; left--) {
			this.seen.push(flow);
			flow = this.#layer(flow);
		}
		if (this.chance(0.3)) flow = this.#head(flow);
		return this.chance(0.3) ? [flow, this.pick(this.seen)] : [flow];
	}

	#layer(from: Flow): Flow {
		const kind = this.pick([
			...["conv", "conv", "conv", "conv", "conv", "activation", "activation", "binary", "residual", "residual"],
			...["views", "pool", "pool", "batch", "batch", "transposed", "excite", "resize", "pad", "instance", "softmax"],
			...["depth", "global", "shuffle", "grouped", "other", "other", "other"],
		]);
		return this.common(kind, from, 1) ?? this.#own(kind, from);
	}

	#own(kind: string, from: Flow): Flow {
		switch (kind) {
			case "conv":
				return this.#conv(from);
			case "pool":
				return this.#pool(from);
			case "batch":
				return this.#batch(from);
			case "transposed":
				return this.#transposed(from);
			case "excite":
				return this.#excite(from);
			case "resize":
				return this.#resize(from);
			case "pad":
				return this.#pad(from);
			case "instance":
				return this.#instance(from);
			case "global": {
				const op = this.pick(["GlobalAveragePool", "GlobalMaxPool"]);
				this.words.push(op);
				const shape = [...from.shape.slice(0, 2), ...from.shape.slice(2).fill(1)];
				const pooled = this.encode({ name: this.node(op, [from.name]), shape });
				return this.encode({ name: this.node("Mul", [from.name, pooled.name]), shape: from.shape });
			}
			case "shuffle":
				return this.#shuffle(from);
			case "grouped":
				return this.#grouped(from);
			default:
				return this.#depthToSpace(from);
		}
	}

	#conv(from: Flow): Flow {
		const [, depth, ...sides] = from.shape;
		const kernel = sides.map((side) => this.pick([1, 1, 3, 3, 5, 2].filter((length) => length <= side)));
		const isPointwise = kernel.every((length) => length === 1);
		const group = this.pick([1, 1, 1, depth!, 2, 4].filter((count) => depth! % count === 0));
		const channels = group * this.pick(group === depth ? [1, 1, 2] : [1, 4, 8, 12]);
		const dilation = this.pick([1, 1, 1, 2].filter((step) => kernel.every((k, at) => (k - 1) * step < sides[at]!)));
		const stride = this.pick([1, 1, 1, 2]);
		const begin = kernel.map((length) => this.pick([0, Math.floor(((length - 1) * dilation) / 2)]));
		const end = kernel.map((length, at) => this.pick([begin[at]!, begin[at]!, 0, length > 1 ? 1 : 0]));
		const drawn = this.drawScheme(depth! / group);
		const isBlocked = ["lpbq", "exact", "block"].includes(drawn.scheme);
		const scheme = isBlocked && !isPointwise && this.chance(0.5) ? "channel" : drawn.scheme;
		const names = `Conv[${from.shape}]x${channels},k${kernel},g${group},s${stride},d${dilation},p${begin};${end}`;
		this.words.push(names);
		const weight = this.weight(scheme, [channels, depth! / group, ...kernel], 1, drawn.blockSize, 0);
		const attributes = {
			group: intAttribute(group),
			kernel_shape: intsAttribute(kernel),
			pads: intsAttribute([...begin, ...end]),
			strides: intsAttribute(kernel.map(() => stride)),
			dilations: intsAttribute(kernel.map(() => dilation)),
		};
		const lengths = sides.map((side, at) =>
			Math.floor((side + begin[at]! + end[at]! - (kernel[at]! - 1) * dilation - 1) / stride + 1),
		);
		const name = this.node("Conv", [from.name, weight.name, ...this.bias(channels, from, weight)], attributes);
		return this.#next({ name, shape: [1, channels, ...lengths] });
	}

	/** Sometimes an operator follows before the result is quantized, as exporters leave Relu and Clip. */
	#next(flow: Flow): Flow {
		if (!this.chance(0.3)) return this.encode(flow);
		this.words.push("relu");
		return this.encode({ ...flow, name: this.node("Relu", [flow.name]) });
	}

	#transposed(from: Flow): Flow {
		const [, depth, ...sides] = from.shape;
		if (elementCount(sides) > 200) return this.activation(from);
		const stride = this.pick([1, 2, 2]);
		const length = this.pick([1, 2, 3, 4]);
		const pad = this.pick([0, 0, Math.floor((length - 1) / 2)]);
		const group = this.pick([1, 1, 2, depth!].filter((count) => depth! % count === 0));
		const perGroup = this.pick([1, 4, 6]);
		const extra = stride === 2 ? this.pick([0, 0, 1]) : 0;
		const lengths = sides.map((side) => (side - 1) * stride + length - 2 * pad + extra);
		if (lengths.some((side) => side <= 0)) return from;
		const scheme = this.style === "float" ? "float" : this.pick(["channel", "tensor", "float"] as const);
		this.words.push(
			`ConvTranspose[${from.shape}]x${perGroup * group},k${length},g${group},s${stride},p${pad},o${extra}`,
		);
		const kernel = sides.map(() => length);
		const weight = this.weight(scheme, [depth!, perGroup, ...kernel], 0, 32, 1);
		const attributes = {
			group: intAttribute(group),
			kernel_shape: intsAttribute(kernel),
			strides: intsAttribute(sides.map(() => stride)),
			pads: intsAttribute([...sides, ...sides].map(() => pad)),
			output_padding: intsAttribute(sides.map(() => extra)),
		};
		const bias = this.bias(perGroup * group, from, weight);
		const name = this.node("ConvTranspose", [from.name, weight.name, ...bias], attributes);
		return this.#next({ name, shape: [1, perGroup * group, ...lengths] });
	}

	#pool(from: Flow): Flow {
		const sides = from.shape.slice(2);
		const op = this.pick(["MaxPool", "AveragePool"]);
		const length = this.pick([2, 3].filter((size) => sides.every((side) => side >= size)));
		if (length === undefined) return from;
		const stride = this.pick([1, 2]);
		const pad = this.pick([0, 0, 1]);
		const isCeil = this.chance(0.15) && stride === 2;
		const isCounted = this.chance(0.3);
		this.words.push(`${op}${length},${stride},${pad}${isCeil ? "c" : ""}${isCounted ? "i" : ""}`);
		const round = isCeil ? Math.ceil : Math.floor;
		const lengths = sides.map((side) => {
			const count = round((side + 2 * pad - length) / stride) + 1;
			return isCeil && (count - 1) * stride >= side + pad ? count - 1 : count;
		});
		const name = this.node(op, [from.name], {
			kernel_shape: intsAttribute(sides.map(() => length)),
			strides: intsAttribute(sides.map(() => stride)),
			pads: intsAttribute([...sides, ...sides].map(() => pad)),
			ceil_mode: intAttribute(isCeil ? 1 : 0),
			...(op === "AveragePool" ? { count_include_pad: intAttribute(isCounted ? 1 : 0) } : {}),
		});
		return this.encode({ name, shape: [...from.shape.slice(0, 2), ...lengths] });
	}

	#channelwise(depth: number, offset: number): string {
		const values = normals(depth, mixedSource(++this.seed)).map((value) => offset + value / 5);
		return this.constant(floatTensor([depth], values));
	}

	#batch(from: Flow): Flow {
		const depth = from.shape[1]!;
		this.words.push("batch");
		const parameters = [1, 0, 0, 1.5].map((offset) => this.#channelwise(depth, offset));
		return this.#next({ name: this.node("BatchNormalization", [from.name, ...parameters]), shape: from.shape });
	}

	#instance(from: Flow): Flow {
		const depth = from.shape[1]!;
		this.words.push("instance");
		const parameters = [this.#channelwise(depth, 1), this.#channelwise(depth, 0)];
		const attributes = { epsilon: floatAttribute(1e-3) };
		const name = this.node("InstanceNormalization", [from.name, ...parameters], attributes);
		return this.encode({ name, shape: from.shape });
	}

	/** Squeeze and excite. */
	#excite(from: Flow): Flow {
		const depth = from.shape[1]!;
		const small = [1, depth, ...from.shape.slice(2).map(() => 1)];
		this.words.push("excite");
		const pooled = this.encode({ name: this.node("GlobalAveragePool", [from.name]), shape: small });
		const weight = this.weight("channel", [depth, depth, ...from.shape.slice(2).map(() => 1)], 1, 32, 0);
		const mixed = this.encode({ name: this.node("Conv", [pooled.name, weight.name]), shape: small });
		const gate = this.node(this.pick(["Sigmoid", "HardSigmoid"]), [mixed.name]);
		const factors = this.encode({ name: gate, shape: small });
		return this.encode({ name: this.node("Mul", [from.name, factors.name]), shape: from.shape });
	}

	#resize(from: Flow): Flow {
		const sides = from.shape.slice(2);
		if (sides.length !== 2 || elementCount(sides) > 200) return from;
		const mode = this.pick(["nearest", "nearest", "linear", "linear"]);
		const way = this.pick(["asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel"]);
		const rounding = this.pick(["floor", "round_prefer_floor", "ceil", "round_prefer_ceil"]);
		this.words.push(`resize-${mode}-${way}-${rounding}`);
		const scales = this.constant(floatTensor([4], [1, 1, 2, 2]));
		const attributes = {
			mode: stringAttribute(mode),
			coordinate_transformation_mode: stringAttribute(way),
			nearest_mode: stringAttribute(rounding),
		};
		const name = this.node("Resize", [from.name, "", scales], attributes);
		return this.encode({ name, shape: [...from.shape.slice(0, 2), ...sides.map((side) => 2 * side)] });
	}

	#pad(from: Flow): Flow {
		const mode = this.pick(["constant", "constant", "reflect", "edge"]);
		const amounts = from.shape.map((side, axis) => (axis > 1 && side > 2 ? this.pick([0, 1, 2]) : 0));
		const behind = from.shape.map((side, axis) => (axis > 1 && side > 2 ? this.pick([0, 1, 2]) : 0));
		this.words.push(`pad-${mode}${amounts};${behind}`);
		const pads = this.constant(int64Tensor([2 * amounts.length], [...amounts, ...behind]));
		const name = this.node("Pad", [from.name, pads], { mode: stringAttribute(mode) });
		return this.encode({ name, shape: from.shape.map((side, axis) => side + amounts[axis]! + behind[axis]!) });
	}

	/** A norm of groups of channels, of all together, or of neighbours; means of single channels would be nothing. */
	#grouped(from: Flow): Flow {
		const depth = from.shape[1]!;
		const op = this.pick(["GroupNormalization", "GroupNormalization", "MeanVarianceNormalization", "LRN"]);
		this.words.push(op);
		if (op === "MeanVarianceNormalization") {
			const axes = from.shape.map((_, axis) => axis).slice(1);
			return this.encode({ name: this.node(op, [from.name], { axes: intsAttribute(axes) }), shape: from.shape });
		}
		if (op === "LRN" && from.shape.length !== 4) return from;
		if (op === "LRN")
			return this.encode({ name: this.node(op, [from.name], { size: intAttribute(3) }), shape: from.shape });
		const groups = this.pick([1, 2, 4].filter((count) => depth % count === 0));
		const parameters = [this.#channelwise(depth, 1), this.#channelwise(depth, 0)];
		const name = this.node(op, [from.name, ...parameters], { num_groups: intAttribute(groups) });
		return this.encode({ name, shape: from.shape });
	}

	#shuffle(from: Flow): Flow {
		const [batch, depth, ...sides] = from.shape;
		if (depth! % 2 !== 0) return from;
		this.words.push("shuffle");
		const shaped = (flow: Flow, to: readonly number[]) =>
			this.encode({ name: this.node("Reshape", [flow.name, this.constant(int64Tensor([to.length], to))]), shape: to });
		const wide = shaped(from, [batch!, 2, depth! / 2, ...sides]);
		const axes = [0, 2, 1, ...sides.map((_, axis) => axis + 3)];
		const turned = this.node("Transpose", [wide.name], { perm: intsAttribute(axes) });
		return shaped(this.encode({ name: turned, shape: axes.map((axis) => wide.shape[axis]!) }), from.shape);
	}

	#depthToSpace(from: Flow): Flow {
		const [batch, depth, height, width] = from.shape;
		if (from.shape.length !== 4) return from;
		const blocksize = { blocksize: intAttribute(2) };
		if (depth! % 4 === 0 && this.chance(0.5)) {
			const mode = this.pick(["DCR", "CRD"]);
			this.words.push(`DepthToSpace-${mode}`);
			const name = this.node("DepthToSpace", [from.name], { ...blocksize, mode: stringAttribute(mode) });
			return this.encode({ name, shape: [batch!, depth! / 4, height! * 2, width! * 2] });
		}
		if (height! % 2 !== 0 || width! % 2 !== 0) return from;
		this.words.push("SpaceToDepth");
		const name = this.node("SpaceToDepth", [from.name], blocksize);
		return this.encode({ name, shape: [batch!, depth! * 4, height! / 2, width! / 2] });
	}

	/** Pooled, flattened and multiplied, as classifiers end. */
	#head(from: Flow): Flow {
		const depth = from.shape[1]!;
		const shape = [1, depth, ...from.shape.slice(2).map(() => 1)];
		const pooled = this.encode({ name: this.node("GlobalAveragePool", [from.name]), shape });
		const flat = this.encode({ name: this.node("Flatten", [pooled.name]), shape: [1, depth] });
		const { scheme, blockSize } = this.drawScheme(depth);
		this.words.push(`head-${scheme}`);
		const weight = this.weight(scheme, [10, depth], 1, blockSize);
		const inputs = [flat.name, weight.name, ...this.bias(10, flat, weight)];
		return this.encode({ name: this.node("Gemm", inputs, { transB: intAttribute(1) }), shape: [1, 10] });
	}
}
