import { QGraphError } from "../diagnostics.js";
import { inferTypes, type TypeTable } from "../inference/index.js";
import { intOf } from "../ir/attribute.js";
import type { Model } from "../ir/model.js";
import { isMicrosoftOp, isOnnxOp, type Node } from "../ir/node.js";
import { DataType, tensorType } from "../ir/types.js";
import type { Value } from "../ir/value.js";
import { allNodes, nodeLabel } from "../ir/walk.js";
import { elementTypeOf } from "../passes/support/fusion.js";
import { type GroupQueryForm, groupQueryForm } from "../passes/support/group-query-form.js";
import { pruneTo } from "../passes/support/prune.js";
import { isRotary, type RotaryCall, rotaryCall } from "../passes/support/rotary-call.js";
import { constantOf } from "../weights/constant.js";
import { type GenaiConfig, layerName } from "./genai-config.js";
import { chooseRotaryCaches } from "./rotary-caches.js";

/** The parts of a decoder as ONNX Runtime GenAI's model builder writes it. */
export interface Decoder {
	/** In the order of the layers. */
	readonly attentions: readonly Attention[];
	/** Rotary embeddings outside of the attention. */
	readonly rotaries: readonly RotaryNode[];
	/** The last state of every token, [1, sequence, hidden]. */
	readonly hidden: Value;
	/** What the head is applied to: `hidden`, or that of the last token where the model picks it. */
	readonly headInput: Value;
	/** Of `hidden`. */
	readonly dtype: DataType;
	readonly logits: Value;
}

export interface Attention {
	readonly layer: number;
	readonly node: Node;
	readonly form: GroupQueryForm & { readonly past: NonNullable<GroupQueryForm["past"]> };
}

export interface RotaryNode {
	readonly node: Node;
	readonly call: RotaryCall;
}

/** What an operator that a decoder must not have makes of the model, what is expected in its place, and what to do. */
interface Unsupported {
	readonly kind: string;
	readonly expected: string;
	readonly remedy: string;
}

const EXPERTS: Unsupported = {
	kind: "a mixture of experts",
	expected: "one feed-forward network for all tokens",
	remedy: "take a dense model of the family",
};

/** What GenAI's model builder writes for the CPU whatever the model. */
const GROUPED = "build the model again with the model builder of ONNX Runtime GenAI for '-e cpu', which writes it so";

const UNGROUPED: Unsupported = {
	kind: "attention without grouped queries",
	expected: "GroupQueryAttention",
	remedy: GROUPED,
};

const HYBRID_REMEDY = "take a model that has attention in every layer";

/** Operators of language models that a decoder must not have. */
const UNSUPPORTED: Readonly<Record<string, Unsupported>> = {
	MoE: EXPERTS,
	QMoE: EXPERTS,
	PagedAttention: {
		kind: "paged attention",
		expected: "GroupQueryAttention with a past of its own",
		remedy: GROUPED,
	},
	SparseAttention: {
		kind: "sparse attention",
		expected: "GroupQueryAttention, whose windows are local",
		remedy: "take a model whose attention is dense or has local windows",
	},
	LinearAttention: {
		kind: "a hybrid of linear attention",
		expected: "GroupQueryAttention in every layer",
		remedy: HYBRID_REMEDY,
	},
	CausalConvWithState: {
		kind: "a hybrid with convolutions",
		expected: "GroupQueryAttention in every layer",
		remedy: HYBRID_REMEDY,
	},
	MultiHeadAttention: UNGROUPED,
	Attention: UNGROUPED,
};

/**
 * Gives the inputs of a decoder lengths, a batch of one with `sequence` tokens behind `context` past ones, and finds its
 * parts. Throws `llm/unsupported` for what is none, and `llm/config` where the config and the model do not agree.
 */
