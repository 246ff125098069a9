import type { TypeTable } from "../../inference/index.js";
import { intOf } from "../../ir/attribute.js";
import { isMicrosoftOp, isOnnxOp, type Node } from "../../ir/node.js";
import type { Value } from "../../ir/value.js";
import type { Obstacle } from "./fusion.js";
import type { RotaryForm, RotaryTables } from "./rotary.js";

/** Is it ONNX Runtime's RotaryEmbedding, or the standard one? */
export function isRotary(node: Node): boolean {
	return isMicrosoftOp(node, "RotaryEmbedding") || isOnnxOp(node, "RotaryEmbedding");
}

/** A RotaryEmbedding that can be written with standard operators. */
export interface RotaryCall {
	readonly x: Value;
	readonly shape: ReturnType<TypeTable["shapeOf"]> & {};
	readonly form: RotaryForm;
	readonly caches: RotaryTables;
	/** undefined: the caches have the rows that are needed already, [batch, sequence, pairs]. */
	readonly positions: Value | undefined;
	/** Is `positions` the position of the first element alone? */
	readonly isOffset: boolean;
}

/** What `node`, a RotaryEmbedding, computes, or why it stays. */
export function rotaryCall(node: Node, types: TypeTable): RotaryCall | Obstacle {
	const isStandard = isOnnxOp(node, "RotaryEmbedding");
	const [x, cos, sin] = isStandard ? node.inputs : [0, 2, 3].map((index) => node.inputs[index]);
	const positions = node.inputs[isStandard ? 3 : 1];
	if (x === undefined || cos === undefined || sin === undefined) {
		return {
			code: "lower/unsupported",
			message: "its input or one of its tables is missing, expected input, cosines and sines; export the model again",
		};
	}
	if (intOf(node, "is_packed_batching", 0) !== 0) {
		return {
			code: "lower/unsupported",
			message:
				"sequences of several lengths are packed into one, expected a row for each; export the model without packing (is_packed_batching)",
		};
	}
	const scale = node.attributes.get("scale");
	if (scale?.kind === "float" && scale.value !== 1) {
		return {
			code: "lower/unsupported",
			message: `it has scale ${scale.value}, of which ONNX Runtime's CPU kernel takes no notice, expected 1; remove it, or multiply the tables by it`,
		};
	}
	const shape = types.shapeOf(x);
	const pairs = types.shapeOf(cos)?.at(-1);
	const positionRank = positions === undefined ? 2 : types.shapeOf(positions)?.length;
	if ((shape?.length !== 3 && shape?.length !== 4) || typeof pairs !== "number" || positionRank === undefined) {
		return {
			code: "lower/shape",
			message:
				"the rank of its input, of its positions or the width of its tables is not known; give the shapes of inputs lengths ('qgraph convert --fix-shapes')",
		};
	}
	const rotatedSize = 2 * pairs;
	const headSize = headSizeOf(node, shape, rotatedSize);
	if (headSize === undefined || headSize < rotatedSize) {
		return {
			code: "lower/shape",
			message: `the size of a head is ${headSize ?? "not known"}, expected ${rotatedSize} at least, which are turned; set num_heads and rotary_embedding_dim as the model has them`,
		};
	}
	const form = { headSize, rotatedSize, isInterleaved: intOf(node, "interleaved", 0) !== 0 };
	return { x, shape, form, caches: { cos, sin }, positions, isOffset: positionRank === 1 };
}

function headSizeOf(node: Node, shape: readonly unknown[], rotatedSize: number): number | undefined {
	const last = shape.at(-1);
	if (shape.length === 4) return typeof last === "number" ? last : undefined;
	const heads = intOf(node, "num_heads", 0);
	if (heads > 0) return typeof last === "number" ? last / heads : undefined;
	return intOf(node, "rotary_embedding_dim", 0) === 0 ? rotatedSize : undefined;
}
