import {
	type Attribute,
	computedData,
	DataType,
	floatTensor,
	Graph,
	intAttribute,
	Model,
	type NodeSpec,
	rawByteLength,
	type TensorData,
	tensor,
	tensorType,
	type Value,
} from "qgraph";

export interface BigModelOptions {
	readonly form: "bq" | "float" | "nbits";
	readonly layers: number;
	readonly k: number;
	readonly n: number;
	readonly block: number;
}

/** Random bytes that weights are made of, over and over again. */
const TABLE_BYTES = 2 ** 22;

/**
 * A chain of MatMuls, [K, N] and [N, K] by turns. `bq`: int4 codes, float scales, int4 zero points, uint16 Q/DQ around each
 * MatMul; `float`: float weights; `nbits`: MatMulNBits without zero points. Weights are made while they are written, so that a model of any size takes no memory.
 */
export function bigModel({ form, layers, k, n, block }: BigModelOptions): Model {
	const model = new Model(new Graph("big"));
	model.opsetImports.set("", 21);
	if (form === "nbits") model.opsetImports.set("com.microsoft", 1);
	const { graph } = model;
	const constant = (name: string, content: ReturnType<typeof tensor>): Value => {
		const value = graph.createValue(name);
		graph.setInitializer(value, content);
		return value;
	};
	const weight = (name: string, type: DataType, shape: readonly number[], data: Content) =>
		constant(name, tensor(type, shape, data(rawByteLength(type, shape)!)));
	const node = (
		op: NodeSpec["op"],
		name: string,
		inputs: readonly Value[],
		attributes: Record<string, Attribute> = {},
	) => {
		const output = graph.createValue(`${name}_out`);
		graph.createNode({ op, name, inputs, outputs: [output], attributes });
		return output;
	};
	const quantized = (name: string, source: Value) => {
		const scale = constant(`${name}_scale`, floatTensor([], [0.002]));
		const zero = constant(`${name}_zero`, tensor(DataType.UINT16, [], new Uint8Array([0x00, 0x80])));
		return node("DequantizeLinear", `${name}_DQ`, [
			node("QuantizeLinear", `${name}_Q`, [source, scale, zero]),
			scale,
			zero,
		]);
	};

	const bytes = randomBytes();
	const zeros = new Uint8Array(TABLE_BYTES);
	const scales = randomFloats((uniform) => (0.5 + uniform()) * 0.003);
	const floats = randomFloats((uniform) => (uniform() + uniform() + uniform() - 1.5) * 0.04);
	const input = graph.createValue("x", tensorType(DataType.FLOAT, [1, 1, k]));
	graph.addInput(input);
	let at = input;
	for (let layer = 0; layer < layers; layer++) {
		const [rows, columns] = layer % 2 === 0 ? [k, n] : [n, k];
		const name = `layers.${layer}`;
		if (form === "float") {
			at = node("MatMul", `${name}.matmul`, [
				at,
				weight(`${name}.weight`, DataType.FLOAT, [rows, columns], repeated(floats, layer * 4)),
			]);
			continue;
		}
		if (form === "nbits") {
			const blocks = rows / block;
			const weights = [
				weight(`${name}.weight_Q4`, DataType.UINT8, [columns, blocks, block / 2], repeated(bytes, layer)),
				weight(`${name}.weight_scales`, DataType.FLOAT, [columns, blocks], repeated(scales, layer * 4)),
			];
			const numbers = { K: rows, N: columns, bits: 4, block_size: block };
			const attributes = Object.fromEntries(Object.entries(numbers).map(([key, value]) => [key, intAttribute(value)]));
			at = node({ domain: "com.microsoft", type: "MatMulNBits" }, `${name}.matmul`, [at, ...weights], attributes);
			continue;
		}
		const scaleShape = [rows / block, columns];
		const parts = [
			weight(`${name}.weight_codes`, DataType.INT4, [rows, columns], repeated(bytes, layer)),
			weight(`${name}.weight_scale`, DataType.FLOAT, scaleShape, repeated(scales, layer * 4)),
			weight(`${name}.weight_zero`, DataType.INT4, scaleShape, repeated(zeros, 0)),
		];
		const attributes = { axis: intAttribute(0), block_size: intAttribute(block) };
		const dequantized = node("DequantizeLinear", `${name}.weight_DQ`, parts, attributes);
		at = node("MatMul", `${name}.matmul`, [quantized(`act${layer}`, at), dequantized]);
	}
	if (form === "bq") at = quantized("out", at);
	const output = node("Identity", "output", [at]);
	output.type = tensorType(DataType.FLOAT, [1, 1, layers % 2 === 0 ? k : n]);
	graph.addOutput(output);
	return model;
}

type Content = (byteLength: number) => TensorData;

/** The bytes of `table` from `start` on, again and again. */
export function repeated(table: Uint8Array, start: number): Content {
	return (byteLength) =>
		computedData(byteLength, (from, to) => {
			const piece = new Uint8Array(to - from);
			let [done, at] = [0, (start + from) % table.length];
			while (done < piece.length) {
				const part = table.subarray(at, at + piece.length - done);
				piece.set(part, done);
				done += part.length;
				at = 0;
			}
			return piece;
		});
}

function randomBytes(): Uint8Array {
	const uniform = uniformSource();
	return Uint8Array.from({ length: TABLE_BYTES }, () => uniform() * 256);
}

/** Random floats as `draw` makes them of numbers in [0, 1), as bytes. */
export function randomFloats(draw: (uniform: () => number) => number): Uint8Array {
	const uniform = uniformSource();
	return new Uint8Array(Float32Array.from({ length: TABLE_BYTES / 4 }, () => draw(uniform)).buffer);
}

/** Numbers in [0, 1), always the same ones. */
function uniformSource(): () => number {
	let state = 1;
	return () => {
		state ^= state << 13;
		state ^= state >>> 17;
		state ^= state << 5;
		return (state >>> 0) / 2 ** 32;
	};
}