export function findDecoder(
	model: Model,
	config: GenaiConfig,
	lengths: { readonly sequence: number; readonly context: number },
): Decoder {
	for (const { node } of allNodes(model)) {
		const found = node.op.domain === "com.microsoft" ? UNSUPPORTED[node.op.type] : undefined;
		if (found === undefined) continue;
		const { kind, expected, remedy } = found;
		throw unsupported(`${node.op.type} '${nodeLabel(node)}' makes it ${kind}, expected ${expected}; ${remedy}`);
	}
	const layerOf = fixInputs(model, config, lengths);
	chooseRotaryCaches(model, lengths.context);
	const types = inferTypes(model);
	const logits = model.graph.outputs.find(({ name }) => name === config.outputs.logits);
	if (logits === undefined) throw disagreement(`the model has no output '${config.outputs.logits}'`);
	const states = statesBehind(logits);
	return {
		attentions: attentionsOf(model, config, types, layerOf),
		rotaries: rotariesOf(model, config, types),
		...states,
		dtype: elementTypeOf(states.hidden, types) ?? DataType.FLOAT,
		logits,
	};
}

/** Returns the layer of each past of keys. */
function fixInputs(
	model: Model,
	{ inputs, layers, keyHeads, headSize, hiddenSize }: GenaiConfig,
	{ sequence, context }: { readonly sequence: number; readonly context: number },
): Map<Value, number> {
	const layerOf = new Map<Value, number>();
	const shapes = new Map<string, readonly number[]>([
		[EMBEDDED, [1, sequence, hiddenSize]],
		[inputs.ids, [1, sequence]],
		[inputs.positions, [1, sequence]],
		[inputs.mask, [1, context + sequence]],
	]);
	for (let layer = 0; layer < layers; layer++) {
		for (const pattern of [inputs.pastKeys, inputs.pastValues]) {
			shapes.set(layerName(pattern, layer), [1, keyHeads, context, headSize]);
		}
	}
	for (const input of model.graph.inputs) {
		const shape = shapes.get(input.name);
		if (shape === undefined) {
			if (input.initializer !== undefined) continue;
			throw unsupported(
				`nothing is known of its input '${input.name}', expected ids, mask, positions, keys and values of the past; a state of another kind cannot be kept: ${HYBRID_REMEDY}, or remove the input`,
			);
		}
		if (input.type?.kind === "tensor") input.type = tensorType(input.type.elementType, shape);
	}
	for (let layer = 0; layer < layers; layer++) {
		const name = layerName(inputs.pastKeys, layer);
		const value = model.graph.inputs.find((input) => input.name === name);
		if (value === undefined) throw disagreement(`the model has no input '${name}', the past of layer ${layer}`);
		layerOf.set(value, layer);
	}
	return layerOf;
}

/** What is expected of rotary tables. */
const CONSTANT_TABLES =
	"expected constants, or an If that chooses of long and short ones; 'qgraph convert --fold-constants' makes of tables what follows from constants";

/** What the token ids are looked up as, [1, sequence, hidden]. Throws `llm/unsupported` where that is not one table. */
export function embeddedOf(model: Model, { inputs }: GenaiConfig): Value {
	const ids = model.graph.inputs.find(({ name }) => name === inputs.ids);
	const lookups = (ids?.uses ?? [])
		.map(({ node }) => node)
		.filter((node) => isOnnxOp(node, "Gather") || isMicrosoftOp(node, "GatherBlockQuantized"));
	if (lookups.length === 1) return lookups[0]!.outputs[0]!;
	throw unsupported(
		`${lookups.length} operators look '${inputs.ids}' up in a table, expected one Gather or GatherBlockQuantized; models with a table for each layer are not covered`,
	);
}

/** The name of the embedded tokens where they go from one graph to another. */
export const EMBEDDED = "inputs_embeds";

/** Makes the embedded tokens an input, and what looked them up go. */
export function cutEmbedding(model: Model, config: GenaiConfig): void {
	const embedded = embeddedOf(model, config);
	const type = inferTypes(model).typeOf(embedded);
	const input = model.graph.createValue(EMBEDDED, type ?? tensorType(DataType.FLOAT));
	embedded.replaceUsesWith(input);
	model.graph.addInput(input);
	pruneTo(model.graph, [...model.graph.outputs]);
}

