import { intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { bytesOf, floatTensor, int64Tensor, tensor } from "../../src/ir/tensor.js";
import { DataType, elementCount } from "../../src/ir/types.js";
import type { GraphBuilder } from "./build.js";
import { randomCodes } from "./weights.js";

/** `name_codes, name_step, name_zero = DynamicQuantizeLinear(name)`. */
export function dynamicallyQuantized(b: GraphBuilder, name: string): void {
	b.node("DynamicQuantizeLinear", [name], [`${name}_codes`, `${name}_step`, `${name}_zero`], {}, `${name}_quantizer`);
}

export interface DynamicWeightSpec {
	readonly shape: readonly number[];
	readonly dtype?: DataType;
	/** Shapes of the scale and of the zero point; one number where nothing is said. */
	readonly scaleShape?: readonly number[];
	readonly zeroShape?: readonly number[];
	/** What zero points are; the middle of the type's codes where nothing is said. */
	readonly zero?: number;
}

/** The constants `name`, `name_scale` and `name_zero`. */
export function dynamicWeight(b: GraphBuilder, name: string, spec: DynamicWeightSpec): void {
	const { shape, dtype = DataType.INT8, scaleShape = [], zeroShape = [] } = spec;
	const middle = dtype === DataType.INT8 ? 0 : 128;
	const codes = randomCodes(elementCount(shape), 3, -63, 63);
	const scales = Float32Array.from({ length: elementCount(scaleShape) }, (_, index) => 2 ** -9 * (1 + (index % 5) / 4));
	const zeros = new Uint8Array(elementCount(zeroShape)).map((_, index) => (spec.zero ?? middle) + (index % 3));
	b.initializer(name, tensor(dtype, shape, bytesOf(Uint8Array.from(codes, (code) => (code + middle) & 255))));
	b.initializer(`${name}_scale`, floatTensor(scaleShape, scales));
	b.initializer(`${name}_zero`, tensor(dtype, zeroShape, zeros));
}

/** `y = x w`, as quantize_dynamic writes it, with the codes of `x` and the constants of `w`. */
export function integerProduct(
	b: GraphBuilder,
	op: "MatMulInteger" | "ConvInteger",
	x: string,
	weight: string,
	y: string,
): void {
	const attributes = op === "ConvInteger" ? { pads: intsAttribute([1, 1, 1, 1]) } : {};
	b.node(op, [`${x}_codes`, weight, `${x}_zero`, `${weight}_zero`], [`${y}_sums`], attributes, `${y}_product`);
	b.node("Cast", [`${y}_sums`], [`${y}_cast`], { to: intAttribute(DataType.FLOAT) }, `${y}_to_float`);
	b.node("Mul", [`${x}_step`, `${weight}_scale`], [`${y}_factor`], {}, `${y}_factors`);
	b.node("Mul", [`${y}_cast`, `${y}_factor`], [y], {}, `${y}_scaled`);
}

/** `y = x + bias`, one number for each of `channels` of a convolution. */
export function convolutionBias(b: GraphBuilder, x: string, channels: number, y: string): void {
	b.initializer(
		`${y}_bias`,
		floatTensor(
			[channels],
			Array.from({ length: channels }, (_, index) => index / 8 - 0.5),
		),
	);
	b.initializer(`${y}_shape`, int64Tensor([4], [1, -1, 1, 1]));
	b.node("Reshape", [`${y}_bias`, `${y}_shape`], [`${y}_reshaped`], {}, `${y}_reshape`);
	b.node("Add", [x, `${y}_reshaped`], [y], {}, `${y}_add`);
}
