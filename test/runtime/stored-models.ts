import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, type Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { packUint4 } from "../../src/quant/packing.js";
import { normals } from "./models.js";
import { type Builder, type Encoding, K, model, N, type OperatorModel, pair, vector } from "./operator-models.js";

/* Weights without blocks in types and with zero points that kernels do not take, for which legalize-operators has the remedy. */

const { INT16, INT8, UINT16, UINT4, UINT8 } = DataType;

interface Stored {
	readonly op?: "MatMul" | "Conv" | "Gemm";
	readonly dtype: typeof INT8 | typeof UINT8 | typeof INT16 | typeof UINT16 | typeof UINT4;
	/** How far codes go from the zero point. */
	readonly limit: number;
	/** One for all, or one for every channel. */
	readonly zero: number | readonly number[];
	readonly input?: Encoding;
	readonly output?: Encoding;
	readonly isBiased?: boolean;
	/** What codes are multiples of, where some of every channel go as far as the limit times this. */
	readonly step?: number;
	/** Of a Conv, whose kernel is [1, 2]. */
	readonly dilations?: readonly number[];
}

/** `x -> Q -> DQ -> op -> Q -> DQ -> y`, x of shape [rows, K] or an image of K channels. */
function product({
	op = "MatMul",
	dtype,
	limit,
	zero,
	input,
	output = { scale: 2 ** -13 },
	isBiased,
	step,
	dilations,
}: Stored) {
	return (b: Builder, rows: number) => {
		const isImage = op === "Conv";
		const shape = isImage ? [N, K, 1, 2] : [K, N];
		const inner = isImage ? K * 2 : 1;
		const zeros = typeof zero === "number" ? undefined : zero;
		const values = normals(elementCount(shape), 7);
		const codes = Array.from(values, (value, index) => {
			const code = Math.max(-limit, Math.min(limit, Math.round((value * limit) / (step === undefined ? 3 : 1))));
			return code * (step ?? 1) + (zeros?.[Math.floor(index / inner) % N] ?? (zero as number));
		});
		const dims = zeros === undefined ? [] : [N];
		const scales = Float32Array.from(
			{ length: elementCount(dims) },
			(_, channel) => (0.1 + 0.01 * channel) / (limit * (step ?? 1)),
		);
		model(
			b,
			isImage ? [1, K, rows, 5] : [rows, K],
			(_, x) => {
				b.initializer("w", tensorOf(dtype, shape, codes));
				b.initializer("w_scale", floatTensor(dims, scales));
				b.initializer("w_zero", tensorOf(dtype, dims, zeros ?? [zero as number]));
				const axis = zeros === undefined ? {} : { axis: intAttribute(isImage ? 0 : 1) };
				b.node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["w_dq"], axis, "w_DQ");
				const inputs = [x, "w_dq", ...(isBiased ? [vector(b, "bias", N)] : [])];
				b.node(
					op,
					inputs,
					["product"],
					dilations === undefined ? {} : { dilations: intsAttribute(dilations) },
					"product",
				);
				return pair(b, "product", output);
			},
			input,
		);
	};
}

function tensorOf(dtype: Stored["dtype"], shape: readonly number[], codes: readonly number[]): Tensor {
	return dtype === UINT4 ? tensor(dtype, shape, packUint4(Uint8Array.from(codes))) : codesTensor(dtype, shape, codes);
}

const mixed = (middle: number, spread: number) => Array.from({ length: N }, (_, i) => middle + (i % 5) * spread);

export const STORED_MODELS: readonly OperatorModel[] = [
	{
		rule: "htp/weight-type",
		name: "UINT8 beside INT16, far from its zero point",
		write: product({
			dtype: UINT8,
			limit: 60,
			zero: 190,
			input: { dtype: INT16 },
			output: { dtype: INT16, scale: 2 ** -13 },
		}),
	},
	{
		rule: "htp/weight-type",
		name: "UINT4 with one scale and a bias of a Conv",
		write: product({ op: "Conv", dtype: UINT4, limit: 5, zero: 9, isBiased: true }),
	},
	{
		rule: "htp/weight-type",
		name: "INT16 beside INT16",
		sinceV69: true,
		write: product({
			dtype: INT16,
			limit: 30000,
			zero: 0,
			input: { dtype: INT16 },
			output: { dtype: INT16, scale: 2 ** -13 },
		}),
	},
	{
		rule: "htp/channel-zero-point",
		name: "INT8 with a zero point a channel",
		write: product({ op: "Gemm", dtype: INT8, limit: 80, zero: mixed(-20, 15), isBiased: true }),
	},
	{
		rule: "htp/channel-zero-point",
		name: "UINT4 with a zero point a channel",
		write: product({ op: "Conv", dtype: UINT4, limit: 5, zero: mixed(5, 1) }),
	},
	{
		rule: "htp/wide-codes",
		name: "codes of 8 bits in 16, and activations that use few",
		write: product({ dtype: UINT16, limit: 120, zero: 129, input: { scale: 2 ** -13 }, output: { scale: 2 ** -15 } }),
	},
	{
		rule: "htp/wide-codes",
		name: "codes of 10 bits in 16",
		sinceV69: true,
		write: product({
			op: "Conv",
			dtype: INT16,
			limit: 500,
			zero: 0,
			input: { scale: 2 ** -9 },
			output: { scale: 2 ** -15 },
		}),
	},
	{
		rule: "htp/wide-zero-point",
		name: "an INT16 zero point",
		sinceV69: true,
		write: product({ dtype: INT16, limit: 30000, zero: 7, output: { scale: 2 ** -15 } }),
	},
	{
		rule: "htp/wide-weight",
		name: "codes of 8 bits in 16, for a v68",
		write: product({ dtype: INT16, limit: 120, zero: 0, output: { scale: 2 ** -15 } }),
	},
	{
		rule: "htp/wide-dilated",
		name: "a Conv of UINT16 codes with dilations",
		sinceV69: true,
		write: product({
			op: "Conv",
			dtype: UINT16,
			limit: 127,
			step: 33,
			zero: 0x8000,
			isBiased: true,
			dilations: [1, 2],
		}),
	},
	{
		rule: "htp/wide-dilated",
		name: "a Conv of INT16 codes with dilations along an axis of one position",
		sinceV69: true,
		write: product({ op: "Conv", dtype: INT16, limit: 8000, zero: 0, dilations: [2, 1] }),
	},
];
