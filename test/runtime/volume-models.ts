import { intAttribute } from "../../src/ir/attribute.js";
import { floatTensor } from "../../src/ir/tensor.js";
import { DataType } from "../../src/ir/types.js";
import { normals } from "./models.js";
import { type Builder, model, N, type OperatorModel, pair, weight } from "./operator-models.js";

/* Convolutions of three dimensions that each break a rule for which legalize-operators has the remedy. */

function transposed(b: Builder, x: string, w: string): string {
	b.node("ConvTranspose", [x, w], ["conv"], { group: intAttribute(2) }, "conv");
	return pair(b, "conv");
}

export const VOLUME_MODELS: readonly OperatorModel[] = [
	{
		rule: "htp/transposed-conv-groups",
		name: "groups of a ConvTranspose of three dimensions with one scale",
		write: (b, rows) =>
			model(b, [1, 4, rows, 3, 3], (_, x) =>
				transposed(b, x, weight(b, "w", { shape: [4, N / 2, 2, 2, 2], isOne: true })),
			),
	},
	{
		rule: "htp/transposed-conv-groups",
		name: "groups of a ConvTranspose of three dimensions with a float weight",
		write: (b, rows) =>
			model(b, [1, 4, rows, 3, 3], (_, x) => {
				b.initializer("w", floatTensor([4, N / 2, 1, 1, 1], normals(2 * N, 3)));
				return transposed(b, x, "w");
			}),
	},
	{
		rule: "htp/conv-volume-float",
		name: "a Conv of three dimensions with a float result",
		write: (b, rows) =>
			model(b, [1, 4, rows, 3, 3], (_, x) => {
				b.node("Conv", [x, weight(b, "w", { shape: [N, 4, 2, 2, 2], isOne: true })], ["conv"], {}, "conv");
				return "conv";
			}),
	},
	{
		rule: "htp/conv-volume-float",
		name: "a Conv of three dimensions between two types",
		write: (b, rows) =>
			model(b, [1, 4, rows, 3, 3], (_, x) => {
				b.node("Conv", [x, weight(b, "w", { shape: [N, 4, 1, 1, 1], isOne: true })], ["conv"], {}, "conv");
				return pair(b, "conv", { dtype: DataType.UINT8, scale: 2 ** -8 });
			}),
	},
];
