import type { ProviderOptions } from "../targets/provider-options.js";
import { CACHE_CODES } from "./cache-codes.js";
import type { JsonObject } from "./genai-config.js";
import { NAMES } from "./layer-graph.js";
import type { LlmJob } from "./llm-job.js";
import type { GraphRole, PipelineGraph } from "./pipeline-graph.js";

/**
 * The genai_config.json of a pipeline, its graphs in the order in which they run, that takes the place of the decoder of a
 * job. Those with options of the QNN provider run there.
 */
export function pipelineConfig(
	job: LlmJob,
	graphs: readonly PipelineGraph[],
	options: ReadonlyMap<PipelineGraph, ProviderOptions>,
): JsonObject {
	const { config, padToken, lengths } = job;
	const model = config.content.model as JsonObject;
	const decoder = model.decoder as JsonObject;
	return {
		...config.content,
		model: {
			...model,
			type: "decoder-pipeline",
			pad_token_id: padToken,
			context_length: lengths.context,
			decoder: {
				session_options: { log_id: "onnxruntime-genai", provider_options: [], ...productOptions(job) },
				head_size: config.headSize,
				hidden_size: config.hiddenSize,
				num_attention_heads: config.heads,
				num_key_value_heads: config.keyHeads,
				num_hidden_layers: config.layers,
				inputs: {
					input_ids: config.inputs.ids,
					...positionInputs(job),
					past_key_names: config.inputs.pastKeys,
					past_value_names: config.inputs.pastValues,
				},
				outputs: decoder.outputs,
				sliding_window: slidingWindow(job),
				pipeline: graphs.map((graph) => {
					const { name, role, fileName, inputs, outputs } = graph;
					return {
						[name]: { filename: fileName, inputs, outputs, ...WHEN[role], ...sessionOptions(options.get(graph)) },
					};
				}),
			},
		},
		search: {
			...(config.content.search as JsonObject | undefined),
			max_length: lengths.context,
			past_present_share_buffer: job.layout !== "B",
			num_beams: 1,
		},
	};
}

/** ONNX Runtime makes MatMulNBits of products of codes on the CPU, which round activations to 8 bits unless it is told otherwise. */
function productOptions({ accuracyLevel }: LlmJob): JsonObject {
	if (accuracyLevel === undefined) return {};
	return { "session.qdq_matmulnbits_accuracy_level": String(accuracyLevel) };
}

/** How GenAI tells where tokens are. */
function positionInputs({ config, layout }: LlmJob): JsonObject {
	return layout === "B"
		? { attention_mask: config.inputs.mask, position_ids: config.inputs.positions }
		: { past_sequence_length: NAMES.lastPosition, total_sequence_length: NAMES.totalLength };
}

/** How GenAI cuts prompts into windows and keeps the cache; one that it moves is filled with the code of 0. */
function slidingWindow({ layout, lengths: { sequence, context }, genaiVersion }: LlmJob): JsonObject {
	const common = { window_size: sequence, slide_inputs: true };
	if (layout === "B") {
		return { ...common, pad_value: CACHE_CODES.u8.zeroPoint, alignment: "right", slide_key_value_cache: true };
	}
	const slack = hasCacheSlack(genaiVersion) ? { cache_slack: context - sequence } : {};
	return { ...common, pad_value: 0, alignment: "left", slide_key_value_cache: false, ...slack };
}

/** When GenAI runs a graph; others run always. */
const WHEN: Readonly<Partial<Record<GraphRole, JsonObject>>> = {
	prefill: { run_on_token_gen: false },
	decode: { run_on_prompt: false },
	lm_head: { is_lm_head: true },
};

/** Graphs for the HTP run there wholly or not at all. */
function sessionOptions(options: ProviderOptions | undefined): JsonObject {
	if (options === undefined) return {};
	const provider = { backend_path: "libQnnHtp.so", ...options, htp_performance_mode: "burst" };
	return {
		session_options: {
			log_id: "onnxruntime-genai",
			"session.disable_cpu_ep_fallback": "1",
			provider_options: [{ QNN: provider }],
		},
	};
}

/** 0.16 needs it, older ones refuse it. */
function hasCacheSlack(version: string): boolean {
	const [major, minor] = version.split(".").map(Number);
	return major! > 0 || minor! >= 16;
}
