import {
	type Attribute,
	DataType,
	floatTensor,
	Graph,
	intAttribute,
	Model,
	type Tensor,
	tensor,
	tensorType,
	type Value,
} from "qgraph";

/** Weights that share one scale. */
const BLOCK_SIZE = 32;

/**
 * A model small enough to read, made of what exporters write: int4 codes with one float scale a block, uint16 activations.
 *
 * ```text
 * left  -> Q/DQ -> MatMul(encoder [256,128] int4) -> Q/DQ -\
 * right -> Q/DQ -> MatMul(the same weight)        -> Q/DQ -- Concat -> Q/DQ
 *   -> Gemm(mixer [128,256] int4, transB, bias) -> Q/DQ -> MatMul(head [128,8] float) -> Add(offset) -> scores
 * ```
 *
 * `offset` is an initializer and an input: a default that the caller may replace.
 */
export function demoModel(): Model {
	const b = new DemoBuilder();
	const encoder = b.blockQuantized("encoder", 256, 128, 0);
	const encode = (side: string) => {
		const input = b.quantized(`${side}_activation`, b.input(side, [1, 256]), 2 ** -12);
		return b.quantized(`${side}_code`, b.node("MatMul", `${side}_encoder`, [input, encoder]), 2 ** -10);
	};
	const pair = b.node("Concat", "pair", [encode("left"), encode("right")], { axis: intAttribute(1) });
	const mixer = b.blockQuantized("mixer", 128, 256, 1);
	const bias = b.constant("mixer_bias", floatTensor([128], b.random(128, 0.1)));
	const mixed = b.node("Gemm", "mixer", [b.quantized("pair_code", pair, 2 ** -10), mixer, bias], {
		transB: intAttribute(1),
	});
	const head = b.constant("head_weight", floatTensor([128, 8], b.random(128 * 8, 0.1)));
	const offset = b.constant("offset", floatTensor([8], b.random(8, 0.1)));
	const logits = b.node("MatMul", "head", [b.quantized("mixed_code", mixed, 2 ** -10), head]);
	const scores = b.node("Add", "scores", [logits, offset]);
	b.makeInput(offset, [8]);
	b.makeOutput(scores, [1, 8]);
	return b.model;
}

class DemoBuilder {
	readonly model = new Model(new Graph("demo"));
	readonly #graph = this.model.graph;
	#seed = 1;

	constructor() {
		this.model.producerName = "qgraph demo";
		this.model.opsetImports.set("", 21);
	}

	input(name: string, shape: readonly number[]): Value {
		const value = this.#graph.createValue(name);
		this.makeInput(value, shape);
		return value;
	}

	makeInput(value: Value, shape: readonly number[]): void {
		value.type = tensorType(DataType.FLOAT, shape);
		this.#graph.addInput(value);
	}

	makeOutput(value: Value, shape: readonly number[]): void {
		value.type = tensorType(DataType.FLOAT, shape);
		this.#graph.addOutput(value);
	}

	constant(name: string, content: Tensor): Value {
		const value = this.#graph.createValue(name);
		this.#graph.setInitializer(value, content);
		return value;
	}

	/** A node with one output, which has its name. */
	node(
		op: string,
		name: string,
		inputs: readonly Value[],
		attributes: Readonly<Record<string, Attribute>> = {},
	): Value {
		const output = this.#graph.createValue(name);
		this.#graph.createNode({ op, name, inputs, outputs: [output], attributes });
		return output;
	}

	/** `value` on a grid of 65536 steps of `scale` around 0. */
	quantized(name: string, value: Value, scale: number): Value {
		const step = this.constant(`${name}_scale`, floatTensor([], [scale]));
		const zero = this.constant(`${name}_zero`, tensor(DataType.UINT16, [], new Uint8Array([0x00, 0x80])));
		const codes = this.node("QuantizeLinear", `${name}_Q`, [value, step, zero]);
		return this.node("DequantizeLinear", `${name}_DQ`, [codes, step, zero]);
	}

	/** A random weight as int4 codes -7..7 and one scale for every block of `blockAxis`. */
	blockQuantized(name: string, rows: number, columns: number, blockAxis: 0 | 1): Value {
		const scaleShape = blockAxis === 0 ? [rows / BLOCK_SIZE, columns] : [rows, columns / BLOCK_SIZE];
		const blockOf = (index: number): number => {
			const [row, column] = [Math.floor(index / columns), index % columns];
			return blockAxis === 0
				? Math.floor(row / BLOCK_SIZE) * columns + column
				: row * scaleShape[1]! + Math.floor(column / BLOCK_SIZE);
		};
		const spread = this.random(scaleShape[0]! * scaleShape[1]!, 1);
		const weights = this.random(rows * columns, 0.02).map((weight, index) => weight * 2 ** spread[blockOf(index)]!);
		const scales = new Float32Array(spread.length);
		for (const [index, weight] of weights.entries()) {
			const block = blockOf(index);
			scales[block] = Math.max(scales[block]!, Math.abs(weight) / 7);
		}
		const packed = new Uint8Array(weights.length / 2);
		for (const [index, weight] of weights.entries()) {
			const code = Math.round(weight / scales[blockOf(index)]!);
			packed[index >> 1]! |= (code & 15) << (4 * (index & 1));
		}
		const codes = this.constant(`${name}_weight`, tensor(DataType.INT4, [rows, columns], packed));
		return this.node(
			"DequantizeLinear",
			`${name}_weight_DQ`,
			[codes, this.constant(`${name}_weight_scale`, floatTensor(scaleShape, scales))],
			{ axis: intAttribute(blockAxis), block_size: intAttribute(BLOCK_SIZE) },
		);
	}

	/** Numbers around 0 with the given standard deviation; always the same ones. */
	random(count: number, deviation: number): Float64Array {
		const uniform = () => {
			this.#seed = (Math.imul(this.#seed, 1664525) + 1013904223) >>> 0;
			return this.#seed / 2 ** 32;
		};
		return Float64Array.from({ length: count }, () => {
			const sum = Array.from({ length: 12 }, uniform).reduce((total, value) => total + value, 0);
			return (sum - 6) * deviation;
		});
	}
}
