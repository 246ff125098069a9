import { intAttribute, intsAttribute } from "../../ir/attribute.js";
import { bytesOf, type Tensor, tensor } from "../../ir/tensor.js";
import { DataType } from "../../ir/types.js";
import type { Value } from "../../ir/value.js";
import { float32ToFloat16 } from "../../quant/float16.js";
import { vector } from "./lengths.js";
import type { GraphWriter } from "./node-writer.js";

/** What attention does to its scores. */
export interface AttentionForm {
	readonly heads: number;
	readonly keyHeads: number;
	/** The factor of the scores. */
	readonly scale: number;
	/** Scores become `softcap * tanh(score / softcap)`; 0: they stay. */
	readonly softcap: number;
	/** FLOAT or FLOAT16. */
	readonly dtype: DataType;
}

export interface AttentionOperands {
	/** [batch, heads, sequence, size]. */
	readonly query: Value;
	/** [batch, key heads, total, size]. */
	readonly key: Value;
	/** [batch, key heads, total, size]. */
	readonly value: Value;
	/** Added to the scores, [batch, heads, sequence, total] or what is broadcast to that. */
	readonly biases: readonly Value[];
	/** Logits of a position that takes part in the softmax and has no value, [heads] or a scalar; undefined: there is none. */
	readonly sink: Value | undefined;
}

/**
 * `softmax(cap(scale query key^T) + biases) value`, [batch, sequence, heads * size]. The heads that share a key lie behind
 * one another in its rows, so that no key is ever repeated; all ranks are at most 4.
 */
export function attend(writer: GraphWriter, form: AttentionForm, operands: AttentionOperands): Value {
	const { heads, keyHeads, dtype } = form;
	const { key, value, biases, sink } = operands;
	const isGrouped = heads !== keyHeads;
	const perKey = (x: Value) =>
		isGrouped ? writer.emit("Reshape", [x, vector(writer, "by_key", 0, keyHeads, -1, 0)], {}, "grouped") : x;
	const perHead = (x: Value) =>
		isGrouped ? writer.emit("Reshape", [x, vector(writer, "by_head", 0, heads, -1, 0)], {}, "ungrouped") : x;
	const scale = writer.constant("scale", floatScalar(dtype, form.scale));
	const scaled = writer.emit("Mul", [operands.query, scale], {}, "scaled");
	const turnedKey = writer.emit("Transpose", [key], { perm: intsAttribute([0, 1, 3, 2]) }, "key_T");
	const products = writer.emit("MatMul", [perKey(scaled), turnedKey], {}, "scores");
	const capped = cap(writer, perHead(products), form);
	const scores = biases.reduce((sum, bias) => writer.emit("Add", [sum, bias], {}, "biased"), capped);
	const weights = perKey(softmax(writer, scores, sink, form));
	const result = perHead(writer.emit("MatMul", [weights, value], {}, "attended"));
	const turned = writer.emit("Transpose", [result], { perm: intsAttribute([0, 2, 1, 3]) }, "by_position");
	return writer.emit("Reshape", [turned, vector(writer, "flat", 0, 0, -1)], {}, "flattened");
}

function cap(writer: GraphWriter, scores: Value, { softcap, dtype }: AttentionForm): Value {
	if (softcap === 0) return scores;
	const limit = writer.constant("softcap", floatScalar(dtype, softcap));
	const part = writer.emit("Div", [scores, limit], {}, "uncapped");
	return writer.emit("Mul", [writer.emit("Tanh", [part]), limit], {}, "capped");
}

function softmax(writer: GraphWriter, scores: Value, sink: Value | undefined, { heads }: AttentionForm): Value {
	const axis = { axis: intAttribute(-1) };
	if (sink === undefined) return writer.emit("Softmax", [scores], axis);
	const shape = writer.emit("Shape", [scores], {}, "scores_shape");
	const rows = writer.emit("Slice", [shape, vector(writer, "from", 0), vector(writer, "to", 3)], {}, "rows_shape");
	const column = writer.emit("Concat", [rows, vector(writer, "one", 1)], { axis: intAttribute(0) }, "sink_shape");
	const isScalar = sink.initializer?.shape.length === 0;
	const logits = isScalar
		? sink
		: writer.emit("Reshape", [sink, vector(writer, "sink_heads", 1, heads, 1, 1)], {}, "sink_of_heads");
	const all = writer.emit("Concat", [scores, writer.emit("Expand", [logits, column], {}, "sinks")], axis, "with_sink");
	const ends = [vector(writer, "first", 0), vector(writer, "last", -1), vector(writer, "columns", -1)];
	return writer.emit("Slice", [writer.emit("Softmax", [all], axis), ...ends], {}, "without_sink");
}

/** FLOAT or FLOAT16. */
export function floatScalar(dtype: DataType, value: number): Tensor {
	const stored = dtype === DataType.FLOAT16 ? Uint16Array.of(float32ToFloat16(value)) : Float32Array.of(value);
	return tensor(dtype, [], bytesOf(stored));
}
