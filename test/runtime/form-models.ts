import {
	type Attribute,
	floatAttribute,
	intAttribute,
	intsAttribute,
	stringAttribute,
} from "../../src/ir/attribute.js";
import type { Model } from "../../src/ir/model.js";
import { floatTensor, int64Tensor, type Tensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { modelOf } from "../support/build.js";
import { quantized } from "../support/weights.js";
import { normals } from "./models.js";

/* Operators in forms that the HTP takes and computes right, refuses, or computes wrong. */

export interface FormModel {
	readonly op: string;
	readonly shape: readonly number[];
	readonly attributes?: Readonly<Record<string, Attribute>>;
	/** Inputs behind the first; undefined: absent. */
	readonly constants?: readonly (Tensor | undefined)[];
	/** Is it between UINT16 values? */
	readonly isQuantized?: true;
	/** That it breaks; undefined: none. */
	readonly rule?: string;
}

const IMAGE = [1, 4, 9, 10];

function pool(kernel: number, stride: number, more: Readonly<Record<string, Attribute>> = {}) {
	const attributes = {
		kernel_shape: intsAttribute([kernel, kernel]),
		strides: intsAttribute([stride, stride]),
		...more,
	};
	return { op: "AveragePool", shape: IMAGE, attributes };
}

const pads = (...list: readonly number[]) => ({ pads: intsAttribute(list) });

function nearest(mode: string, rounding: string, factor: number) {
	const attributes = {
		mode: stringAttribute("nearest"),
		coordinate_transformation_mode: stringAttribute(mode),
		nearest_mode: stringAttribute(rounding),
	};
	return {
		op: "Resize",
		shape: [1, 4, 8, 10],
		attributes,
		constants: [undefined, floatTensor([4], [1, 1, factor, factor])],
	};
}

const edge = { mode: stringAttribute("edge") };
const around = int64Tensor([8], [0, 0, 1, 1, 0, 0, 1, 1]);

export const FORM_MODELS: readonly FormModel[] = [
	pool(3, 1, pads(1, 1, 1, 1)),
	pool(3, 2, { ...pads(1, 1, 1, 1), count_include_pad: intAttribute(1) }),
	pool(2, 1),
	{ ...pool(2, 1, pads(0, 0, 1, 1)), rule: "htp/average-pads" },
	{ ...pool(2, 1, pads(0, 0, 1, 1)), isQuantized: true },
	{ ...pool(2, 2, { auto_pad: stringAttribute("SAME_LOWER") }), rule: "htp/average-pads" },
	{ ...pool(2, 2, { ceil_mode: intAttribute(1) }), rule: "htp/operator-mode-wrong" },
	{ ...pool(3, 2, { ceil_mode: intAttribute(1) }), isQuantized: true, rule: "htp/operator-mode-wrong" },
	{
		...pool(2, 2, { ...pads(1, 1, 1, 1), count_include_pad: intAttribute(1) }),
		isQuantized: true,
		rule: "htp/average-pads",
	},
	nearest("asymmetric", "floor", 1.5),
	nearest("half_pixel", "round_prefer_ceil", 0.5),
	nearest("half_pixel", "round_prefer_floor", 2),
	nearest("align_corners", "round_prefer_ceil", 1.5),
	{ ...nearest("half_pixel", "round_prefer_floor", 1.5), rule: "htp/operator-mode-wrong" },
	{ ...nearest("half_pixel", "floor", 2), isQuantized: true, rule: "htp/operator-mode-wrong" },
	{ op: "Pad", shape: [1, 4, 8, 10], attributes: edge, constants: [around], rule: "htp/operator-mode-wrong" },
	{ op: "Pad", shape: [1, 4, 8, 10], attributes: edge, constants: [around], isQuantized: true },
	{
		op: "Pad",
		shape: [1, 4, 8, 10],
		attributes: { mode: stringAttribute("wrap") },
		constants: [around],
		rule: "htp/operator-mode",
	},
	{ op: "LayerNormalization", shape: [2, 5, 6], constants: [floatTensor([6], normals(6, 3))] },
	{
		op: "LayerNormalization",
		shape: [2, 5, 6],
		attributes: { axis: intAttribute(1) },
		constants: [floatTensor([5, 6], normals(30, 3))],
		rule: "htp/operator-form",
	},
	{ op: "MaxPool", shape: [1, 3, 12], attributes: { kernel_shape: intsAttribute([2]) } },
	{
		op: "MaxPool",
		shape: [1, 3, 6, 6, 6],
		attributes: { kernel_shape: intsAttribute([2, 2, 2]) },
		rule: "htp/operator-mode",
	},
	{ op: "Pow", shape: [2, 3], constants: [floatTensor([], [2])] },
	{ op: "Pow", shape: [2, 3], constants: [int64Tensor([1], [2])], rule: "htp/exponent-type" },
	{ op: "Pow", shape: [2, 3], constants: [int64Tensor([], [2])], isQuantized: true, rule: "htp/exponent-type" },
	{ op: "Exp", shape: [] },
	{ op: "Exp", shape: [], isQuantized: true },
	{ op: "ThresholdedRelu", shape: [2, 3], attributes: { alpha: floatAttribute(0.5) } },
	{ op: "Size", shape: [2, 3], rule: "htp/operator-never" },
];

export function formModel({ op, shape, attributes = {}, constants = [], isQuantized }: FormModel): Model {
	return modelOf((b) => {
		b.input("x", DataType.FLOAT, shape);
		const names = constants.map((constant, index) => {
			if (constant === undefined) return "";
			b.initializer(`c${index}`, constant);
			return `c${index}`;
		});
		const step = 2 ** -13;
		b.node(op, [isQuantized ? quantized(b, "x", step) : "x", ...names], ["y"], attributes, "op");
		b.output(isQuantized ? quantized(b, "y", step) : "y");
	});
}