function rotariesOf(model: Model, { inputs }: GenaiConfig, types: TypeTable): RotaryNode[] {
	return [...model.graph.nodes].filter(isRotary).map((node): RotaryNode => {
		const call = rotaryCall(node, types);
		if ("code" in call) throw unsupported(`rotary embedding '${nodeLabel(node)}': ${call.message}`);
		if (call.positions?.name !== inputs.positions || call.isOffset) {
			throw unsupported(
				`rotary embedding '${nodeLabel(node)}' has positions that are not '${inputs.positions}', expected that input; where it has another name, say so as model.decoder.inputs.position_ids in genai_config.json`,
			);
		}
		if (constantOf(call.caches.cos) === undefined || constantOf(call.caches.sin) === undefined) {
			throw unsupported(`rotary embedding '${nodeLabel(node)}' has tables that are computed, ${CONSTANT_TABLES}`);
		}
		return { node, call };
	});
}

function attentionsOf(
	model: Model,
	config: GenaiConfig,
	types: TypeTable,
	layerOf: ReadonlyMap<Value, number>,
): Attention[] {
	const attentions = [...model.graph.nodes]
		.filter((node) => isMicrosoftOp(node, "GroupQueryAttention"))
		.map((node): Attention => {
			const form = groupQueryForm(node, types);
			if ("code" in form) throw unsupported(`attention '${nodeLabel(node)}': ${form.message}`);
			const { past, keyHeads, headSize, attentionBias } = form;
			const layer = past && layerOf.get(past.key);
			if (past === undefined || layer === undefined)
				throw unsupported(
					`attention '${nodeLabel(node)}' has no past of its own, expected '${config.inputs.pastKeys}' and '${config.inputs.pastValues}'; layers that share a cache are not covered`,
				);
			if (keyHeads !== config.keyHeads || headSize !== config.headSize) {
				throw disagreement(
					`attention '${nodeLabel(node)}' has ${keyHeads} heads of keys of size ${headSize}, the config ${config.keyHeads} of ${config.headSize}`,
				);
			}
			if (attentionBias !== undefined)
				throw unsupported(
					`attention '${nodeLabel(node)}' has a bias that is computed, expected none: the mask is made of the positions; take a model whose positions are rotary`,
				);
			const { rotary } = form;
			if (rotary && (constantOf(rotary.caches.cos) === undefined || constantOf(rotary.caches.sin) === undefined)) {
				throw unsupported(`attention '${nodeLabel(node)}' has rotary tables that are computed, ${CONSTANT_TABLES}`);
			}
			return { layer, node, form: { ...form, past } };
		})
		.sort((a, b) => a.layer - b.layer);
	if (attentions.length === config.layers) return attentions;
	throw disagreement(`the model has ${attentions.length} GroupQueryAttention, the config ${config.layers} layers`);
}

/** The activation of the last matrix product, behind which nothing but elementwise operators come. */
export function statesBehind(logits: Value): Pick<Decoder, "hidden" | "headInput"> {
	let at: Value | undefined = logits;
	for (let step = 0; step < MAX_STEPS_BEHIND_HEAD && at?.producer !== undefined; step++) {
		const node: Node = at.producer;
		if (isOnnxOp(node, "MatMul", "Gemm") || isMicrosoftOp(node, "MatMulNBits")) {
			const headInput = node.inputs[0]!;
			return { headInput, hidden: beforePick(headInput) };
		}
		at = node.inputs.find((input) => constantOf(input) === undefined);
	}
	throw unsupported(
		`no matrix product gives '${logits.name}', expected MatMul, Gemm or MatMulNBits and at most ${MAX_STEPS_BEHIND_HEAD} elementwise operators behind it; give model.decoder.outputs.logits the name of what the head gives`,
	);
}

/** The states of all tokens where `state` is that of the last one, picked by Gather and Unsqueeze. */
function beforePick(state: Value): Value {
	const unsqueeze = state.producer;
	const gather = unsqueeze && isOnnxOp(unsqueeze, "Unsqueeze") ? unsqueeze.inputs[0]!.producer : unsqueeze;
	const isPick = gather !== undefined && isOnnxOp(gather, "Gather") && intOf(gather, "axis", 0) === 1;
	return isPick ? gather.inputs[0]! : state;
}

const MAX_STEPS_BEHIND_HEAD = 8;

function unsupported(what: string): QGraphError {
	return new QGraphError("llm/unsupported", `the model cannot be made static: ${what}`);
}

function disagreement(what: string): QGraphError {
	return new QGraphError("llm/config", `genai_config.json and model do not agree: ${what}`);
}
