import type { Model } from "../ir/model.js";
import { tensorType } from "../ir/types.js";
import { pruneTo } from "../passes/support/prune.js";
import { forgetTypes } from "./decode-graph.js";
import { findDecoder } from "./decoder.js";
import type { GenaiConfig } from "./genai-config.js";
import { freeNames, NAMES } from "./layer-graph.js";

/** Makes a decoder, its embedding cut off, the graph of its head: the state of one token goes in, its logits [1, 1, vocabulary] come out. */
export function makeHeadGraph(model: Model, config: GenaiConfig): void {
	freeNames(model);
	const { graph } = model;
	const { headInput, dtype, logits } = findDecoder(model, config, { sequence: 1, context: 1 });
	const input = graph.createValue(NAMES.hidden, tensorType(dtype, [1, 1, config.hiddenSize]));
	headInput.replaceUsesWith(input);
	graph.addInput(input);
	if (logits.type?.kind === "tensor") {
		logits.type = tensorType(logits.type.elementType, [1, 1, config.vocabularySize]);
	}
	pruneTo(graph, [logits]);
}

/** Lets the graph of a head, float or quantized, take the states of any number of tokens. */
export function makeRowsGraph({ graph }: Model): void {
	for (const value of [...graph.inputs, ...graph.outputs]) {
		if (value.type?.kind !== "tensor" || value.type.shape === undefined) continue;
		value.type = tensorType(value.type.elementType, value.type.shape.with(1, "rows"));
	}
	forgetTypes(graph);
}
