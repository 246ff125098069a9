import { type Attribute, intAttribute, intsAttribute, stringAttribute } from "../../src/ir/attribute.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import { codesTensor } from "../../src/passes/support/qdq.js";
import { int4Tensor, randomCodes, randomScales } from "../support/weights.js";
import { normals } from "./models.js";
import { type Builder, type Encoding, model, node, type OperatorModel, pair, weight } from "./operator-models.js";

/* Convs that pad in front, and batches of LPBQ products, for which legalize-operators has the remedy. */

interface Convolution {
	/** Of the input. */
	readonly shape: readonly number[];
	readonly outputs: number;
	readonly kernel: readonly number[];
	readonly window: Readonly<Record<string, Attribute>>;
	readonly dtype?: NonNullable<Encoding["dtype"]>;
}

/** `x -> Q -> DQ -> Conv -> Q -> DQ -> y`, from `dtype` to UINT16, without the quantizers where `isFloat`. */
function convolution({ shape, outputs, kernel, window, dtype = DataType.UINT16 }: Convolution, isFloat = false) {
	return (b: Builder) =>
		model(
			b,
			shape,
			(_, x) => {
				const dims = [outputs, shape[1]!, ...kernel];
				if (isFloat) {
					b.initializer("w", floatTensor(dims, normals(elementCount(dims), 7)));
					b.node("Conv", [x, "w"], ["conv"], window, "conv");
					return "conv";
				}
				b.node("Conv", [x, weight(b, "w", { shape: dims, isOne: true })], ["conv"], window, "conv");
				return pair(b, "conv", { scale: 2 ** -14 });
			},
			{ dtype, scale: dtype === DataType.UINT16 ? 2 ** -13 : 2 ** -5 },
			isFloat,
		);
}

const pads = (...amounts: readonly number[]) => ({ pads: intsAttribute(amounts) });
const steps = (count: number, rank = 2) => ({ strides: intsAttribute(new Array<number>(rank).fill(count)) });

/** Rows of a batch of matrices that a v69 computes wrong: 5, or 24. */
const batchRows = (rows: number) => (rows > 5 ? 24 : rows);

/** Columns of {@link lpbq}, more than one tile. */
const COLUMNS = 40;

/** A matrix [32, COLUMNS] in blocks of 16, whose scales a DequantizeLinear makes. */
function lpbq(b: Builder): string {
	const integers = Array.from({ length: 2 * COLUMNS }, (_, at) => 1 + (at % 16));
	b.initializer("integers", codesTensor(DataType.UINT8, [2, COLUMNS], integers));
	const scales = randomScales(COLUMNS, 4).map((scale) => scale / 50);
	b.initializer("channels", floatTensor([COLUMNS], scales));
	b.node("DequantizeLinear", ["integers", "channels"], ["scales"], { axis: intAttribute(1) }, "scales_DQ");
	b.initializer("codes", int4Tensor([32, COLUMNS], randomCodes(32 * COLUMNS, 3, -7, 7)));
	b.initializer("points", int4Tensor([2, COLUMNS], new Int8Array(2 * COLUMNS)));
	const attributes = { axis: intAttribute(0), block_size: intAttribute(16) };
	b.node("DequantizeLinear", ["codes", "scales", "points"], ["matrix"], attributes, "matrix_DQ");
	return "matrix";
}

export const PADDED_MODELS: readonly OperatorModel[] = [
	{
		rule: "htp/conv-line-pads",
		name: "a column over 8-bit codes with pads all around",
		write: (b, rows) => {
			const window = { ...pads(1, 1, 1, 1), ...steps(2) };
			const dtype = DataType.UINT8;
			convolution({ shape: [1, 4, rows + 4, 11], outputs: 16, kernel: [3, 1], window, dtype })(b);
		},
	},
	{
		rule: "htp/conv-line-pads",
		name: "a row over floats with pads all around",
		sinceV69: true,
		write: (b, rows) => {
			const window = { ...pads(1, 1, 1, 1), ...steps(2) };
			convolution({ shape: [1, 4, rows + 4, 11], outputs: 16, kernel: [1, 3], window }, true)(b);
		},
	},
	{
		rule: "htp/conv-line-pads",
		name: "columns of a volume with pads all around",
		write: (b, rows) => {
			const window = { ...pads(1, 1, 1, 1, 1, 1), ...steps(2, 3) };
			convolution({ shape: [1, 4, 4, rows + 4, 9], outputs: 16, kernel: [3, 3, 1], window })(b);
		},
	},
	{
		rule: "htp/conv-pads-beyond",
		name: "a row that is padded above by two",
		write: (b, rows) =>
			convolution({ shape: [1, 16, rows + 4, 11], outputs: 16, kernel: [1, 3], window: pads(2, 1, 0, 1) })(b),
	},
	{
		rule: "htp/conv-pads-beyond",
		name: "a kernel of two rows over 8-bit codes that is padded above by three",
		write: (b, rows) => {
			const dtype = DataType.UINT8;
			convolution({ shape: [1, 16, rows + 4, 11], outputs: 16, kernel: [2, 3], window: pads(3, 0, 0, 0), dtype })(b);
		},
	},
	{
		rule: "htp/conv-row-pads",
		name: "a Conv of one position on a padded row",
		write: (b, rows) =>
			convolution({ shape: [1, 4, 8 * Math.ceil(rows / 2 + 2)], outputs: 16, kernel: [1], window: pads(1, 0) })(b),
	},
	{
		rule: "htp/conv-same-pads",
		name: "one position out of three, padded to the same size",
		write: (b, rows) => {
			const window = { auto_pad: stringAttribute("SAME_UPPER"), ...steps(3) };
			convolution({ shape: [1, 4, 3 * rows, 9], outputs: 16, kernel: [1, 1], window })(b);
		},
	},
	{
		rule: "htp/conv-top-pads",
		name: "a Conv of one position and 40 outputs that pads above",
		write: (b, rows) =>
			convolution({ shape: [1, 4, rows, 7], outputs: 40, kernel: [1, 1], window: pads(1, 0, 0, 1) })(b),
	},
	{
		rule: "htp/lpbq-batch",
		name: "an LPBQ weight that three matrices are multiplied with",
		write: (b, rows) =>
			model(b, [3, batchRows(rows), 32], (_, x) => pair(b, node(b, "MatMul", [x, lpbq(b)], "product"))),
	},
];
