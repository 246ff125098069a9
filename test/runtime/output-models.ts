import { intsAttribute } from "../../src/ir/attribute.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { normals } from "./models.js";
import { model, N, type OperatorModel, pair } from "./operator-models.js";

/* Optional outputs that have names, and that nobody reads. */

export const OUTPUT_MODELS: readonly OperatorModel[] = [
	...[true, false].map(
		(isFloat): OperatorModel => ({
			rule: "htp/unused-output",
			name: `indices of a MaxPool, on ${isFloat ? "floats" : "codes"}`,
			sinceV69: isFloat,
			write: (b, rows) =>
				model(
					b,
					[1, N, rows + 4, 9],
					(_, x) => {
						b.node("MaxPool", [x], ["largest", "indices"], { kernel_shape: intsAttribute([3, 3]) }, "pool");
						return isFloat ? "largest" : pair(b, "largest");
					},
					{},
					isFloat,
				),
		}),
	),
	{
		rule: "htp/unused-output",
		name: "deviations that a LayerNormalization divides by",
		write: (b, rows) =>
			model(b, [3, rows, 48], (_, x) => {
				b.initializer("scale", floatTensor([48], normals(48, 3)));
				b.initializer("bias", floatTensor([48], normals(48, 4)));
				b.node("LayerNormalization", [x, "scale", "bias"], ["norm", "", "deviations"], {}, "norm");
				return pair(b, "norm", { scale: 2 ** -11 });
			}),
	},
];
