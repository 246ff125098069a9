import { floatAttribute, intAttribute, intsAttribute, tensorAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor, type Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import type { Attributes, GraphBuilder, ModelBuilder } from "../support/build.js";
import { mixedSource } from "../support/random.js";
import type { RandomInput } from "./random-models.js";
import {
	type ActivationType,
	encodingFor,
	type Flow,
	INT8,
	INT16,
	normals,
	RandomWriter,
	type Scheme,
	UINT8,
	UINT16,
} from "./random-writer.js";

/** Which values a model has in codes: all, those of several types, most, or none. */
type Style = "codes" | "mixed" | "holes" | "float";

const SCHEMES: readonly Scheme[] = ["lpbq", "exact", "block", "channel", "channel", "channel", "tensor", "float"];

/** What operators of wide models have in common: how values are quantized, and operators that take any shape. */
export abstract class WideWriter extends RandomWriter {
	readonly inputs: RandomInput[] = [];
	protected style: Style = "codes";
	protected root!: ModelBuilder;
	/** Flows that later operators may read again. */
	protected readonly seen: Flow[] = [];
	/** Is the graph at hand one whose values the calibration cannot see? */
	#isHidden = false;
	#isOddlyNamed = false;
	readonly #shared = new Map<string, string>();
	readonly #ranged = new Map<string, number>();

	/** Writes the whole graph; what is left open becomes outputs. */
	protected abstract write(): Flow[];

	fill(b: ModelBuilder): void {
		this.b = b;
		this.root = b;
		this.style = this.pick<Style>(["codes", "codes", "codes", "codes", "codes", "mixed", "holes", "float"]);
		this.type = this.pick([UINT16, UINT16, UINT16, UINT16, INT16, UINT8, INT8]);
		this.#isOddlyNamed = this.chance(0.1);
		this.words.push(this.style);
		const outputs = this.write();
		for (const name of new Set(outputs.map((flow) => flow.name))) b.output(name);
		if (this.ranges === undefined) {
			for (const name of this.#ranged.keys()) {
				const value = b.value(name);
				if (!value.isGraphOutput && !value.isGraphInput) b.output(name);
			}
		}
	}

	protected input(name: string, shape: readonly number[]): Flow {
		const values = normals(elementCount(shape), mixedSource(++this.seed));
		this.root.input(name, DataType.FLOAT, shape);
		this.inputs.push({ name, shape, values });
		return this.encode({ name, shape });
	}

	/** Quantized as the style of the model has it. */
	protected encode(flow: Flow): Flow {
		const { style } = this;
		const isCode = style === "float" ? this.chance(0.05) : style === "holes" ? this.chance(0.7) : true;
		const isOther = style === "mixed" && this.chance(0.4);
		const drawn = isOther ? this.pick([UINT16, INT16, UINT8, INT8]) : this.type;
		const [isSymmetric, isTwice] = [this.chance(0.5), this.chance(0.03)];
		if (!isCode || this.#isHidden) return { ...flow, scale: undefined };
		if (drawn === UINT8 || drawn === INT8) this.isEightBits = true;
		const once = this.#pair(flow, drawn, isSymmetric);
		return isTwice ? this.#pair(once, this.pick([UINT16, UINT8, INT16]), isSymmetric) : once;
	}

	#pair(flow: Flow, dtype: ActivationType, isSymmetric: boolean): Flow {
		if (dtype === UINT8 || dtype === INT8) this.isEightBits = true;
		const at = this.#ranged.get(flow.name) ?? this.quantized.push(flow.name) - 1;
		this.#ranged.set(flow.name, at);
		if (this.ranges === undefined) return { ...flow, scale: undefined };
		const { scale, zeroPoint } = encodingFor(this.ranges[at]!, dtype, isSymmetric);
		const parameters = [this.#number(scale), this.#point(dtype, zeroPoint)];
		const codes = this.node("QuantizeLinear", [flow.name, ...parameters]);
		const name = this.node("DequantizeLinear", [codes, ...parameters]);
		/** A second pair has the range of what it reads. */
		this.#ranged.set(name, at);
		return { ...flow, name, scale };
	}

	/** One constant for all that is alike. */
	#number(value: number): string {
		return this.once(`f${value}`, () => this.constant(floatTensor([], [value])));
	}

	#point(dtype: ActivationType, value: number): string {
		return this.once(`z${dtype},${value}`, () => this.codePoint(dtype, value));
	}

	protected once(key: string, make: () => string): string {
		const known = this.#isHidden ? undefined : this.#shared.get(key);
		const name = known ?? make();
		if (!this.#isHidden) this.#shared.set(key, name);
		return name;
	}

	/** Bodies of functions have no initializers. */
	protected override constant(value: Tensor): string {
		if (!this.b.graph.isFunctionBody) return super.constant(value);
		return this.node("Constant", [], { value: tensorAttribute(value) });
	}

	protected override fresh(stem: string): string {
		const name = super.fresh(stem);
		if (!this.#isOddlyNamed) return name;
		const prefixes = ["/model/layers.0/", "a b ", "é数/", "x:0;", "..", "\"q'", ""];
		return `${prefixes[this.names % prefixes.length]}${name}`;
	}

	/** `make` in a function, or in the branch of an If that is taken, where `make` quantizes nothing. */
	protected enclosed(from: Flow, make: (from: Flow) => Flow): Flow {
		const kind = this.chance(0.06) ? this.pick(["function", "if", "loop"]) : "";
		if (kind === "" || this.#isHidden) return make(from);
		this.words.push(kind);
		const outer = this.b;
		this.#isHidden = true;
		let result = from;
		const fillInner = (inner: GraphBuilder, source: Flow) => {
			this.b = inner;
			result = make(source);
			const same = this.node("Identity", [result.name]);
			inner.output(same);
			this.b = outer;
		};
		const name = this.fresh(kind);
		if (kind === "function") {
			this.root.function("local", name, (inner) => {
				inner.input("inner");
				fillInner(inner, { name: "inner", shape: from.shape });
			});
			outer.node({ type: name, domain: "local", overload: "" } as never, [from.name], [`${name}_out`]);
		} else {
			const isLoop = kind === "loop";
			const body = outer.subgraph("body", (inner) => {
				if (isLoop) {
					inner.input("step", DataType.INT64, []);
					inner.input("going", DataType.BOOL, []);
					inner.input("carried", DataType.FLOAT, from.shape);
					inner.node("Identity", ["going"], ["still"]);
					inner.output("still");
				}
				fillInner(inner, isLoop ? { name: "carried", shape: from.shape } : from);
			});
			const yes = this.constant(tensor(DataType.BOOL, [], Uint8Array.of(1)));
			if (isLoop && String(result.shape) !== String(from.shape)) {
				this.#isHidden = false;
				return make(from);
			}
			if (isLoop) {
				const trips = this.constant(int64Tensor([], [2]));
				outer.node("Loop", [trips, yes, from.name], [`${name}_out`], { body });
			} else {
				const other = outer.subgraph("body", (inner) => {
					this.b = inner;
					const zeros = floatTensor(result.shape, new Float32Array(elementCount(result.shape)));
					inner.output(this.node("Identity", [this.constant(zeros)]));
					this.b = outer;
				});
				outer.node("If", [yes], [`${name}_out`], { then_branch: body, else_branch: other });
			}
		}
		this.b = outer;
		this.#isHidden = false;
		return this.encode({ name: `${name}_out`, shape: result.shape });
	}

	/** What images and tokens both have; undefined for other kinds. */
	protected common(kind: string, from: Flow, channelAxis: number): Flow | undefined {
		switch (kind) {
			case "activation":
				return this.activation(from);
			case "binary":
				return this.binary(from, channelAxis);
			case "residual":
				return this.residual(from);
			case "views":
				return this.views(from);
			case "softmax":
				return this.softmax(from);
			default:
				return undefined;
		}
	}

	/** One operator on every element. */
	protected activation(from: Flow): Flow {
		const op = this.pick([
			...["Relu", "Relu", "Sigmoid", "Tanh", "Gelu", "HardSwish", "LeakyRelu", "Elu", "Softplus", "Clip", "silu"],
			...[
				"HardSigmoid",
				"Mish",
				"Abs",
				"Neg",
				"Exp",
				"Sqrt",
				"erf",
				"PRelu",
				"Square",
				"Sin",
				"Round",
				"Floor",
				"quick",
			],
			...["ThresholdedRelu", "Selu", "Reciprocal", "Log", "tanh-gelu", "Cast"],
		]);
		this.words.push(op);
		return this.enclosed(from, (source) => this.#activated(source, op));
	}

	#activated(from: Flow, op: string): Flow {
		const { name, shape } = from;
		const unary = (type: string, input: string, attributes: Attributes = {}) =>
			this.encode({ name: this.node(type, [input], attributes), shape });
		const binary = (type: string, a: string, b: string) => this.encode({ name: this.node(type, [a, b]), shape });
		switch (op) {
			case "silu":
				return binary("Mul", name, unary("Sigmoid", name).name);
			case "quick":
				return binary("Mul", name, unary("Sigmoid", binary("Mul", name, this.#number(1.702)).name).name);
			case "erf": {
				const inner = unary("Erf", binary("Div", name, this.#number(Math.SQRT2)).name);
				const half = binary("Mul", name, this.#number(0.5));
				return binary("Mul", half.name, binary("Add", inner.name, this.#number(1)).name);
			}
			case "tanh-gelu": {
				const cubed = binary("Mul", name, binary("Mul", name, name).name);
				const inner = binary("Add", name, binary("Mul", cubed.name, this.#number(0.044715)).name);
				const tanh = unary("Tanh", binary("Mul", inner.name, this.#number(0.7978845608)).name);
				const sum = binary("Add", tanh.name, this.#number(1));
				return binary("Mul", binary("Mul", name, sum.name).name, this.#number(0.5));
			}
			case "Clip":
				return this.encode({
					name: this.node("Clip", [name, this.#number(this.pick([-1, 0])), this.#number(this.pick([1, 6]))]),
					shape,
				});
			case "Exp":
				return unary("Exp", unary("Neg", unary("Abs", name).name).name);
			case "Sqrt":
			case "Log":
				return unary(op, binary("Add", unary("Abs", name).name, this.#number(0.1)).name);
			case "Reciprocal":
				return unary("Reciprocal", binary("Add", unary("Abs", name).name, this.#number(0.5)).name);
			case "Square":
				return binary("Pow", name, this.#number(2));
			case "Cast":
				return unary("Cast", this.node("Cast", [unary("Relu", name).name], { to: intAttribute(DataType.FLOAT16) }), {
					to: intAttribute(DataType.FLOAT),
				});
			case "PRelu":
				return binary("PRelu", name, this.constant(floatTensor([1], [0.2])));
			case "LeakyRelu":
				return unary(op, name, { alpha: floatAttribute(this.pick([0.01, 0.1, 0.3])) });
			default:
				return unary(op, name);
		}
	}

	/** With a constant, or an input of the model, of one number, one for a channel, or of the whole shape. */
	protected binary(from: Flow, channelAxis: number): Flow {
		const op = this.pick(["Add", "Add", "Mul", "Mul", "Sub", "Div", "Max", "Min", "Where", "Mean", "Sum"]);
		const { shape } = from;
		const one = shape.map((length, axis) => (axis === channelAxis ? length : 1));
		const trimmed = one.slice(channelAxis);
		const other = this.pick<readonly number[]>([[], [1], trimmed, trimmed, one, shape, shape.slice(1), one.slice(1)]);
		const kind = this.pick(["float", "float", "codes", "input", "left"]);
		this.words.push(`${op}[${other}]${kind}`);
		const values = normals(elementCount(other), mixedSource(++this.seed)).map((value) =>
			op === "Div" ? 1 + Math.abs(value) : value,
		);
		const operand = () => {
			if (kind === "codes" && other.length > 0) return this.sixteenBits(values, other);
			return this.constant(floatTensor(other, values));
		};
		if (op === "Where") {
			const mask = Uint8Array.from({ length: elementCount(one) }, () => (this.chance(0.7) ? 1 : 0));
			const condition = this.constant(tensor(DataType.BOOL, one, mask));
			return this.encode({ name: this.node("Where", [condition, from.name, operand()]), shape });
		}
		if (kind === "input" && op !== "Div") {
			const second = this.input(`x${this.inputs.length}`, other);
			return this.encode({ name: this.node(op, [from.name, second.name]), shape });
		}
		return this.enclosed(from, ({ name }) => {
			const operands = [name, operand()];
			if (kind === "left" && op !== "Div") operands.reverse();
			return this.encode({ name: this.node(op, operands), shape });
		});
	}

	/** With an earlier value of the same shape, or with itself. */
	protected residual(from: Flow): Flow {
		const alike = this.seen.filter(({ shape }) => String(shape) === String(from.shape));
		const other = alike.length > 0 ? this.pick(alike) : from;
		const op = this.pick(["Add", "Add", "Add", "Mul", "Sub", "Max", "Concat"]);
		this.words.push(`residual-${op}`);
		if (op !== "Concat") return this.encode({ name: this.node(op, [other.name, from.name]), shape: from.shape });
		const axis = this.pick(from.shape.map((_, index) => index));
		const joined = this.node("Concat", [other.name, from.name], { axis: intAttribute(axis) });
		const shape = from.shape.with(axis, 2 * from.shape[axis]!);
		const whole = this.encode({ name: joined, shape });
		return this.slice(whole, axis, this.pick([0, 1]), from.shape[axis]!);
	}

	protected slice(from: Flow, axis: number, start: number, length: number): Flow {
		const numbers = [[start], [start + length], [axis]].map((list) => this.constant(int64Tensor([1], list)));
		const name = this.node("Slice", [from.name, ...numbers]);
		return this.encode({ name, shape: from.shape.with(axis, length) });
	}

	/** There and back again. */
	protected views(from: Flow): Flow {
		const { shape } = from;
		const kind = this.pick(["reshape", "reshape", "transpose", "transpose", "unsqueeze", "split", "gather", "reduce"]);
		this.words.push(kind);
		const reshaped = (flow: Flow, to: readonly number[]) =>
			this.encode({ name: this.node("Reshape", [flow.name, this.constant(int64Tensor([to.length], to))]), shape: to });
		switch (kind) {
			case "reshape": {
				const last = shape.at(-1)!;
				const half = last % 2 === 0 ? [2, last / 2] : [1, last];
				const to = this.pick<readonly number[]>([
					[elementCount(shape)],
					[elementCount(shape.slice(0, -1)), last],
					[1, ...shape],
					[...shape.slice(0, -1), ...half],
					[...shape.slice(0, -1), last, 1],
				]);
				const middle = reshaped(from, to);
				return reshaped(this.chance(0.5) ? this.activation(middle) : middle, shape);
			}
			case "transpose": {
				const axes = this.shuffled(shape.map((_, axis) => axis));
				const back = axes.map((_, axis) => axes.indexOf(axis));
				const turned = this.node("Transpose", [from.name], { perm: intsAttribute(axes) });
				const middle = this.encode({ name: turned, shape: axes.map((axis) => shape[axis]!) });
				const inner = this.chance(0.5) ? this.activation(middle) : middle;
				return this.encode({ name: this.node("Transpose", [inner.name], { perm: intsAttribute(back) }), shape });
			}
			case "unsqueeze": {
				const axis = this.pick([0, 1, shape.length]);
				const axes = this.constant(int64Tensor([1], [axis]));
				const longer = this.node("Unsqueeze", [from.name, axes]);
				const middle = this.encode({ name: longer, shape: shape.toSpliced(axis, 0, 1) });
				const inner = this.chance(0.4) ? this.activation(middle) : middle;
				return this.encode({ name: this.node("Squeeze", [inner.name, axes]), shape });
			}
			case "split": {
				const axis = this.pick(shape.map((_, index) => index));
				if (shape[axis]! % 2 !== 0) return from;
				const half = shape.with(axis, shape[axis]! / 2);
				const [a, b] = [this.fresh("part"), this.fresh("part")];
				this.b.node("Split", [from.name], [a, b], { axis: intAttribute(axis), num_outputs: intAttribute(2) }, a);
				const parts = [a, b].map((name) => this.encode({ name, shape: half }));
				if (this.chance(0.5)) parts[1] = this.activation(parts[1]!);
				const order = this.chance(0.5) ? parts.toReversed() : parts;
				const joined = this.node(
					"Concat",
					order.map(({ name }) => name),
					{ axis: intAttribute(axis) },
				);
				return this.encode({ name: joined, shape });
			}
			case "gather": {
				const axis = this.pick(shape.map((_, index) => index));
				const order = this.shuffled(Array.from({ length: shape[axis]! }, (_, index) => index));
				const indices = this.constant(int64Tensor([order.length], order));
				return this.encode({ name: this.node("Gather", [from.name, indices], { axis: intAttribute(axis) }), shape });
			}
			default: {
				const axis = this.pick(shape.map((_, index) => index));
				const op = this.pick(["ReduceMean", "ReduceMean", "ReduceMax", "ReduceSum", "ReduceL2", "ReduceMin"]);
				this.words.push(op);
				const axes = this.constant(int64Tensor([1], [axis]));
				const reduced = this.encode({ name: this.node(op, [from.name, axes]), shape: shape.with(axis, 1) });
				return this.encode({ name: this.node(this.pick(["Sub", "Add", "Mul"]), [from.name, reduced.name]), shape });
			}
		}
	}

	protected shuffled<T>(list: readonly T[]): T[] {
		const left = [...list];
		const result: T[] = [];
		while (left.length > 0) result.push(...left.splice(Math.floor(this.random() * left.length), 1));
		return result;
	}

	protected softmax(from: Flow): Flow {
		const axis = this.pick([-1, -1, -1, 1]);
		const op = this.pick(["Softmax", "Softmax", "LogSoftmax"]);
		this.words.push(op);
		return this.encode({ name: this.node(op, [from.name], { axis: intAttribute(axis) }), shape: from.shape });
	}

	/** A scheme and a block size for weights of so many inputs; blocks do not divide them always. */
	protected drawScheme(depth: number): { readonly scheme: Scheme; readonly blockSize: number } {
		const scheme = this.style === "float" && this.chance(0.8) ? "float" : this.pick(SCHEMES);
		const sizes = [8, 16, 24, 32, 48, 64, 128, 256];
		const fitting = sizes.filter((size) => depth % size === 0);
		const blockSize = this.pick(fitting.length > 0 && this.chance(0.9) ? fitting : sizes);
		return { scheme: this.#isHidden ? "float" : scheme, blockSize };
	}
}
