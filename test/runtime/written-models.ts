import { type Attribute, floatAttribute, intAttribute, intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor, int64Tensor } from "../../src/ir/tensor.js";
import { normals } from "./models.js";
import { type Builder, model, type OperatorModel, pair } from "./operator-models.js";

/* Operators that the compiler does not take, which legalize-operators writes with others. */

interface Form {
	readonly rule?: string;
	readonly attributes?: Readonly<Record<string, Attribute>>;
	/** Inputs behind the first; returns their names. */
	readonly rest?: (b: Builder, rows: number) => readonly string[];
	readonly isQuantized?: boolean;
}

/** One operator on an image of floats, [2, 4, rows, 6], or between UINT16 values. */
function written(
	op: string,
	{ rule = "operator-refused", attributes = {}, rest, isQuantized }: Form = {},
): OperatorModel {
	return {
		rule: `htp/${rule}`,
		name: `${op}${isQuantized === true ? " between codes" : ""}`,
		sinceV69: true,
		write: (b, rows) =>
			model(
				b,
				[2, 4, rows, 6],
				(_, x) => {
					b.node(op, [x, ...(rest?.(b, rows) ?? [])], ["y"], attributes, "op");
					return isQuantized === true ? pair(b, "y", { scale: 2 ** -13 }) : "y";
				},
				{},
				isQuantized !== true,
			),
	};
}

function axes(b: Builder): readonly string[] {
	b.initializer("axes", int64Tensor([2], [1, -1]));
	return ["axes"];
}

function parameters(length: (rows: number) => readonly number[]) {
	return (b: Builder, rows: number) => {
		const shape = length(rows);
		const count = shape.reduce((product, dim) => product * dim, 1);
		b.initializer("scale", floatTensor(shape, normals(count, 3)));
		b.initializer("bias", floatTensor(shape, normals(count, 4)));
		return ["scale", "bias"];
	};
}

export const WRITTEN_MODELS: readonly OperatorModel[] = [
	written("ReduceSumSquare", { rest: axes }),
	written("ReduceL1", { rest: axes, attributes: { keepdims: intAttribute(0) } }),
	written("Softsign"),
	written("Softsign", { isQuantized: true }),
	written("Celu", { attributes: { alpha: floatAttribute(1.5) } }),
	written("MeanVarianceNormalization", { attributes: { axes: intsAttribute([0, 2, 3]) } }),
	written("GroupNormalization", { attributes: { num_groups: intAttribute(2) }, rest: parameters(() => [4]) }),
	written("Trilu", {
		attributes: { upper: intAttribute(0) },
		rest(b) {
			b.initializer("diagonal", int64Tensor([], [1]));
			return ["diagonal"];
		},
	}),
	written("LayerNormalization", {
		rule: "operator-form",
		attributes: { axis: intAttribute(1) },
		rest: parameters((rows) => [4, rows, 6]),
	}),
	{
		rule: "htp/operator-refused",
		name: "a MeanVarianceNormalization of values up to 16,000, whose squares are no floats of 16 bits",
		sinceV69: true,
		write: (b, rows) =>
			model(b, [2, 4, rows, 6], (_, x) => {
				b.initializer("factor", floatTensor([], [4000]));
				b.node("Mul", [x, "factor"], ["large"], {}, "large");
				const codes = pair(b, "large", { scale: 0.5 });
				b.node("MeanVarianceNormalization", [codes], ["normal"], { axes: intsAttribute([0, 2, 3]) }, "norm");
				return pair(b, "normal");
			}),
	},
];
