import type { Model } from "../ir/model.js";
import type { GenaiConfig, JsonObject } from "./genai-config.js";
import type { GraphLengths } from "./layer-graph.js";

/** The graphs of a pipeline, in the order in which GenAI runs them. */
export interface PipelineStage {
	readonly name: string;
	readonly fileName: string;
	readonly inputs: readonly string[];
	readonly outputs: readonly string[];
	/** Options of GenAI for when and how the stage runs. */
	readonly options: JsonObject;
}

export interface PipelineConfigOptions extends GraphLengths {
	readonly padToken: number;
	readonly lastPosition: string;
	readonly totalLength: string;
	/** Of ONNX Runtime GenAI, `0.18`. */
	readonly genaiVersion: string;
}

/** A stage for `model`, whose inputs and outputs it has. */
export function stageOf(name: string, fileName: string, { graph }: Model, options: JsonObject = {}): PipelineStage {
	const names = (values: readonly { readonly name: string }[]) => values.map((value) => value.name);
	return { name, fileName, inputs: names(graph.inputs), outputs: names(graph.outputs), options };
}

/** The genai_config.json of a pipeline that takes the place of the decoder of `config`. */
export function pipelineConfig(
	config: GenaiConfig,
	stages: readonly PipelineStage[],
	{ sequence, context, padToken, lastPosition, totalLength, genaiVersion }: PipelineConfigOptions,
): JsonObject {
	const model = config.content.model as JsonObject;
	const decoder = model.decoder as JsonObject;
	return {
		...config.content,
		model: {
			...model,
			type: "decoder-pipeline",
			pad_token_id: padToken,
			context_length: context,
			decoder: {
				session_options: { log_id: "onnxruntime-genai", provider_options: [] },
				head_size: config.headSize,
				hidden_size: config.hiddenSize,
				num_attention_heads: config.heads,
				num_key_value_heads: config.keyHeads,
				num_hidden_layers: config.layers,
				inputs: {
					input_ids: config.inputs.ids,
					past_sequence_length: lastPosition,
					total_sequence_length: totalLength,
					past_key_names: config.inputs.pastKeys,
					past_value_names: config.inputs.pastValues,
				},
				outputs: decoder.outputs,
				sliding_window: {
					window_size: sequence,
					pad_value: 0,
					alignment: "left",
					slide_key_value_cache: false,
					slide_inputs: true,
					...(hasCacheSlack(genaiVersion) ? { cache_slack: context - sequence } : {}),
				},
				pipeline: stages.map(({ name, fileName, inputs, outputs, options }) => ({
					[name]: { filename: fileName, inputs, outputs, ...options },
				})),
			},
		},
		search: {
			...(config.content.search as JsonObject | undefined),
			max_length: context,
			past_present_share_buffer: true,
			num_beams: 1,
		},
	};
}

/** 0.16 needs it, older ones refuse it. */
function hasCacheSlack(version: string): boolean {
	const [major, minor] = version.split(".").map(Number);
	return major! > 0 || minor! >= 16;
}
