import { intAttribute } from "../../src/ir/attribute.js";
import { bytesOf, floatTensor, type Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { encodeFloat16 } from "../../src/quant/float16.js";
import { packUint2, packUint4 } from "../../src/quant/packing.js";
import type { GraphBuilder } from "./build.js";
import { mixedSource } from "./random.js";
import { randomScales } from "./weights.js";

/** How a MatMulNBits is made; everything that is left out is random, or absent where ONNX Runtime lets it be. */
export interface NBitsSpec {
	readonly k: number;
	readonly n: number;
	readonly bits?: 2 | 4 | 8;
	readonly blockSize?: number;
	/** Codes as they are packed; numbers: of the type of the activations. */
	readonly zeroPoints?: "packed" | "middle" | readonly number[];
	readonly groups?: readonly number[];
	readonly bias?: boolean;
	readonly half?: boolean;
	/** Scales [N * blocks], as older exporters wrote them. */
	readonly flatScales?: boolean;
	readonly seed?: number;
}

/** Codes of `bits` bits, each row in whole bytes. */
export function packRows(codes: Uint8Array, columns: number, bits: 2 | 4 | 8): Uint8Array {
	const rows = Array.from({ length: codes.length / columns }, (_, row) => {
		const part = codes.slice(row * columns, (row + 1) * columns);
		return bits === 2 ? packUint2(part) : bits === 4 ? packUint4(part) : part;
	});
	return Uint8Array.from(rows.flatMap((row) => [...row]));
}

export function floatsOfType(half: boolean, shape: readonly number[], values: ArrayLike<number>): Tensor {
	if (!half) return floatTensor(shape, values);
	return tensor(DataType.FLOAT16, shape, encodeFloat16(Float32Array.from(values)));
}

/** The constants of a MatMulNBits, called `name` and `name`_scales, _zeros, _groups, _bias; returns what it reads after x. */
export function nbitsWeight(b: GraphBuilder, name: string, spec: NBitsSpec): string[] {
	const { k, n, bits = 4, blockSize = 32, zeroPoints, groups, bias = false, half = false, seed = 1 } = spec;
	const random = mixedSource(seed);
	const blocks = Math.ceil(k / blockSize);
	const draw = (count: number) => Uint8Array.from({ length: count }, () => random() * 2 ** bits);
	const scaleShape = spec.flatScales === true ? [n * blocks] : [n, blocks];
	b.initializer(
		name,
		tensor(
			DataType.UINT8,
			[n, blocks, (blockSize * bits) / 8],
			packRows(draw(n * blocks * blockSize), blocks * blockSize, bits),
		),
	);
	b.initializer(`${name}_scales`, floatsOfType(half, scaleShape, randomScales(n * blocks, seed + 1)));
	const inputs = [name, `${name}_scales`, "", "", ""];
	if (zeroPoints !== undefined) {
		inputs[2] = `${name}_zeros`;
		const codes = zeroPoints === "packed" ? draw(n * blocks) : new Uint8Array(n * blocks).fill(2 ** (bits - 1));
		const isPacked = typeof zeroPoints === "string";
		const rowBytes = Math.ceil((blocks * bits) / 8);
		const made = isPacked
			? tensor(DataType.UINT8, [n, rowBytes], packRows(codes, blocks, bits))
			: floatsOfType(half, [n, blocks], zeroPoints);
		b.initializer(inputs[2], made);
	}
	if (groups !== undefined) {
		inputs[3] = `${name}_groups`;
		b.initializer(inputs[3], tensor(DataType.INT32, [groups.length], bytesOf(Int32Array.from(groups))));
	}
	if (bias) {
		inputs[4] = `${name}_bias`;
		b.initializer(
			inputs[4],
			floatsOfType(
				half,
				[n],
				Float32Array.from({ length: n }, () => random() - 0.5),
			),
		);
	}
	while (inputs.at(-1) === "") inputs.pop();
	return inputs;
}

/** `MatMulNBits(x, ...weight) -> y`, computed in floats where ONNX Runtime runs it. */
export function nbitsNode(b: GraphBuilder, x: string, weight: readonly string[], y: string, spec: NBitsSpec) {
	const { k, n, bits = 4, blockSize = 32 } = spec;
	const op = { domain: "com.microsoft", type: "MatMulNBits" };
	const numbers = { K: k, N: n, bits, block_size: blockSize, accuracy_level: 1 };
	const attributes = Object.fromEntries(Object.entries(numbers).map(([key, value]) => [key, intAttribute(value)]));
	return b.node(op, [x, ...weight], [y], attributes, `${y}_nbits`);
}
