import { floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { normals } from "./models.js";
import { type Builder, type Encoding, K, model, node, type OperatorModel, pair, vector } from "./operator-models.js";

/* Normalizations with parameters that legalize-operators has the remedy for. */

const { INT8, INT16, INT32, UINT16, UINT8 } = DataType;

interface Norm {
	readonly rule: string;
	readonly name: string;
	readonly op: string;
	/** Of input and result. */
	readonly dtype: NonNullable<Encoding["dtype"]>;
	/** Of the scale: the type and the zero point. */
	readonly scale: readonly [dtype: DataType, zero: number];
	readonly hasBias: boolean;
}

const NORMS: readonly Norm[] = [
	...[INT16, INT8].map((dtype) => ({
		rule: "htp/instance-norm-parameters",
		name: `an InstanceNormalization between ${dtype === INT16 ? "INT16" : "INT8"} with an INT32 bias`,
		op: "InstanceNormalization",
		dtype,
		scale: [dtype, 0] as const,
		hasBias: true,
	})),
	{
		rule: "htp/layer-norm-parameters",
		name: "a LayerNormalization without bias, its scale with zero point 0",
		op: "LayerNormalization",
		dtype: UINT16,
		scale: [UINT16, 0],
		hasBias: false,
	},
	{
		rule: "htp/layer-norm-parameters",
		name: "a LayerNormalization between INT16 with an INT32 bias",
		op: "LayerNormalization",
		dtype: INT16,
		scale: [INT16, 0],
		hasBias: true,
	},
	{
		rule: "htp/layer-norm-parameters",
		name: "a LayerNormalization of 8 bits with a scale of 16",
		op: "LayerNormalization",
		dtype: UINT8,
		scale: [UINT16, 0x8000],
		hasBias: true,
	},
	{
		rule: "htp/norm-scale-type",
		name: "an RMS normalization between INT16, its scale with the least zero point",
		op: "SimplifiedLayerNormalization",
		dtype: INT16,
		scale: [INT16, -0x8000],
		hasBias: false,
	},
];

/** Adds a dequantized vector of K codes with one scale. */
function stored(b: Builder, name: string, [dtype, zero]: readonly [DataType, number], step: number, codes: number[]) {
	b.initializer(name, codesTensor(dtype, [K], codes));
	b.initializer(`${name}_s`, floatTensor([], [step]));
	b.initializer(`${name}_z`, codesTensor(dtype, [], [zero]));
	b.node("DequantizeLinear", [name, `${name}_s`, `${name}_z`], [`${name}_dq`], {}, `${name}_DQ`);
	return `${name}_dq`;
}

const WIDE = { scale: 2 ** -3 };

/** An InstanceNormalization with floats, the means of whose channels are 1000 times the deviations. */
function offset(b: Builder): string {
	const codes = Array.from(normals(K, 7), (value) => 0x8000 + Math.round(value * 2 ** 12));
	b.initializer("means", codesTensor(UINT16, [K, 1, 1], codes));
	b.initializer("means_s", floatTensor([], [2 ** -2]));
	b.initializer("means_z", codesTensor(UINT16, [], [0x8000]));
	b.node("DequantizeLinear", ["means", "means_s", "means_z"], ["means_dq"], {}, "means_DQ");
	const sum = pair(b, node(b, "Add", ["x_dq", "means_dq"], "sum"), WIDE);
	return node(b, "InstanceNormalization", [sum, vector(b, "gamma", K, 0.2, 1), vector(b, "beta", K, 0.4)], "norm");
}

const FROM_CODES: readonly OperatorModel[] = NORMS.map(({ rule, name, op, dtype, scale, hasBias }) => ({
	rule,
	name,
	write(b, rows) {
		const isCoarse = dtype === UINT8 || dtype === INT8;
		const steps = { dtype, scale: isCoarse ? 2 ** -5 : 2 ** -12 };
		const unit = scale[0] === INT8 ? 2 ** 5 : 2 ** 13;
		const shape = op === "InstanceNormalization" ? [1, K, rows, 9] : [rows, K];
		model(
			b,
			shape,
			(_, x) => {
				const factors = Array.from(normals(K, 5), (value) => scale[1] + Math.round(unit * (2 + 0.4 * value)));
				const offsets = Array.from(normals(K, 6), (value) => Math.round(value * 2 ** 14));
				const inputs = [x, stored(b, "gamma", scale, 0.5 / unit, factors)];
				if (hasBias) inputs.push(stored(b, "beta", [INT32, 0], 2 ** -16, offsets));
				b.node(op, inputs, ["norm"], {}, "norm");
				return pair(b, "norm", steps);
			},
			steps,
		);
	},
}));

export const NORM_MODELS: readonly OperatorModel[] = [
	...FROM_CODES,
	{
		rule: "htp/instance-norm-floats",
		name: "an InstanceNormalization with floats and large means",
		sinceV69: true,
		write(b, rows) {
			model(b, [1, K, rows, 9], () => pair(b, offset(b), { scale: 2 ** -12 }), WIDE);
		},
	},
	{
		rule: "htp/instance-norm-floats",
		name: "an InstanceNormalization from UINT16 to INT16",
		sinceV69: true,
		write(b, rows) {
			const signed = { dtype: INT16, scale: 2 ** -12 };
			model(b, [1, K, rows, 9], () => pair(b, offset(b), signed), WIDE);
		},
	},
];
